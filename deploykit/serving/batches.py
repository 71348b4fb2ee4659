"""Examples on their way to the model: those of several requests as one batch, and the answers apart again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from deploykit.artifacts.golden import compare

if TYPE_CHECKING:
    from numpy.typing import NDArray

Outputs: TypeAlias = "dict[str, NDArray[Any]]"

#: Largest difference, relative to an output's range, between an example alone and among others: rounding.
_CLOSE = 1e-4


@dataclass(slots=True, eq=False)  # frozen, making one takes as long as checking its examples
class Batch:
    """Raw examples that may be run: checked, by the clients' input names. Never changed.

    Attributes:
        arrays: Input name → examples, batch first.
        count: How many examples.
        kind: What is the same in batches that can be joined: dtypes and shapes of the examples.
        token: Name of the token whose holder has sent it; "" without one.
    """

    arrays: dict[str, NDArray[Any]]
    count: int
    kind: tuple[object, ...] = ()
    token: str = ""

    def __post_init__(self) -> None:
        if not self.kind:
            self.kind = tuple([(name, a.dtype, a.shape[1:]) for name, a in self.arrays.items()])


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of the examples of several of the same kind."""
    import numpy as np

    arrays = {name: np.concatenate([b.arrays[name] for b in batches]) for name in batches[0].arrays}
    return Batch(arrays, sum(b.count for b in batches))


def split(outputs: Mapping[str, NDArray[Any]], batches: Sequence[Batch]) -> list[Outputs]:
    """The outputs of joined batches, for each of them.

    Raises:
        ValueError: An output does not have the batch as its first dimension.
    """
    total = sum(b.count for b in batches)
    for name, value in outputs.items():
        if not value.ndim or len(value) != total:
            raise ValueError(f"output {name!r} has shape {value.shape} for {total} examples")
    found, start = [], 0
    for batch in batches:
        found.append({name: value[start : start + batch.count] for name, value in outputs.items()})
        start += batch.count
    return found


def independent(infer: Callable[[Batch], Outputs], batches: Sequence[Batch]) -> bool:
    """Whether batches get the same answers together as alone, as far as examples show it.

    Each batch is made smaller by another factor: a model that quantizes by the largest value of a whole batch answers
    alike as long as all examples have the same range, as images mostly do.
    """
    import numpy as np

    changed = [
        Batch({name: _shrink(array, factor) for name, array in batch.arrays.items()}, batch.count)
        for factor, batch in enumerate(batches, 1)
    ]
    try:
        alone = [infer(batch) for batch in changed]
        together = infer(join(changed))
    except Exception:  # a graph made for one example, an index out of range: whatever it is, they must run alone
        return False
    if any(outputs[name].shape[1:] != value.shape[1:] for outputs in alone for name, value in together.items()):
        return False  # an answer for each token: together, all are as long as the longest
    wanted = {name: np.concatenate([outputs[name] for outputs in alone]) for name in together}
    return not compare(wanted, together, _CLOSE)[1]


def _shrink(array: NDArray[Any], factor: int) -> NDArray[Any]:
    if array.dtype.kind == "f":
        return array / factor
    return array // factor if array.dtype.kind in "iu" else array

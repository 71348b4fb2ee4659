"""Triton's classification extension: the best classes of each example as text, ``value:index[:name]``.

Source: Triton Inference Server's protocol extensions, "Classification Extension".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.wire import objects
from deploykit.core.contract import OutputMeaning
from deploykit.measuring.answers import read
from deploykit.serving.faults import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Kinds of outputs that hold a number for each class.
_SCORES = frozenset({"scores", "probabilities", "logit", "probability", "several"})


def check(meaning: OutputMeaning, count: Any) -> None:
    """Raise `InvalidInputError` unless an output holds scores of classes and so many of them can be named."""
    if type(count) is not int or count < 1:
        raise InvalidInputError(
            f"Output {meaning.name!r}: expected 'classification' to be a whole number, 1 or more, got {count!r}."
        )
    if meaning.kind not in _SCORES:
        raise InvalidInputError(
            f"Output {meaning.name!r}: 'classification' is for class scores, and this output is read as "
            f"{meaning.kind}; leave it out."
        )


def classified(array: NDArray[Any], meaning: OutputMeaning, count: int, names: Sequence[str] = ()) -> NDArray[Any]:
    """The best classes of each example, shape (examples, classes), best first; equal ones in their order.

    Args:
        array: The output, batch first.
        meaning: What it is.
        count: How many classes; there are no more than the output has.
        names: Class names by index.

    Raises:
        InvalidInputError: Examples have more than one answer each.
    """
    import numpy as np

    scores = array if meaning.kind == "several" else read(array, meaning)
    if scores.ndim != 2:
        raise InvalidInputError(
            f"Output {meaning.name!r}: 'classification' is for one answer per example, and this output has shape "
            f"{('batch', *array.shape[1:])}; leave it out."
        )
    scores = scores.astype(array.dtype, copy=False)
    best = np.argsort(np.where(np.isnan(scores), -np.inf, scores) * -1.0, axis=1, kind="stable")[:, :count]
    known = names if len(names) == scores.shape[1] else ()
    texts = [
        f"{scores[row, place]!s}:{place}{f':{known[place]}' if known else ''}"
        for row, places in enumerate(best)
        for place in places.tolist()
    ]
    return objects(texts).reshape(best.shape)

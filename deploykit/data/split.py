"""Examples and labels that belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deploykit.core.digest import array_digest
from deploykit.core.mapped import taken
from deploykit.data.rows import Rows, changed

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Split:
    """Examples of one split, raw (not preprocessed).

    Attributes:
        inputs: Input name → examples, batch first; `Rows` of data that are not held in memory.
        labels: Class indices (batch,), or regression targets (batch, …); None when there are none.
        spare: Arrays for models with more inputs; see `Dataset.widened`. Neither saved nor part of a digest.
        prepared: Whether the examples are as the model takes them: synthesized ones are not preprocessed.
        groups: What each example is a part of, such as the number of its video: a group is never divided between
            splits. None where examples stand for themselves. Not part of a digest.
    """

    inputs: dict[str, NDArray[Any]]
    labels: NDArray[Any] | None
    spare: dict[str, NDArray[Any]] = field(default_factory=dict)
    prepared: bool = False
    groups: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values()), ()))

    @property
    def independent(self) -> int:
        """How many of its examples are independent of each other: one for each group, if there are groups."""
        import numpy as np

        return len(self) if self.groups is None else len(np.unique(self.groups))

    @cached_property
    def digests(self) -> dict[str, str]:
        """Input name → SHA-256 of its examples."""
        return {k: array_digest(v) for k, v in self.inputs.items()}

    @cached_property
    def label_digest(self) -> str:
        """SHA-256 of the labels, "" when there are none."""
        if self.labels is None:
            return ""
        whole = self.labels.dtype.kind == "i"  # the same whatever they are stored as
        return array_digest(
            changed(self.labels, lambda part: part.astype("int64", copy=False)) if whole else self.labels
        )

    def renamed(self, names: Mapping[str, str]) -> Split:
        """The same examples under other input names (new → old), in the order of ``names``; nothing is hashed twice."""
        found = Split(
            {new: self.inputs[old] for new, old in names.items()},
            self.labels,
            prepared=self.prepared,
            groups=self.groups,
        )
        found.__dict__["digests"] = {new: self.digests[old] for new, old in names.items()}
        found.__dict__["label_digest"] = self.label_digest
        return found

    def joined(self, other: Split) -> Split:
        """These examples and, after them, those of another split with the same inputs."""
        labels = None
        if self.labels is not None and other.labels is not None:
            labels = _joined(self.labels, other.labels)
        both = ((self.inputs, other.inputs), (self.spare, other.spare))
        inputs, spare = ({k: _joined(v, theirs[k]) for k, v in ours.items()} for ours, theirs in both)
        groups = None
        if self.groups is not None and other.groups is not None:
            groups = _joined(self.groups, other.groups)
        return Split(inputs, labels, spare, self.prepared, groups)

    def take(self, index: Any) -> Split:
        """The examples at ``index`` (anything NumPy takes)."""
        inputs, spare = ({k: _taken(v, index) for k, v in arrays.items()} for arrays in (self.inputs, self.spare))
        labels, groups = (None if v is None else _taken(v, index) for v in (self.labels, self.groups))
        return Split(inputs, labels, spare, self.prepared, groups)


def _taken(array: Any, index: Any) -> Any:
    """Some examples: of what stays on the disk they stay there, slices of what is mapped are mapped."""
    if isinstance(array, Rows):
        return array.take(index)
    return array[index] if isinstance(index, slice) else taken(array, index)


def _joined(first: Any, second: Any) -> Any:
    import numpy as np

    if isinstance(first, Rows) and isinstance(second, Rows):
        return first.joined(second)
    return np.concatenate([first, second])

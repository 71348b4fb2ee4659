"""Examples and labels that belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deploykit.core.digest import array_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Split:
    """Examples of one split, raw (not preprocessed).

    Attributes:
        inputs: Input name → examples, batch first.
        labels: Class indices (batch,), or regression targets (batch, …); None when there are none.
        spare: Arrays for models with more inputs; see `Dataset.widened`. Neither saved nor part of a digest.
        prepared: Whether the examples are as the model takes them: synthesized ones are not preprocessed.
    """

    inputs: dict[str, NDArray[Any]]
    labels: NDArray[Any] | None
    spare: dict[str, NDArray[Any]] = field(default_factory=dict)
    prepared: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values()), ()))

    @cached_property
    def digests(self) -> dict[str, str]:
        """Input name → SHA-256 of its examples."""
        return {k: array_digest(v) for k, v in self.inputs.items()}

    @cached_property
    def label_digest(self) -> str:
        """SHA-256 of the labels, "" when there are none."""
        return "" if self.labels is None else array_digest(self.labels)

    def renamed(self, names: Mapping[str, str]) -> Split:
        """The same examples under other input names (new → old), in the order of ``names``; nothing is hashed twice."""
        found = Split({new: self.inputs[old] for new, old in names.items()}, self.labels, prepared=self.prepared)
        found.__dict__["digests"] = {new: self.digests[old] for new, old in names.items()}
        found.__dict__["label_digest"] = self.label_digest
        return found

    def joined(self, other: Split) -> Split:
        """These examples and, after them, those of another split with the same inputs."""
        import numpy as np

        labels = None
        if self.labels is not None and other.labels is not None:
            labels = np.concatenate([self.labels, other.labels])
        both = ((self.inputs, other.inputs), (self.spare, other.spare))
        inputs, spare = ({k: np.concatenate([v, theirs[k]]) for k, v in ours.items()} for ours, theirs in both)
        return Split(inputs, labels, spare, self.prepared)

    def take(self, index: Any) -> Split:
        """The examples at ``index`` (anything NumPy takes)."""
        inputs, spare = ({k: v[index] for k, v in arrays.items()} for arrays in (self.inputs, self.spare))
        return Split(inputs, None if self.labels is None else self.labels[index], spare, self.prepared)

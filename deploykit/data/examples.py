"""Named batches, split and preprocessed: what everything that reads data works with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from deploykit.core.contract import Contract
from deploykit.core.digest import json_digest
from deploykit.core.errors import DatasetError
from deploykit.core.mapped import let_go
from deploykit.core.serial import to_plain
from deploykit.data.boxes import are_boxes
from deploykit.data.preprocess import Preprocess, prepared
from deploykit.data.reading import Reading
from deploykit.data.rows import Rows
from deploykit.data.split import Split
from deploykit.data.splits import drawn

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Examples:
    """The data of a `Dataset`; see there for the attributes."""

    splits: dict[str, Split]
    preprocess: dict[str, Preprocess] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    seed: int = 0
    calibration_size: int = 200
    reading: Reading = field(default_factory=Reading)
    contract: Contract | None = None

    def __len__(self) -> int:
        return sum(map(len, self.splits.values()))

    @property
    def is_large(self) -> bool:
        """Whether examples stay on the disk, where they were found, because they are too large for the memory."""
        return any(isinstance(array, Rows) for split in self.splits.values() for array in split.inputs.values())

    @property
    def labelled(self) -> bool:
        """Whether the evaluation split has labels."""
        return self.splits["evaluation"].labels is not None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(self.splits["evaluation"].inputs)

    def labels(self, split: str = "evaluation") -> NDArray[Any] | None:
        """Labels of a split, or None."""
        return self.splits[split].labels

    def targets(self, split: str = "train") -> NDArray[Any] | None:
        """Labels that an output can be trained to give, or None: boxes are what outputs are decoded into."""
        labels = self.splits[split].labels
        return None if are_boxes(labels) else labels

    def batch(self, split: str = "evaluation", index: Any = slice(None)) -> dict[str, NDArray[Any]]:
        """Preprocessed examples of a split by input name."""
        import numpy as np

        found = self.splits[split].take(index)
        return {k: np.asarray(v) for k, v in found.inputs.items()} if found.prepared else self.prepare(found.inputs)

    def prepare(self, raw: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Preprocess raw examples by input name."""
        return prepared(raw, self.preprocess)

    @property
    def asked(self) -> dict[str, str]:
        """Name of a preprocessed array → name of the raw input that it is made of."""
        found: dict[str, str] = {}
        for name in self.inputs:
            step = self.preprocess.get(name)
            found |= dict.fromkeys([name] if step is None or step.tokenizer is None else step.tokenizer.names, name)
        return found

    def batches(self, split: str, size: int) -> Iterator[tuple[dict[str, NDArray[Any]], NDArray[Any] | None]]:
        """Preprocessed batches and labels; the last batch may be smaller."""
        import numpy as np

        labels = self.splits[split].labels
        for start in range(0, len(self.splits[split]), size):
            index = slice(start, start + size)
            yield self.batch(split, index), None if labels is None else np.asarray(labels[index])

    def calibration(self, index: slice = slice(None)) -> dict[str, NDArray[Any]]:
        """Preprocessed calibration examples, or some of them: a stratified draw from the training split."""
        found = self.batch("train", self._calibrating[index])
        for values in self.splits["train"].inputs.values():
            let_go(values)
        return found

    def calibration_labels(self) -> NDArray[Any] | None:
        """Labels of the calibration examples that an output can be trained to give, or None; see `targets`."""
        labels = self.targets("train")
        return None if labels is None else labels[self._calibrating]

    @property
    def calibration_count(self) -> int:
        """How many calibration examples there are."""
        return len(self._calibrating)

    @cached_property
    def _calibrating(self) -> NDArray[Any]:
        """Places of the calibration examples in the training split."""
        train = self.splits["train"]
        chosen = drawn(len(train), train.labels, self.seed, self.calibration_size)
        chosen.sort()
        return chosen

    def sample(self, count: int = 1, split: str = "evaluation") -> Any:
        """Raw examples, as a client would send them: an array, or a dictionary for several inputs.

        Example:
            >>> data.sample(2).shape
            (2, 28, 28)
        """
        import numpy as np

        inputs = {k: np.asarray(v[:count]) for k, v in self.splits[split].inputs.items()}
        return inputs if len(inputs) > 1 else next(iter(inputs.values()))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all examples, labels, preprocessing, and how they reach the model."""
        content = {
            name: [
                *zip(split.inputs, split.digests.values(), strict=True),
                split.label_digest,
                *(["prepared"] if split.prepared else []),
            ]
            for name, split in self.splits.items()
        }
        fed = "" if self.contract is None else self.contract.feeding
        return json_digest([content, to_plain(self.preprocess), self.classes, self.seed, self.calibration_size, fed])

    @property
    def checked(self) -> Contract:
        """The contract of data that were checked against a model.

        Raises:
            DatasetError: The data have not been checked.
        """
        if self.contract is None:
            raise DatasetError(
                "The data have not been checked against a model.", remedy="call data.check(model) first."
            )
        return self.contract


#: What functions that change data take and give: a dataset stays one.
Data = TypeVar("Data", bound=Examples)

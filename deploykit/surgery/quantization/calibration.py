"""Calibration examples in the form the quantizers read them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract
from deploykit.core.errors import DatasetError
from deploykit.core.model import TensorSpec, align
from deploykit.data.dataset import Dataset
from deploykit.data.feeding import Feeding
from deploykit.sandbox.task import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Examples a batch where the model leaves it free: the outputs of all layers of one batch are held at once.
BATCH = 8
#: One batch by the file's own input names, in its dtypes.
Batch = dict[str, "NDArray[Any]"]
#: Runs the model that is calibrated: inputs by name to outputs by name.
Run = Callable[[Batch], Mapping[str, Any]]


class Batches(Sized, Iterable[Batch]):
    """Calibration examples by the file's own input names, batch by batch.

    They are read and preprocessed as they are taken, each time again, so that memory does not grow with their number.
    Constants are added, and state: fresh for each example, carried along the steps of sequences, so that the ranges are
    those the model meets. The last batch may be smaller where the model leaves its size free; where it does not,
    examples that do not fill one are left out.

    Args:
        data: The data; their calibration examples are taken.
        inputs: What the file takes.
        run: The model, which makes the state of the next step.
        size: Examples a batch where the model leaves it free; 0 for 1.
        notes: Gets the number of examples.

    Raises:
        DatasetError: There are not data for all inputs, or fewer examples than one batch takes.
    """

    def __init__(
        self, data: Dataset, inputs: Sequence[TensorSpec], run: Run, size: int = 0, notes: dict[str, Any] | None = None
    ) -> None:
        self._data, self._run, self._contract = data, run, data.contract
        self._feeding = Feeding.of(self._contract, inputs)
        count, fixed = data.calibration_count, self._feeding.batch_size
        self._size = fixed or min(size or 1, count)
        if count < self._size:
            raise DatasetError(
                f"The model takes batches of {self._size}, but there are {count} calibration examples.",
                remedy="raise calibration_size=, or provide more training data.",
            )
        if notes is not None:
            notes["calibration_examples"] = count
        self._count = count // self._size * self._size if fixed else count
        first = data.calibration(slice(0, self._size))
        self._stepped = {name for name, value in first.items() if self._feeding.is_stepped(name, value)}
        sequences = self._contract is not None and self._contract.sequences
        self._steps = min(first[name].shape[1] for name in self._stepped) if sequences else 1
        self._feeding.arrange(self._feeding.first_step(first))  # data that do not fit fail here

    def __len__(self) -> int:
        return math.ceil(self._count / self._size) * self._steps

    def __iter__(self) -> Iterator[Batch]:
        names = [spec.name for spec, _ in self._feeding.inputs]
        for start in range(0, self._count, self._size):
            chunk = self._data.calibration(slice(start, min(start + self._size, self._count)))
            if self._contract is None or not self._contract.sequences:
                yield dict(zip(names, self._feeding.arrange(chunk), strict=True))
                continue
            carried: Batch = {}
            for step in range(self._steps):
                now = {name: value[:, step] if name in self._stepped else value for name, value in chunk.items()}
                batch = dict(zip(names, self._feeding.arrange(now, carried), strict=True))
                yield batch
                if step + 1 < self._steps:
                    carried = self._carried(self._contract, self._run(batch))

    @staticmethod
    def _carried(contract: Contract, given: Mapping[str, Any]) -> Batch:
        """The state that the next step begins with, by the contract's names."""
        import numpy as np

        made = list(given)
        places = align(list(contract.state), made)
        return {fed: np.array(given[made[j]]) for fed, j in zip(contract.state.values(), places, strict=True) if j >= 0}


def counted(batches: Batches, report: Report) -> Iterator[Batch]:
    """The batches, reporting progress as they are taken."""
    every = max(1, len(batches) // 50)
    for i, batch in enumerate(batches):
        yield batch
        if (i + 1) % every == 0:
            report(i + 1, len(batches), "calibrating")

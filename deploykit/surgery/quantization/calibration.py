"""Calibration examples in the form the quantizers read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.model import TensorSpec, align
from deploykit.data.dataset import Dataset
from deploykit.data.feeding import Feeding
from deploykit.sandbox.task import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: One batch by the file's own input names, in its dtypes.
Batch = dict[str, "NDArray[Any]"]
#: Runs the model that is calibrated: inputs by name to outputs by name.
Run = Callable[[Batch], Mapping[str, Any]]


def batches(
    data: Dataset, inputs: Sequence[TensorSpec], run: Run, size: int = 0, notes: dict[str, Any] | None = None
) -> Sequence[dict[str, NDArray[Any]]]:
    """Calibration examples by the file's own input names, in batches of one size.

    Examples that do not fill the last batch are left out: quantizers merge statistics over batches and cannot do so
    when the last one is smaller (https://github.com/microsoft/onnxruntime/issues/18792). Constants are added, and
    state: fresh for each example, carried along the steps of sequences, so that the ranges are those the model meets.

    Args:
        data: The data; their calibration examples are taken.
        inputs: What the file takes.
        run: The model, which makes the state of the next step.
        size: Examples a batch where the model leaves it free; 0 for 1.
        notes: Gets the number of examples.

    Raises:
        DatasetError: There are not data for all inputs, or fewer examples than one batch takes.
    """
    import numpy as np

    arrays, contract = data.calibration(), data.contract
    feeding = Feeding.of(contract, inputs)
    count = len(next(iter(arrays.values())))
    size = feeding.batch_size or min(size or 1, count)
    if count < size:
        raise DatasetError(
            f"The model takes batches of {size}, but there are {count} calibration examples.",
            remedy="raise calibration_size=, or provide more training data.",
        )
    if notes is not None:
        notes["calibration_examples"] = count
    names = [spec.name for spec, _ in feeding.inputs]
    stepped = {name for name, value in arrays.items() if feeding.is_stepped(name, value)}
    found: list[dict[str, NDArray[Any]]] = []
    for start in range(0, count - size + 1, size):
        chunk = {name: value[start : start + size] for name, value in arrays.items()}
        if contract is None or not contract.sequences:
            found.append(dict(zip(names, feeding.arrange(chunk), strict=True)))
            continue
        carried: dict[str, NDArray[Any]] = {}
        for step in range(min(chunk[name].shape[1] for name in stepped)):
            now = {name: value[:, step] if name in stepped else value for name, value in chunk.items()}
            found.append(dict(zip(names, feeding.arrange(now, carried), strict=True)))
            given = run(found[-1])
            made = list(given)
            places = align(list(contract.state), made)
            carried = {
                fed: np.array(given[made[j]]) for fed, j in zip(contract.state.values(), places, strict=True) if j >= 0
            }
    return found


def counted(batches: Sequence[dict[str, NDArray[Any]]], report: Report) -> Iterator[dict[str, NDArray[Any]]]:
    """The batches, reporting progress as they are taken."""
    every = max(1, len(batches) // 50)
    for i, batch in enumerate(batches):
        yield batch
        if (i + 1) % every == 0:
            report(i + 1, len(batches), "calibrating")

"""Calibration examples in the form the quantizers read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.model import align
from deploykit.transforms._contract import TransformJob

if TYPE_CHECKING:
    from numpy.typing import NDArray


def examples(job: TransformJob, label: str, inputs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Calibration examples by the file's own input names and in its dtypes.

    Args:
        job: Holds the data; a note says how many examples there were.
        label: Who asks, for the error message.
        inputs: The file's inputs: name → NumPy dtype.

    Raises:
        DatasetError: There are no data, or not for all inputs.
    """
    import numpy as np

    arrays = job.require_data(label, "calibration").calibration()
    if len(arrays) != len(inputs):
        raise DatasetError(
            f"the model takes {len(inputs)} input(s) ({', '.join(inputs)}), the data have {len(arrays)}: "
            f"{', '.join(arrays)}.",
            remedy="give a dictionary with one array for each input.",
        )
    names = list(arrays)
    order = align(list(inputs), names)
    found = {name: np.asarray(arrays[names[j]], dtype) for (name, dtype), j in zip(inputs.items(), order, strict=True)}
    job.notes["calibration_examples"] = len(next(iter(found.values())))
    return found


def equal_batches(arrays: Mapping[str, NDArray[Any]], size: int) -> list[dict[str, NDArray[Any]]]:
    """Batches of one size; examples that do not fill the last one are dropped.

    Quantizers merge statistics over batches and cannot do so when the last one is smaller
    (https://github.com/microsoft/onnxruntime/issues/18792).

    Raises:
        DatasetError: There are fewer examples than one batch takes.
    """
    count = len(next(iter(arrays.values())))
    if count < size:
        raise DatasetError(
            f"the model takes batches of {size}, there are {count} calibration examples.",
            remedy="raise calibration_size=, or give more training data.",
        )
    starts = range(0, count - size + 1, size)
    return [{name: array[i : i + size] for name, array in arrays.items()} for i in starts]


def counted(job: TransformJob, batches: Sequence[dict[str, NDArray[Any]]]) -> Iterator[dict[str, NDArray[Any]]]:
    """The batches, reporting progress as they are taken."""
    every = max(1, len(batches) // 50)
    for i, batch in enumerate(batches):
        yield batch
        if (i + 1) % every == 0:
            job.report(i + 1, len(batches), "calibrating")

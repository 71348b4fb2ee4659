"""Ranges of the tensors of an ONNX graph over the calibration examples.

The first pass gives the lowest and highest values, by ONNX Runtime's calibrator. Where outliers are clipped, a second
one fills histograms between them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.data.dataset import Dataset
from deploykit.loading.onnx import signature
from deploykit.sandbox.task import Report
from deploykit.surgery.onnx_session import opened, runner
from deploykit.surgery.quantization import calibration, graphs, histograms

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: deploykit's name of a method → ONNX Runtime's.
_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}


def extremes(graph: Path, data: Dataset, notes: dict[str, Any], report: Report) -> str:
    """The lowest and the highest value of each tensor, as text that `read` reads.

    Args:
        graph: A prepared model.
        data: The data.
        notes: Gets the number of examples, and what went wrong.
        report: Called with the progress in batches.

    Raises:
        DatasetError: The calibration examples do not fit.
        CandidateError: ONNX Runtime cannot calibrate the model.
    """
    batches = _batches(graph, data, notes)

    def measured(calibrator: Any) -> Any:
        # One batch at a time: otherwise the ends of all of them are kept.
        for batch in calibration.counted(batches, report):
            calibrator.collect_data(_One(batch))
        return calibrator.compute_data()

    return json.dumps(_to_plain(_calibrated(graph, "minmax", measured, notes)))


def clipped(
    graph: Path, data: Dataset, method: str, known: str, notes: dict[str, Any], report: Report
) -> str:  # fmt: skip
    """Ranges without outliers, as text that `read` reads.

    Args:
        graph: A prepared model.
        data: The data.
        method: How ranges are computed: ``"entropy"`` or ``"percentile"``.
        known: What `extremes` gave for the same model and data.
        notes: Gets the number of examples, and what went wrong.
        report: Called with the progress in batches.

    Raises:
        DatasetError: The calibration examples do not fit.
        CandidateError: ONNX Runtime cannot calibrate the model.
    """
    calibrate = require("onnxruntime.quantization.calibrate", "")
    batches, ranges = _batches(graph, data, notes), read(known)

    def measured(calibrator: Any) -> Any:
        found = {name: ranges[name] for name in calibrator.tensors_to_calibrate if name in ranges}
        filled = dict[str, histograms.Histogram]()
        for name, given in found.items():
            low, high = (end.reshape(()) for end in given.range_value)
            made = histograms.Histogram(low, high, absolute=method == "percentile")
            filled |= {name: made} if made.usable else {}
        for batch in calibration.counted(batches, report) if filled else ():
            for name, values in zip(filled, calibrator.infer_session.run(list(filled), batch), strict=True):
                filled[name].add(values)
        return calibrate.TensorsData(
            calibrate.CalibrationMethod[_METHODS[method]], found | (histograms.ends(filled, method) if filled else {})
        )

    return json.dumps(_to_plain(_calibrated(graph, method, measured, notes)))


def _calibrated(graph: Path, method: str, measured: Callable[[Any], Any], notes: dict[str, Any]) -> Any:
    """What is measured with one of ONNX Runtime's calibrators, which has a session that gives what it needs.

    Raises:
        CandidateError: ONNX Runtime cannot calibrate the model.
    """
    quantization = require("onnxruntime.quantization", "")
    calibrate = require("onnxruntime.quantization.calibrate", "")
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder, graphs.failures("calibrate"):
        # The calibrator writes beside the model it reads, and another one may read the same.
        path = shutil.copyfile(graph, Path(folder) / graph.name)

        def made(types: Sequence[str]) -> Any:
            augmented = Path(folder) / "augmented.onnx"
            calibrator = calibrate.create_calibrator(
                path, list(types), augmented_model_path=str(augmented),
                calibrate_method=quantization.CalibrationMethod[_METHODS[method]],
            )  # fmt: skip
            calibrator.infer_session = opened(augmented, quiet=False)
            return measured(calibrator)

        return graphs.with_fewer(graphs.operator_types(), made, notes)


def read(text: str) -> Any:
    """Measured ranges as ONNX Runtime's quantizers take them."""
    import numpy as np

    calibrate = require("onnxruntime.quantization.calibrate", "")
    plain = json.loads(text)
    tensors = {
        name: calibrate.TensorData(**{end: np.array(value, dtype) for end, value in ends.items()})
        for name, (dtype, ends) in plain["tensors"].items()
    }
    return calibrate.TensorsData(calibrate.CalibrationMethod[plain["method"]], tensors)


def batches_for(graph: Path, data: Dataset, notes: dict[str, Any], report: Report) -> Iterator[dict[str, NDArray[Any]]]:
    """The calibration examples of a prepared model, batch by batch, reporting progress."""
    return calibration.counted(_batches(graph, data, notes), report)


def _batches(graph: Path, data: Dataset, notes: dict[str, Any]) -> calibration.Batches:
    inputs, _ = signature(require("onnx", "").load(str(graph), load_external_data=False), graph)
    return calibration.Batches(data, inputs, runner(graph, quiet=False), calibration.BATCH, notes)


class _One:
    """One batch, as ONNX Runtime's calibrators read it."""

    def __init__(self, batch: dict[str, NDArray[Any]]) -> None:
        self._batch: dict[str, NDArray[Any]] | None = batch

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        batch, self._batch = self._batch, None
        return batch


def _to_plain(found: Any) -> dict[str, Any]:
    """Ranges as JSON, exactly: Python writes and reads the shortest text of a number that gives it back."""
    tensors = {}
    for name, data in found.items():
        low, high = data.range_value
        ends = {"lowest": low.tolist(), "highest": high.tolist()}
        tensors[name] = (str(low.dtype), ends)
    return {"method": found.calibration_method.name, "tensors": tensors}

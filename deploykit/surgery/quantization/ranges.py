"""Ranges of the tensors of an ONNX graph over the calibration examples, measured by ONNX Runtime's calibrators."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.data.dataset import Dataset
from deploykit.loading.onnx import signature
from deploykit.sandbox.task import Report
from deploykit.surgery.onnx_session import opened, runner
from deploykit.surgery.quantization import calibration, graphs

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: deploykit's name of a method → ONNX Runtime's.
_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
#: Examples a batch where the model leaves it free: the outputs of all layers of one batch are held at once.
_BATCH = 8


def measure(graph: Path, data: Dataset, method: str, notes: dict[str, Any], report: Report) -> str:
    """The ranges as text that `read` reads.

    Args:
        graph: A prepared model.
        data: The data.
        method: How ranges are computed: ``"minmax"``, ``"entropy"`` or ``"percentile"``.
        notes: Gets the number of examples, and what went wrong.
        report: Called with the progress in batches.

    Raises:
        DatasetError: The calibration examples do not fit.
        CandidateError: ONNX Runtime cannot calibrate the model.
    """
    quantization = require("onnxruntime.quantization", "")
    calibrate = require("onnxruntime.quantization.calibrate", "")
    calibration_method = quantization.CalibrationMethod[_METHODS[method]]
    batches = _batches(graph, data, notes)
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder, graphs.failures("calibrate"):
        # The calibrator writes beside the model it reads, and another one may read the same.
        path = shutil.copyfile(graph, Path(folder) / graph.name)

        def measured(types: Sequence[str]) -> Any:
            augmented = Path(folder) / "augmented.onnx"
            calibrator = calibrate.create_calibrator(
                path, list(types), augmented_model_path=str(augmented), calibrate_method=calibration_method
            )
            calibrator.infer_session = opened(augmented, quiet=False)
            # One batch at a time: otherwise the outputs of all layers of all batches are kept.
            for batch in calibration.counted(batches, report):
                calibrator.collect_data(_One(batch))
            return calibrator.compute_data()

        found = graphs.with_fewer(graphs.operator_types(), measured, notes)
    return json.dumps(_to_plain(found))


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


def _batches(graph: Path, data: Dataset, notes: dict[str, Any]) -> Sequence[dict[str, NDArray[Any]]]:
    inputs, _ = signature(require("onnx", "").load(str(graph), load_external_data=False), graph)
    return calibration.batches(data, inputs, runner(graph, quiet=False), _BATCH, notes)


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

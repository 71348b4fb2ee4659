"""Work that all quantized ONNX files of a model share: preparing its graph, and measuring its ranges."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deploykit.core.errors import CandidateError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.loading.onnx import signature
from deploykit.transforms import _calibration, _onnx_names, _onnx_normal, _onnx_prepare
from deploykit.transforms._contract import Stage, TransformJob

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What every ONNX variant and stage declares.
REQUIRES = ("onnx", "onnxruntime")
#: Operators of quantized graphs: conversions, and integer operators that are not called QLinear….
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
INTEGER = frozenset({"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm"})
#: Operators that hold most weights and arithmetic, and the activations that melt into their integer kernels: left out,
#: each of these would be a float operator between two conversions.
HEAVY = ("Clip", "Conv", "ConvTranspose", "Gemm", "MatMul", "Relu")
T = TypeVar("T")
#: Files of the stages.
_GRAPH = "prepared.onnx"
_RANGES = "ranges.json"
#: Examples a batch where the model leaves it free: the outputs of all layers of one batch are held at once.
_BATCH = 8


class _Graph(Stage):
    name = "onnx_graph"
    label = "graph preparation (ONNX)"
    help = "Shape inference and constant folding, which ONNX Runtime's quantizers need."
    requires = REQUIRES
    seeded = False

    def _prepare(self, job: TransformJob) -> None:
        onnx = require("onnx", "")
        nodes = onnx.load(str(job.source), load_external_data=False).graph.node
        if marks := sorted({n.op_type for n in nodes if n.op_type in CONVERSIONS or is_integer(n.op_type)}):
            raise UnsupportedModelError(
                f"The model is already quantized: it has {', '.join(marks)}.",
                remedy="quantize the float model it was made from.",
            )
        tools = require("onnxruntime.quantization.quant_utils", "")
        kinds = require("onnxruntime.quantization", "").QuantType
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder, failures("prepare"):
            source = _onnx_prepare.raised(job, Path(folder))
            path = _onnx_prepare.folded(job, source, Path(folder))
            model = onnx.load(str(path))
            if any([_onnx_normal.normalize(model), _onnx_names.separate(model)]):
                onnx.save(model, str(path))
            # What the quantizers themselves would do first, each time.
            model = tools.load_model_with_shape_infer(path)
            model = tools.update_opset_version(model, kinds.QInt8, kinds.QUInt8)
            _onnx_prepare.complete(model, Path(folder))
            _onnx_prepare.name_nodes(model.graph.node)
            onnx.save(model, str(job.target / _GRAPH))


class _Ranges(Stage):
    name = "onnx_ranges"
    label = "calibration (ONNX Runtime)"
    help = "Measures the range of every tensor over the calibration examples."
    requires = REQUIRES
    uses = ("calibration",)
    needs = ("calibration",)
    copies = False
    seeded = False

    def _prepare(self, job: TransformJob) -> None:
        quantization = require("onnxruntime.quantization", "")
        calibrate = require("onnxruntime.quantization.calibrate", "")
        methods = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
        method = quantization.CalibrationMethod[methods[job["calibration"]]]
        batches = _batches(job, self.label)
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder, failures("calibrate"):
            # The calibrator writes beside the model it reads, and another one may read the same.
            path = shutil.copyfile(job.source / _GRAPH, Path(folder) / _GRAPH)

            def measured(types: Sequence[str]) -> Any:
                augmented = Path(folder) / "augmented.onnx"
                calibrator = calibrate.create_calibrator(
                    path, list(types), augmented_model_path=str(augmented), calibrate_method=method
                )
                calibrator.infer_session = _onnx_prepare.session(augmented)
                # One batch at a time: otherwise the outputs of all layers of all batches are kept.
                for batch in _calibration.counted(job, batches):
                    calibrator.collect_data(_One(batch))
                return calibrator.compute_data()

            found = with_fewer(job, operator_types(), measured)
        (job.target / _RANGES).write_text(json.dumps(_to_plain(found)), "utf-8")
        _link(job.source / _GRAPH, job.target / _GRAPH)


GRAPH = _Graph()
RANGES = _Ranges()


def graph(folder: Path) -> Any:
    """The prepared model in the folder of a stage."""
    return require("onnx", "").load(str(folder / _GRAPH))


def ranges(folder: Path) -> Any:
    """The measured ranges in the folder of the calibration, as ONNX Runtime's quantizers take them."""
    import numpy as np

    calibrate = require("onnxruntime.quantization.calibrate", "")
    plain = json.loads((folder / _RANGES).read_text("utf-8"))
    tensors = {
        name: calibrate.TensorData(**{end: np.array(value, dtype) for end, value in ends.items()})
        for name, (dtype, ends) in plain["tensors"].items()
    }
    return calibrate.TensorsData(calibrate.CalibrationMethod[plain["method"]], tensors)


def operator_types() -> list[str]:
    """Types of operators ONNX Runtime can quantize ahead of time."""
    registry = require("onnxruntime.quantization.registry", "")
    return sorted({*registry.QLinearOpsRegistry, *registry.QDQRegistry})


def is_integer(op_type: str) -> bool:
    """Whether an operator is one of those that compute in integers."""
    return op_type in INTEGER or op_type.startswith("QLinear")


def with_fewer(job: TransformJob, types: Sequence[str], work: Callable[[Sequence[str]], T]) -> T:
    """Do a work for all types of operators, or for matrix products and convolutions alone where that fails.

    A note says so, and why.
    """
    heavy = [kind for kind in types if kind in HEAVY]
    try:
        return work(types)
    except MemoryError:
        raise
    except Exception as error:  # whatever the graph makes ONNX Runtime's tools stumble over
        if len(heavy) in (0, len(types)):
            raise
        traceback.print_exc()  # into the log of the task
        found = work(heavy)
        text = " ".join(str(error).split())[:200]
        job.notes["operators"] = f"only convolutions and matrix products: quantizing all operators failed ({text})"
        return found


@contextlib.contextmanager
def failures(what: str) -> Iterator[None]:
    """Say of whatever ONNX Runtime's tools stumble over that it is the model's.

    Raises:
        CandidateError: They failed.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # they raise whatever the graph makes them stumble over
        text = " ".join(str(error).split())
        raise CandidateError(
            f"ONNX Runtime cannot {what} the model: {type(error).__name__}: {text[:400]}",
            remedy="try other settings of this technique; the log has the traceback.",
        ) from error


def _batches(job: TransformJob, label: str) -> Sequence[dict[str, NDArray[Any]]]:
    path = job.source / _GRAPH
    inputs, outputs = signature(require("onnx", "").load(str(path), load_external_data=False), path)

    def run(batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
        names = [spec.name for spec in outputs]
        return dict(zip(names, _onnx_prepare.session(path).run(names, batch), strict=True))

    return _calibration.batches(job, label, inputs, run, _BATCH)


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


def _link(source: Path, target: Path) -> None:
    """The same file at another place, without a second copy where the file system can do it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

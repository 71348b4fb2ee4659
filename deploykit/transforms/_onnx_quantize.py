"""What quantized ONNX files have in common: preparing the graph, and counting what stayed float."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploykit.core.errors import CandidateError, UnsupportedModelError
from deploykit.core.extras import installed, require
from deploykit.core.parameter import Parameter
from deploykit.transforms._contract import TransformJob

#: What every ONNX variant declares.
REQUIRES = ("onnx", "onnxruntime")
ACCEPTS = frozenset({"onnx"})
#: Operators that hold most weights and arithmetic, and the activations that melt into their integer kernels: left out,
#: each of these would be a float operator between two conversions.
HEAVY = ("Clip", "Conv", "ConvTranspose", "Gemm", "MatMul", "Relu")
#: Settings that static and dynamic quantization share.
PER_CHANNEL = Parameter(
    "per_channel",
    "bool",
    False,
    "One scale for each output channel instead of one for each weight tensor: more accurate, hardly slower.",
)
REDUCE_RANGE = Parameter(
    "reduce_range",
    "bool",
    False,
    "Weights of 7 bits, for x86 processors without VNNI, whose 8-bit products can overflow.",
)
_MARKS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_INTEGER = frozenset({"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"})


@contextlib.contextmanager
def prepared(job: TransformJob) -> Iterator[Path]:
    """The model after shape inference and constant folding, which ONNX Runtime's quantizer wants.

    Raises:
        UnsupportedModelError: The model is quantized already.
    """
    onnx = require("onnx", "")
    nodes = onnx.load(str(job.source), load_external_data=False).graph.node
    if marks := sorted({n.op_type for n in nodes} & (_MARKS | _INTEGER)):
        raise UnsupportedModelError(
            f"the model is quantized already: it has {', '.join(marks)}.",
            remedy="quantize the float model it was made from.",
        )
    quantization = require("onnxruntime.quantization.shape_inference", "")
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        source, path = job.source.resolve(), Path(folder) / "prepared.onnx"
        # Symbolic shape inference needs SymPy, and fails on graphs it does not know; the plain one finds less.
        for skip_symbolic in (False, True) if installed("sympy") else (True,):
            try:
                with contextlib.chdir(folder):  # symbolic shape inference leaves a file where it fails
                    quantization.quant_pre_process(str(source), str(path), skip_symbolic_shape=skip_symbolic)
                break
            except Exception as error:  # whatever the graph makes it stumble over
                what = "shape inference" if skip_symbolic else "symbolic shape inference"
                job.notes["preparation"] = f"{what} failed: {' '.join(str(error).split())[:200]}"
                path.unlink(missing_ok=True)
        else:
            path = source
        yield path


def attempt(job: TransformJob, quantize: Any, *arguments: Any, **options: Any) -> None:
    """Call one of ONNX Runtime's quantizers, and check and count what it has written.

    Raises:
        CandidateError: The quantizer failed.
        UnsupportedModelError: It found nothing to quantize.
    """
    try:
        quantize(*arguments, **options)
    except MemoryError:
        raise
    except Exception as error:  # the quantizer raises whatever the graph makes it stumble over
        text = " ".join(str(error).split())
        raise CandidateError(
            f"ONNX Runtime cannot quantize the model: {type(error).__name__}: {text[:400]}",
            remedy="try other settings of this technique; the log has the traceback.",
        ) from error
    onnx = require("onnx", "")
    counts = operators(onnx.load(str(job.target)).graph)
    if not counts.get("quantized"):
        job.target.unlink()
        raise UnsupportedModelError(
            "ONNX Runtime found nothing to quantize in the model.",
            remedy="let more kinds of operators be quantized, or leave out this technique for the model.",
        )
    job.notes |= counts


def operators(graph: Any) -> dict[str, dict[str, int]]:
    """Operators that compute in integers and in floats, by type: ``{"quantized": …, "float": …}``.

    An operator counts as quantized when it stands between DequantizeLinear and QuantizeLinear, the pattern ONNX Runtime
    turns into an integer kernel, or when it is an integer operator itself.
    """
    makers = {output: node.op_type for node in graph.node for output in node.output}
    takers = {i for node in graph.node if node.op_type == "QuantizeLinear" for i in node.input}
    found: dict[str, Counter[str]] = {"quantized": Counter(), "float": Counter()}
    for node in graph.node:
        if node.op_type in _MARKS or node.op_type == "Constant":
            continue
        sources = [makers[i] for i in node.input if i in makers and makers[i] != "Constant"]
        between = bool(sources) and all(s == "DequantizeLinear" for s in sources) and not takers.isdisjoint(node.output)
        integer = node.op_type in _INTEGER or between
        found["quantized" if integer else "float"][node.op_type] += 1
    return {kind: dict(sorted(counts.items())) for kind, counts in found.items() if counts}

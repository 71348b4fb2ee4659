"""TFLite to ONNX, and so to the runtimes and layouts that take ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.converters import _onnx
from deploykit.converters._contract import Converter, Job
from deploykit.converters._tflite import tensors
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.loading._contract import FORMATS
from deploykit.loading._keras.ends import distinct

_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})


class TFLiteToOnnx(Converter):
    """Converts the graph with tf2onnx; quantized tensors become pairs of QuantizeLinear and DequantizeLinear."""

    name = "tflite_to_onnx"
    label = "TFLite to ONNX"
    help = (
        "Converts float and int8 TFLite files; integers stay the same numbers between inputs and outputs that are real."
    )
    extra = "tensorflow"
    requires = ("tensorflow", "tf2onnx", "onnx", "ai_edge_litert")
    group = "tensorflow"
    accepts = "tflite"
    produces = "onnx"
    refuses = frozenset({"quantized"})  # what techniques quantize, they quantize in the format that is wanted

    def _convert(self, job: Job) -> None:
        summary = FORMATS.get(self.accepts).read(job.source, trusted=job.trusted, imports=job.imports)
        if summary.stateful:
            raise UnsupportedModelError(
                f"The graph keeps {', '.join(summary.stateful[:6])} between calls, and an ONNX graph keeps nothing.",
                remedy="use LiteRT for this model, or turn its state into inputs and outputs.",
            )
        specs = (*summary.inputs, *summary.outputs)
        fresh = distinct([spec.name for spec in specs])  # tensors of a graph have names of their own
        known = tensors(job.source.read_bytes())
        places = dict(zip((*known.inputs, *known.outputs), fresh, strict=True))
        if len(places) < len(fresh):
            raise UnsupportedModelError(
                "An output of the graph is one of its inputs, or is given twice, which ONNX cannot express.",
                remedy="use LiteRT for this model.",
            )
        _onnx.write_tflite(job.source, job.target, places)
        _check_integers(job.target)
        count = len(summary.inputs)
        scaled = {name: spec for name, spec in zip(fresh, specs, strict=True) if spec.scale}
        if scaled:
            _make_real(job.target, scaled)
            job.notes["ends"] = f"real numbers instead of integers: {', '.join(s.name for s in scaled.values())}"
        job.named(
            {spec.name: name for spec, name in zip(summary.inputs, fresh[:count], strict=True)},
            {spec.name: name for spec, name in zip(summary.outputs, fresh[count:], strict=True)},
        )


def _check_integers(path: Path) -> None:
    """Refuse wide integers: int16 activations with int8 weights, which no runtime of this operator set takes.

    Raises:
        UnsupportedModelError: Names the operators that read them.
    """
    onnx = require("onnx", "tensorflow")
    graph = onnx.load(str(path)).graph
    wide = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.INT16}
    found = [n for n in graph.node if n.op_type in _CONVERSIONS and len(n.input) > 2 and n.input[2] in wide]
    if found:
        made = {name for node in found for name in node.output}
        readers = sorted({n.op_type for n in graph.node if made & set(n.input)} - _CONVERSIONS)
        raise UnsupportedModelError(
            f"The activations are int16 (16×8 quantization) around {', '.join(readers)}, and ONNX quantizes to 8 bits.",
            remedy="use LiteRT for this file, or quantize the original model to int8.",
        )


def _make_real(path: Path, scaled: dict[str, TensorSpec]) -> None:
    """Quantize inputs and dequantize outputs inside of the graph: ONNX does not say what an integer stands for.

    Args:
        path: The ONNX file, changed in place.
        scaled: Inputs and outputs by their names in it.
    """
    onnx, np = require("onnx", "tensorflow"), require("numpy", "")
    model = onnx.load(str(path))
    graph = model.graph

    def convert(operator: str, given: str, result: str, spec: TensorSpec) -> Any:
        scale, zero = f"{given}_scale", f"{given}_zero_point"
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(spec.scale), scale))
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(spec.zero_point, spec.dtype), zero))
        return onnx.helper.make_node(operator, [given, scale, zero], [result], f"{given}_{operator}")

    nodes = list(graph.node)
    for value in (*graph.input, *graph.output):
        if (spec := scaled.get(value.name)) is None:
            continue
        inner = f"{value.name}_quantized"
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [inner if name == value.name else name for name in names]
        if value in graph.input:
            nodes.insert(0, convert("QuantizeLinear", value.name, inner, spec))
        else:
            nodes.append(convert("DequantizeLinear", inner, value.name, spec))
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(path))


ADAPTER = TFLiteToOnnx()

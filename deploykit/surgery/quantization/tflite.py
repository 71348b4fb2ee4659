"""What quantized TFLite files have in common: reading the signature, and counting what stayed float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploykit.converters import _tflite
from deploykit.converters._contract import Job
from deploykit.converters._keras import Names, signature_function
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec

_LOOPS = frozenset({"While", "StatelessWhile"})


def signature_of(saved_model: Path) -> tuple[tuple[TensorSpec, ...], Callable[[dict[str, Any]], Mapping[str, Any]]]:
    """The inputs of the serving signature, and a function that runs it on arrays by name.

    Raises:
        UnsupportedModelError: The graph has loops, in which TFLite's calibrator dies by SIGSEGV (TensorFlow 2.21).
    """
    tf = require("tensorflow", "tensorflow")
    loaded, signature = signature_function(saved_model)
    graph = signature.graph.as_graph_def()
    bodies = (graph.node, *(function.node_def for function in graph.library.function))
    if any(node.op in _LOOPS for nodes in bodies for node in nodes):
        raise UnsupportedModelError(
            "TFLite cannot calibrate the model: it has a loop (a recurrent layer that is not unrolled).",
            remedy="use quantize_dynamic for this model, or build the layer with unroll=True.",
        )
    specs = tuple(
        TensorSpec(name, None if spec.shape.rank is None else tuple(spec.shape), spec.dtype.name)
        for name, spec in signature.structured_input_signature[1].items()
    )

    def run(batch: dict[str, Any]) -> Mapping[str, Any]:
        return {k: v.numpy() for k, v in signature(**{k: tf.constant(v) for k, v in batch.items()}).items()}

    run.owner = loaded  # type: ignore[attr-defined]  # the variables live as long as this
    return specs, run


def quantize(job: Job, setup: Any, names: Names | None = None) -> None:
    """Convert with the quantization options ``setup(converter)`` sets, and note what became of the operators.

    Args:
        job: A SavedModel, and where the file goes.
        setup: Called with the converter.
        names: Inputs and outputs in the order wanted; None: as the reader of SavedModels lists them.

    Raises:
        UnsupportedModelError: An operator is missing, or no weight was quantized.
    """
    names = _tflite.write(job.source, job.target, job.notes, setup, names)
    job.named(names.inputs, names.outputs)
    content = job.target.read_bytes()
    counts = kinds(content)
    if not any(counts.get(kind) for kind in ("int8", "float16")):
        job.target.unlink()
        raise UnsupportedModelError(
            "TFLite found nothing to quantize: it does not change weights with fewer than 1024 elements.",
            remedy="skip this technique for the model.",
        )
    job.notes |= operators(content)


def kinds(content: bytes) -> Mapping[str, int]:
    """How many constant tensors of each type a TFLite file holds."""
    graph, model = _parsed(content)
    names = _type_names()
    tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
    return Counter(names[t.Type()] for t in tensors if model.Buffers(t.Buffer()).DataLength())


def operators(content: bytes) -> dict[str, dict[str, int]]:
    """Operators of a TFLite file that compute in integers and in floats, by type: ``{"quantized": …, "float": …}``."""
    schema = require("tensorflow.lite.python.schema_py_generated", "tensorflow")
    graph, model = _parsed(content)
    types = _type_names()
    codes = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    found: dict[str, Counter[str]] = {"quantized": Counter(), "float": Counter()}
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        name = codes.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "?")
        if name in ("QUANTIZE", "DEQUANTIZE"):
            continue
        outputs = {types[graph.Tensors(j).Type()] for j in _outputs(operator)}
        if outputs & {"int8", "int16", "uint8"}:
            found["quantized"][name] += 1
        elif any(kind.startswith("float") for kind in outputs):
            found["float"][name] += 1
    return {kind: dict(sorted(counts.items())) for kind, counts in found.items() if counts}


def ends(content: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """Names of inputs and of outputs in the file's signature → names of their tensors."""
    graph, model = _parsed(content)
    signature = model.SignatureDefs(0)
    inputs = [signature.Inputs(i) for i in range(signature.InputsLength())]
    outputs = [signature.Outputs(i) for i in range(signature.OutputsLength())]
    taken, given = (
        {e.Name().decode(): graph.Tensors(e.TensorIndex()).Name().decode() for e in entries}
        for entries in (inputs, outputs)
    )
    return taken, given


def _parsed(content: bytes) -> tuple[Any, Any]:
    schema = require("tensorflow.lite.python.schema_py_generated", "tensorflow")
    model = schema.Model.GetRootAsModel(content, 0)
    return model.Subgraphs(0), model


def _outputs(operator: Any) -> list[int]:
    return [operator.Outputs(j) for j in range(operator.OutputsLength())]


def _type_names() -> dict[int, str]:
    schema = require("tensorflow.lite.python.schema_py_generated", "tensorflow")
    return {v: k.lower() for k, v in vars(schema.TensorType).items() if isinstance(v, int)}

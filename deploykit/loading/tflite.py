"""The TFLite (LiteRT) format: a FlatBuffers file."""

from __future__ import annotations

import dataclasses
import math
import mmap
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import ModelFileError, UnsupportedModelError
from deploykit.core.model import Layer, Model, TensorSpec
from deploykit.loading._contract import Format, Saved, Summary, Weight
from deploykit.loading._live import keep
from deploykit.loading._nodes import GraphNode, Values
from deploykit.loading._tflite_kinds import KINDS
from deploykit.readers.flatbuffers import FlatbufferError, Table
from deploykit.runtimes._session import Session
from deploykit.runtimes._tflite_names import signature_names, written_variables

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Weights of one byte each, and what else a file holds; smaller models are mostly structure.
_INT8_BYTES, _FEW_WEIGHTS = 1.5, 20_000
#: What follows the first four bytes of a file.
_MARK = b"TFL3"
_AGAIN = "download, copy or convert the model again."
#: Fields of the schema's tables.
_CODES, _SUBGRAPHS, _BUFFERS, _TENSORS, _OPERATORS = 1, 2, 4, 0, 3
_SHAPE, _TYPE, _BUFFER, _NAME, _IS_VARIABLE, _SPARSITY = 0, 1, 2, 3, 5, 6
_DATA, _OFFSET, _SIZE = 0, 1, 2
_CUSTOM_CODE, _INPUTS, _OUTPUTS = 1, 1, 2
#: Operators that change a tensor's form, not what its values mean.
_PASSING = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST", "QUANTIZE", "DEQUANTIZE"})
#: Type code → bytes of a value, for types of whole bytes and fixed size.
_WIDTHS = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 8: 8, 9: 1, 10: 8, 11: 16, 12: 8, 15: 4, 16: 2}


class TfLite(Format):
    """Recognized by its identifier ``TFL3``. Corrupt files crash the interpreter, so only child processes open it."""

    name = "tflite"
    label = "TFLite"
    help = "TensorFlow Lite (LiteRT) model."
    requires = ("ai_edge_litert",)
    suffixes = (".tflite",)
    kinds = KINDS
    live = "the bytes of a TFLite file"

    def matches(self, path: Path, head: bytes) -> bool:
        """The identifier after the root offset."""
        del path
        return head[4:8] == _MARK

    def takes(self, thing: object) -> bool:
        """What a converter returns: the bytes of a file."""
        return isinstance(thing, bytes | bytearray | memoryview) and bytes(thing[4:8]) == _MARK

    def save(self, thing: Any) -> Saved:
        """Write them as a file."""
        return Saved(keep(".tflite", lambda path: path.write_bytes(thing)), "model")

    def quantized(self, model: Model) -> str:
        """Quantized inputs or outputs, conversions within, or a file that has about a byte for each weight."""
        if specs := [spec.name for spec in (*model.inputs, *model.outputs) if spec.scale]:
            return f"{', '.join(map(repr, specs))} hold quantized numbers"
        if any(layer.type == "QUANTIZE" for layer in model.layers):
            return "it has QUANTIZE"
        if model.parameter_count > _FEW_WEIGHTS and model.size_bytes < _INT8_BYTES * model.parameter_count:
            return f"{model.size_bytes:,} bytes hold {model.parameter_count:,} weights"
        return ""

    def read(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Check all sizes, then ask the interpreter."""
        del trusted, imports
        check_bounds(path)
        interpreter = _interpreter(path)
        try:
            inputs, outputs = _signature(interpreter, path)
            layers, total, flaws = _layers(interpreter)
        except (UnicodeDecodeError, ValueError, TypeError) as error:  # names that are not text, types that are none
            raise _explain(path, error) from error
        flaws += _prepare(interpreter, path, dynamic=any(s.shape and None in s.shape for s in inputs))
        return Summary(inputs, outputs, layers, total, tuple(flaws), stateful=_state(path, interpreter))

    def weights(self, path: Path) -> Iterator[Weight]:
        """Constant tensors, by the operators that use them."""
        check_bounds(path)
        return _weights(_interpreter(path))

    def nodes(self, path: Path) -> list[GraphNode]:
        """The operators of the file."""
        from deploykit.loading import _tflite_nodes

        check_bounds(path)
        return _tflite_nodes.nodes(_interpreter(path), self.kind_of)

    def values(self, path: Path, session: Session, feeds: Mapping[str, NDArray[Any]]) -> Values:
        """All tensors of the file, by LiteRT without XNNPACK."""
        from deploykit.loading import _tflite_nodes

        return _tflite_nodes.values(path, feeds, [spec.name for spec in session.inputs])


def check_bounds(path: Path) -> None:
    """Check that all weights are inside the file and as large as their tensors claim.

    Raises:
        ModelFileError: Truncated or damaged.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        data = memoryview(mapped)
        try:
            _check_tables(Table.root(data), len(data), path)
        except FlatbufferError as error:
            raise ModelFileError(
                f"{path}: truncated or damaged: {error} ({len(data):,} bytes are there).", remedy=_AGAIN
            ) from error
        finally:
            data.release()


def _check_tables(model: Table, size: int, path: Path) -> None:
    lengths = []
    for number, buffer in enumerate(model.tables(_BUFFERS)):
        inside = buffer.span(_DATA, 1)
        offset, length = buffer.number(_OFFSET, "Q"), buffer.number(_SIZE, "Q")
        if offset > 1 and offset + length > size:  # data behind the tables, in files of more than 2 GB
            raise FlatbufferError(f"buffer {number} ends at byte {offset + length:,}")
        lengths.append(inside[1] if inside else length if offset > 1 else 0)
    for code in model.tables(_CODES):
        code.text(_CUSTOM_CODE)
    for graph in model.tables(_SUBGRAPHS):
        for operator in graph.tables(_OPERATORS):
            operator.numbers(_INPUTS, "i")
            operator.numbers(_OUTPUTS, "i")
        for tensor in graph.tables(_TENSORS):
            buffer_number = tensor.number(_BUFFER, "I")
            if buffer_number >= len(lengths):
                raise FlatbufferError(
                    f"tensor {tensor.text(_NAME)!r} uses buffer {buffer_number}, which does not exist"
                )
            held = lengths[buffer_number]
            width = _WIDTHS.get(tensor.number(_TYPE, "b"))
            if not held or width is None or tensor.span(_SPARSITY, 0) is not None:
                continue
            shape = tensor.numbers(_SHAPE, "i")
            if (needed := math.prod(shape) * width) != held:
                raise ModelFileError(
                    f"{path}: damaged: tensor {tensor.text(_NAME)!r} of shape {list(shape)} needs {needed:,} bytes, "
                    f"the file holds {held:,}.",
                    remedy=_AGAIN,
                )


def opened(path: Path) -> Any:
    """An interpreter of a file whose sizes have been checked; nothing is allocated or run. In a child process only.

    Raises:
        ModelFileError: Truncated or damaged.
        UnsupportedModelError: It has an operator that LiteRT lacks.
    """
    check_bounds(path)
    return _interpreter(path)


def _interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        return Interpreter(
            model_path=str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
    except (ValueError, RuntimeError) as error:
        raise _explain(path, error) from error


def _explain(path: Path, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if "unresolved custom op" in text or "Didn't find op" in text or "Select TensorFlow op" in text:
        return UnsupportedModelError(
            f"{path}: it has an operator that LiteRT lacks: {text}",
            remedy="convert it again with builtin operators only (no SELECT_TF_OPS, no custom operators).",
        )
    size = path.stat().st_size
    return ModelFileError(f"{path}: truncated or damaged ({size:,} bytes): LiteRT says: {text}", remedy=_AGAIN)


def _prepare(interpreter: Any, path: Path, *, dynamic: bool) -> list[str]:
    """Let the interpreter prepare all operators, which finds what is unknown or inconsistent; runs none."""
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        explained = _explain(path, error)
        if isinstance(explained, UnsupportedModelError) or not dynamic:
            raise explained from error
        return [f"LiteRT cannot prepare it with its default shape: {' '.join(str(error).split())[:300]}"]
    return []


def _signature(interpreter: Any, path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    names = signature_names(interpreter, path)
    makers = {int(i): op for op in interpreter._get_ops_details() for i in op["outputs"]}
    return tuple(_spec(d, name) for d, name in zip(inputs, names[0], strict=True)), tuple(
        dataclasses.replace(_spec(d, name), operator=_operator(int(d["index"]), makers))
        for d, name in zip(outputs, names[1], strict=True)
    )


def _state(path: Path, interpreter: Any) -> tuple[str, ...]:
    """Names of the variables that keep their values from call to call, and of the operators that keep some inside."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        data = memoryview(mapped)
        try:
            graph = next(Table.root(data).tables(_SUBGRAPHS))
            kept = {i for i, tensor in enumerate(graph.tables(_TENSORS)) if tensor.number(_IS_VARIABLE, "?")}
        finally:
            data.release()
    names = {int(d["index"]): str(d["name"]) for d in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    keeping = [int(op["outputs"][0]) for op in operators if kept.intersection(map(int, op["inputs"]))]
    found = (names.get(index, f"tensor {index}") for index in [*keeping, *written_variables(operators)])
    return tuple(dict.fromkeys(found))


def _operator(index: int, makers: dict[int, Any]) -> str:
    """The operator that makes a tensor, looked at through those that only pass values on."""
    for _ in range(len(makers)):
        operator = makers.get(index)
        if operator is None:
            return ""
        if operator["op_name"] not in _PASSING or not len(operator["inputs"]):
            return str(operator["op_name"])
        index = int(operator["inputs"][0])
    return ""


def _spec(details: dict[str, Any], name: str) -> TensorSpec:
    scales = details["quantization_parameters"]["scales"]
    scale, zero_point = details["quantization"] if len(scales) == 1 else (0.0, 0)
    return TensorSpec(name, _shape(details), _dtype(details), float(scale), int(zero_point))


def _shape(details: dict[str, Any]) -> tuple[int | None, ...]:
    shape, signature = details["shape"], details["shape_signature"]
    dims = signature if len(signature) == len(shape) else shape
    return tuple(None if d < 0 else int(d) for d in dims)


def _dtype(details: dict[str, Any]) -> str:
    import numpy as np

    dtype = np.dtype(details["dtype"])
    return "string" if dtype.kind in "OSU" else dtype.name


def _layers(interpreter: Any) -> tuple[tuple[Layer, ...], int, list[str]]:
    """The operators with the weights they own, the number of all weights, and what is wrong with weights."""
    tensors = {int(d["index"]): d for d in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    made = {int(i) for op in operators for i in op["outputs"]} | {
        int(d["index"]) for d in interpreter.get_input_details()
    }
    owned: dict[int, int] = {}
    flaws: list[str] = []
    for index, details in tensors.items():
        if index not in made:
            owned[index], flaw = _constant(interpreter, details)
            if flaw:
                flaws.append(f"the tensor {details['name']!r} holds {flaw}: outputs will be wrong; convert it again.")
    total = sum(owned.values())
    layers = []
    for number, op in enumerate(operators):
        own = sum(owned.pop(int(i), 0) for i in op["inputs"])
        results = [int(i) for i in op["outputs"] if int(i) in tensors]
        if op["op_name"] == "DEQUANTIZE" and own and results:  # float16 weights: they belong to the operator behind it
            owned[results[0]] = own
            continue
        name = tensors[results[0]]["name"] if results else f"{op['op_name']}_{number}"
        shape = _shape(tensors[results[0]]) if results else None
        layers.append(Layer(str(name), str(op["op_name"]), shape, own))
    return tuple(layers), total, flaws


def _constant(interpreter: Any, details: dict[str, Any]) -> tuple[int, str]:
    """Number of weights of a constant tensor (0 for shapes and axes), and what is wrong with them."""
    import numpy as np

    quantized = len(details["quantization_parameters"]["scales"]) > 0
    if np.dtype(details["dtype"]).kind != "f" and not quantized:
        return 0, ""
    try:
        values = interpreter.get_tensor(details["index"])
    except ValueError:  # a variable, which has no value yet
        return 0, ""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return int(values.size), ""
    return int(values.size), "NaN" if np.isnan(values).any() else "infinite values"


def _weights(interpreter: Any) -> Iterator[Weight]:
    tensors = {int(d["index"]): d for d in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    made = {int(i) for op in operators for i in op["outputs"]}
    made |= {int(d["index"]) for d in interpreter.get_input_details()}
    stored = {index: index for index in tensors if index not in made}
    for number, op in enumerate(operators):
        results = [int(i) for i in op["outputs"] if int(i) in tensors]
        sources = list(dict.fromkeys(int(i) for i in op["inputs"] if int(i) in stored))
        if op["op_name"] == "DEQUANTIZE" and sources and results:  # float16 weights: another operator uses them
            stored[results[0]] = stored[sources[0]]
            continue
        layer = str(tensors[results[0]]["name"]) if results else f"{op['op_name']}_{number}"
        for index in sources:
            source = stored.pop(index)
            details = tensors[source]
            if len(details["shape"]) >= 2 and (_dtype(details)[:5] == "float" or _scales(details)):
                shape = tuple(int(d) for d in details["shape"])
                load = partial(_real, interpreter, details)
                yield Weight(layer, str(details["name"]), shape, _dtype(details), load)


def _scales(details: dict[str, Any]) -> bool:
    return len(details["quantization_parameters"]["scales"]) > 0


def _real(interpreter: Any, details: dict[str, Any]) -> Any:
    """The values of a constant as real numbers: r = (q - zero point) * scale."""
    import numpy as np

    values = interpreter.get_tensor(details["index"]).astype(np.float32)
    if not _scales(details):
        return values
    found = details["quantization_parameters"]
    shape = [1] * values.ndim
    if len(found["scales"]) > 1:
        shape[int(found["quantized_dimension"])] = -1
    scales, zeros = (np.asarray(found[k], np.float32).reshape(shape) for k in ("scales", "zero_points"))
    return (values - zeros) * scales


ADAPTER = TfLite()

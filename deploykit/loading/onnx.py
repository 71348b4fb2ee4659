"""The ONNX format: a protobuf message, with the weights inside or in files beside it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core import extras
from deploykit.core.errors import ModelFileError, UnsupportedModelError
from deploykit.core.model import Layer, Model, TensorSpec
from deploykit.loading._contract import Format, Parts, Saved, Summary, Weight
from deploykit.loading._live import classes, keep
from deploykit.loading._nodes import GraphNode, Values
from deploykit.loading._onnx.estimators import convert, is_estimator
from deploykit.loading._onnx.graph import check_graph
from deploykit.loading._onnx.kinds import KINDS, seen
from deploykit.loading._onnx.packed import PACKED, shape_of
from deploykit.loading._onnx.shapes import inferred
from deploykit.loading._onnx.tables import rows_of
from deploykit.loading._onnx.tensors import all_tensors, check_tensor
from deploykit.readers import onnx_messages
from deploykit.readers import protobuf as _wire
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Field numbers of ModelProto and their wire types.
_FIELDS = {
    **dict.fromkeys((1, 5), _wire.VARINT),
    **dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), _wire.BYTES),
}
_GRAPH, _OPSETS = 7, 8
#: How operators begin that make, read or compute quantized numbers.
_QUANTIZED = (
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantize", "QLinear", "QGemm", "QAttention", "ConvInteger",
    "MatMulInteger", "MatMulNBits",
)  # fmt: skip
_OWN_DOMAIN = ("", "ai.onnx")
#: Operators that change a tensor's form, not what its values mean.
_PASSING = frozenset(
    {"Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "QuantizeLinear", "DequantizeLinear"}
)
#: Larger files are not given to shape inference, which copies them.
_INFER_BYTES = 256 << 20
#: What the dimension of examples is called.
_BATCHES = frozenset({"n", "b", "bs"})
_AGAIN = "export or download the model again."


class Onnx(Format):
    """Has no signature: recognized by the fields at its beginning. External data are never opened unchecked."""

    name = "onnx"
    label = "ONNX"
    help = "ONNX graph."
    requires = ("onnx",)
    suffixes = (".onnx",)
    companions = (".data", ".onnx_data")
    kinds = KINDS
    live = "an onnx.ModelProto, a fitted estimator of scikit-learn, XGBoost or LightGBM"

    def matches(self, path: Path, head: bytes) -> bool:
        """The fields of a ModelProto: an IR version, then a graph or operator sets."""
        del path
        version, found = 0, set[int]()
        try:
            for number, wire, value in _wire.fields(memoryview(head)):
                if _FIELDS.get(number) != wire:
                    return False
                found.add(number)
                if number == 1 and isinstance(value, int):
                    version = value
        except _wire.WireError as error:  # the head ends in the middle of a field
            if not error.needs:
                return False
            found |= {error.field} - {0}
        return 0 < version < 1 << 16 and bool(found & {_GRAPH, _OPSETS}) and found <= set(_FIELDS)

    def takes(self, thing: object) -> bool:
        """A parsed model or an estimator; it is known by its class."""
        return ("onnx", "ModelProto") in classes(thing) or is_estimator(thing)

    def save_with(self, thing: Any, example: Any) -> Saved:
        """Convert an estimator, and compare its answers on rows of an example."""
        if not is_estimator(thing):
            return super().save_with(thing, example)
        return dataclasses.replace(self.save(convert(thing, example)), name=type(thing).__name__)

    def save(self, thing: Any) -> Saved:
        """Write it as a file, in one order of its fields; an estimator is converted."""
        if is_estimator(thing):
            return self.save_with(thing, None)
        name = thing.graph.name or "model"
        if any(tensor.data_location == tensor.EXTERNAL for tensor in thing.graph.initializer):
            raise UnsupportedModelError(
                f"The model {name!r} has weights in files of their own, and does not say where.",
                remedy="pass the path of the .onnx file, or load it with its data: onnx.load(path).",
            )
        try:
            data = thing.SerializeToString(deterministic=True)
        except Exception as error:  # protobuf's EncodeError has no stable home
            raise UnsupportedModelError(
                f"The model {name!r} cannot be written as one file: {error}.",
                remedy="save it with onnx.save(model, path, save_as_external_data=True) and pass that path.",
            ) from error
        return Saved(keep(".onnx", lambda path: path.write_bytes(data)), name)

    def quantized(self, model: Model) -> str:
        """Quantizing and integer operators."""
        marks = {layer.type for layer in model.layers if layer.type.rpartition(".")[2].startswith(_QUANTIZED)}
        return f"it has {', '.join(sorted(marks))}" if marks else ""

    def read(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Check all tensors, then summarize the graph."""
        del trusted, imports
        model = _parse(path)
        _check_texts(model, path)
        _check_versions(model, path)
        files, flaws = _check(model, path)
        flaws += _unknown_operators(model)
        inputs, outputs = signature(model, path)
        layers, total = _layers(model)
        return Summary(inputs, outputs, layers, total, tuple(flaws), files, _operator_set(model))

    def parts(self, path: Path, *, trusted: bool) -> Parts:
        """The checks of `read` without the ``onnx`` package; the runtime knows which versions and types it can run."""
        del trusted
        model = _parse(path, onnx_messages.parse)
        _check_texts(model, path)
        return Parts(_check(model, path)[0])

    def weights(self, path: Path) -> Iterator[Weight]:
        """Constants of the main graph, by the nodes that use them; external data are checked before they are read."""
        from deploykit.loading._onnx.weights import weights

        model = _parse(path)
        for tensor, sparse in all_tensors(model):
            check_tensor(tensor, path, sparse=sparse)
        return weights(model.graph, path.parent)

    def nodes(self, path: Path) -> list[GraphNode]:
        """Nodes of the main graph; external data are checked before they are read."""
        from deploykit.loading._onnx import nodes

        model = _parse(path)
        for tensor, sparse in all_tensors(model):
            check_tensor(tensor, path, sparse=sparse)
        return nodes.nodes(model, path.parent, self.kind_of)

    def values(self, path: Path, session: Session, feeds: Mapping[str, NDArray[Any]]) -> Values:
        """All tensors of the main graph, by ONNX Runtime."""
        import onnx

        from deploykit.loading._onnx import nodes

        return nodes.values(onnx.load(path), feeds)


def _parse(path: Path, parse: Callable[[bytes], Any] | None = None) -> Any:
    """A parsed file, by ``onnx`` if no other parser is given."""
    data = path.read_bytes()
    try:
        for _ in _wire.fields(memoryview(data)):
            pass
    except _wire.WireError as error:
        if error.needs:
            raise ModelFileError(
                f"{path}: truncated: {len(data):,} of at least {error.needs:,} bytes are there.", remedy=_AGAIN
            ) from error
        raise ModelFileError(f"{path}: damaged ONNX file: {error}.", remedy=_AGAIN) from error
    try:
        model = parse(data) if parse else extras.require("onnx").load_model_from_string(data, format="protobuf")
    except Exception as error:  # protobuf's DecodeError has no stable home
        raise ModelFileError(f"{path}: truncated or damaged ONNX file: {error}.", remedy=_AGAIN) from error
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise ModelFileError(f"{path}: an ONNX file without a graph.", remedy=_AGAIN)
    return model


def _check(model: Any, path: Path) -> tuple[tuple[str, ...], list[str]]:
    """Check all tensors and the graph: files beside the model's own that hold tensors, and flaws of values."""
    files: dict[str, None] = {}
    flaws: list[str] = []
    for tensor, sparse in all_tensors(model):
        stored = check_tensor(tensor, path, sparse=sparse)
        if stored.file and stored.file != str(path):
            files[stored.file] = None
        if stored.flaw == "NaN":
            flaws.append(f"the tensor {tensor.name!r} holds NaN: outputs will be wrong; export the model again.")
        elif stored.flaw:
            flaws.append(f"the tensor {tensor.name!r} holds {stored.flaw}: fine for a mask, wrong for weights.")
    check_graph(model, path)
    return tuple(files), flaws


def _check_texts(model: Any, path: Path) -> None:
    """Refuse names that are not UTF-8, which protobuf gives as bytes."""
    graph = model.graph
    texts = [entry.domain for entry in model.opset_import]
    texts += [item.name for item in (*graph.initializer, *graph.input, *graph.output, *graph.value_info)]
    for node in graph.node:
        texts += [node.name, node.op_type, node.domain, *node.input, *node.output]
    for tensor, _ in all_tensors(model):
        texts += [tensor.name, *(text for entry in tensor.external_data for text in (entry.key, entry.value))]
    for text in texts:
        if not isinstance(text, str):
            raise ModelFileError(f"{path}: damaged: the name {text!r} is not UTF-8.", remedy=_AGAIN)


def _check_versions(model: Any, path: Path) -> None:
    import onnx

    here = extras.version("onnx")
    if model.ir_version > onnx.IR_VERSION:
        raise UnsupportedModelError(
            f"{path}: ONNX IR version {model.ir_version}; the newest that onnx {here} knows is {onnx.IR_VERSION}.",
            remedy="upgrade onnx and onnxruntime, or export for an older version.",
        )
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in _OWN_DOMAIN and not 0 < entry.version <= newest:
            raise UnsupportedModelError(
                f"{path}: opset {entry.version} of ai.onnx; onnx {here} knows 1 to {newest}.",
                remedy=f"export with opset {min(newest, 21)}, or upgrade onnx and onnxruntime.",
            )


def _unknown_operators(model: Any) -> list[str]:
    import onnx

    version = _operator_set(model)
    local = {f.name for f in model.functions}
    kinds = dict.fromkeys(n.op_type for n in model.graph.node if n.domain in _OWN_DOMAIN and n.op_type not in local)
    unknown = []
    for kind in kinds:
        try:
            onnx.defs.get_schema(kind, version)
        except onnx.defs.SchemaError:
            unknown.append(kind)
    if not unknown:
        return []
    return [f"operators that opset {version} does not have: {', '.join(unknown[:8])}; no runtime can run them."]


def signature(model: Any, path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of a parsed graph; initializers are not inputs.

    Raises:
        ModelFileError: There are no outputs, or a type is not known.
        UnsupportedModelError: An input or output is not a tensor.
    """
    constant = {tensor.name for tensor in model.graph.initializer}
    constant |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    given = [v for v in model.graph.input if v.name not in constant]
    batch = _batch_name(given, list(model.graph.output))
    rows = rows_of(model.graph)
    inputs = tuple(dataclasses.replace(_spec(v, path, "input", batch), rows=rows.get(v.name, 0)) for v in given)
    makers = {name: node for node in model.graph.node for name in node.output}
    outputs = tuple(
        dataclasses.replace(_spec(v, path, "output", batch), operator=_operator(v.name, makers))
        for v in model.graph.output
    )
    if not outputs:
        raise ModelFileError(f"{path}: the graph has no outputs.", remedy=_AGAIN)
    return inputs, outputs


def _batch_name(inputs: list[Any], outputs: list[Any]) -> str:
    """What the file calls the number of examples.

    It is the first dimension of the first input that leaves it free; but where that is in no output (steps come first),
    it is the dimension of this input that is called like a batch, or that all outputs have first.
    """
    names = [[str(d.dim_param) for d in v.type.tensor_type.shape.dim] for v in inputs]
    made = [[str(d.dim_param) for d in v.type.tensor_type.shape.dim] for v in outputs]
    own = next((n for n in names if n and n[0]), [])
    if not own or any(own[0] in n for n in made):
        return own[0] if own else next((n[0] for n in names if n and n[0]), "")
    free = [n for n in own if n]
    called = [n for n in free if n.lower() in _BATCHES or "batch" in n.lower()]
    first = [n for n in free if made and all(m[:1] == [n] for m in made)]
    return next(iter([*called, *first]), own[0])


def _operator(name: str, makers: dict[str, Any]) -> str:
    """The type of the node that makes a tensor, looked at through those that only pass values on."""
    for _ in range(len(makers)):
        node = makers.get(name)
        if node is None:
            return ""
        if node.op_type not in _PASSING or not node.input:
            return str(node.op_type)
        name = node.input[0]
    return ""


def _spec(value: Any, path: Path, what: str, batch: str) -> TensorSpec:
    if not value.type.HasField("tensor_type"):
        kind = value.type.WhichOneof("value") or "untyped value"
        raise UnsupportedModelError(
            f"{path}: {what} {value.name!r} is a {kind.removesuffix('_type')}, not a tensor.",
            remedy="export a model whose inputs and outputs are tensors (skl2onnx: options={'zipmap': False}).",
        )
    tensor = value.type.tensor_type
    names = [d.dim_param for d in tensor.shape.dim]
    axis = names.index(batch) if batch in names and batch else 0
    return TensorSpec(value.name, _shape(tensor), _dtype(tensor.elem_type, value.name, path), batch_axis=axis)


def _shape(tensor_type: Any) -> tuple[int | None, ...] | None:
    if not tensor_type.HasField("shape"):
        return None
    return tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in tensor_type.shape.dim)


def _dtype(elem_type: int, name: str, path: Path) -> str:
    from onnx import TensorProto, helper

    if elem_type == TensorProto.STRING:
        return "string"
    try:
        return str(helper.tensor_dtype_to_np_dtype(elem_type))
    except (KeyError, ValueError, TypeError) as error:
        raise ModelFileError(f"{path}: {name!r} has the unknown type {elem_type}.", remedy=_AGAIN) from error


def _operator_set(model: Any) -> int:
    return next((e.version for e in model.opset_import if e.domain in _OWN_DOMAIN), 1)


def _layers(model: Any) -> tuple[tuple[Layer, ...], int]:
    """The nodes of the main graph, with what they own; and the number of all weights."""
    graph = model.graph
    owned = {t.name: _weights(t) for t in graph.initializer}
    owned |= {s.values.name: _weights(s.values) for s in graph.sparse_initializer}
    owned |= {node.input[1]: math.prod(shape_of(node)) for node in graph.node if node.op_type == PACKED}
    total = sum(owned.values())
    shapes = dict(_shapes(model))
    known = {**shapes, **{t.name: tuple(t.dims) for t in graph.initializer}}
    layers = []
    for number, node in enumerate(graph.node):
        own = sum(owned.pop(name, 0) for name in dict.fromkeys(node.input))
        if node.op_type == "Constant":
            own = sum(_weights(a.t) for a in node.attribute if a.HasField("t"))
            total += own
        kind = node.op_type if node.domain in _OWN_DOMAIN else f"{node.domain}.{node.op_type}"
        shape = shapes.get(node.output[0]) if node.output else None
        layers.append(Layer(node.name or f"{node.op_type}_{number}", kind, shape, own, seen(node, known)))
    return tuple(layers), total


def _weights(tensor: Any) -> int:
    """Number of values, 0 for shapes and other integers that no training made."""
    from onnx import TensorProto

    if tensor.data_type in (TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING):
        return 0
    return math.prod(tensor.dims)


def _shapes(model: Any) -> Iterator[tuple[str, tuple[int | None, ...] | None]]:
    graph = model.graph
    known = {v.name for v in (*graph.value_info, *graph.output)}
    if any(name not in known for node in graph.node for name in node.output) and model.ByteSize() < _INFER_BYTES:
        graph = inferred(model)
    for value in (*graph.value_info, *graph.output):
        if value.type.HasField("tensor_type"):
            yield value.name, _shape(value.type.tensor_type)


ADAPTER = Onnx()

"""A Keras model as a flat list of steps: nested models are written out, activations stand apart from their layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploykit.core.extras import require
from deploykit.loading._keras.open import graph_of

#: Layers that compute a product and then an activation, and those that compute two products.
PRODUCTS = frozenset(
    {"Dense", *(f"{kind}{n}D" for kind in ("Conv", "DepthwiseConv") for n in (1, 2, 3)), "Conv1DTranspose",
     "Conv2DTranspose", "Conv3DTranspose"}
)  # fmt: skip
SEPARABLE = frozenset({"SeparableConv1D", "SeparableConv2D"})
#: What is appended to the name of a tensor for the mask of its padded steps.
MASK = "/mask"


@dataclass(eq=False)
class Step:
    """One call of a layer or an operation, or a part of one.

    Attributes:
        op: The layer or operation.
        name: Name of the layer, the same for each of its calls and parts.
        part: ``""`` for all of it, or ``"product"``, ``"depthwise"``, ``"pointwise"``, ``"activation"``; of attention
            ``"heads"``, what the heads give side by side, and ``"projection"``, the product behind them.
        input: Names of the tensors it reads.
        output: Names of the tensors it writes.
        fill: Arguments and keyword arguments for values by the names in ``input``.
    """

    op: Any
    name: str
    part: str
    input: list[str]
    output: list[str]
    fill: Callable[[Mapping[str, Any]], tuple[Any, Any]]

    @property
    def kind(self) -> str:
        """The class; "" for one that is not Keras's own."""
        own = type(self.op).__module__.split(".")[0] == "keras"
        return type(self.op).__name__ if own else ""

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What it computes in inference, as tensors by name."""
        keras = require("keras", "tensorflow")
        tensors = {name: keras.ops.convert_to_tensor(values[name]) for name in self.input}
        for name in self.input:
            if name.endswith(MASK):
                tensors[name.removesuffix(MASK)]._keras_mask = tensors[name]
        args, kwargs = self.fill(tensors)
        if self.part in {"", "product", "heads"}:
            found = keras.tree.flatten(_called(self.op, self.part, args, kwargs))
        else:
            found = [_part(self.op, self.part, args[0])]
        names = [name for name in self.output if not name.endswith(MASK)]
        made = dict(zip(names, found, strict=True))
        for name in (name for name in self.output if name.endswith(MASK)):
            whole = made[name.removesuffix(MASK)]
            mask = getattr(whole, "_keras_mask", None)
            made[name] = mask if mask is not None else next(t for n, t in tensors.items() if n.endswith(MASK))
        return made


def _called(op: Any, part: str, args: Any, kwargs: Any) -> Any:
    keras = require("keras", "tensorflow")
    if isinstance(op, keras.Layer) and op._call_has_training_arg:
        kwargs = {**kwargs, "training": False}
    if not part:
        return op(*args, **kwargs)
    if part == "heads":
        return _heads(op, args, kwargs)
    kept = op.activation
    try:
        op.activation = keras.activations.linear
        return op(*args, **kwargs)
    finally:
        op.activation = kept


def _heads(op: Any, args: Any, kwargs: Any) -> Any:
    """What the heads of an attention give, one beside the other in the last axis."""
    keras = require("keras", "tensorflow")
    kept = op._output_dense
    try:
        object.__setattr__(op, "_output_dense", lambda x: x)  # it is not a change that Keras should keep track of
        found = op(*args, **kwargs)
    finally:
        object.__setattr__(op, "_output_dense", kept)
    made = keras.ops.reshape(found, (*keras.ops.shape(found)[:-2], found.shape[-2] * found.shape[-1]))
    if (mask := getattr(found, "_keras_mask", None)) is not None:
        made._keras_mask = mask
    return made


def _part(op: Any, part: str, x: Any) -> Any:
    keras = require("keras", "tensorflow")
    if part == "activation":
        return op.activation(x)
    if part == "projection":
        return op._output_dense(keras.ops.reshape(x, (*keras.ops.shape(x)[:-1], op._num_heads, op._value_dim)))
    x = keras.ops.cast(x, op.compute_dtype)
    if part == "depthwise":
        return keras.ops.depthwise_conv(
            x, keras.ops.cast(op.depthwise_kernel, x.dtype), strides=op.strides,
            padding="valid" if op.padding == "causal" else op.padding,
            data_format=op.data_format, dilation_rate=op.dilation_rate,
        )  # fmt: skip
    x = keras.ops.conv(x, keras.ops.cast(op.pointwise_kernel, x.dtype), data_format=op.data_format)
    if op.use_bias:
        shape = (1, *[1] * op.rank, -1) if op.data_format == "channels_last" else (1, -1, *[1] * op.rank)
        x = x + keras.ops.reshape(keras.ops.cast(op.bias, x.dtype), shape)
    return x


@dataclass
class Flat:
    """A model as steps in the order in which they run.

    Attributes:
        steps: The steps.
        inputs: Names of the model's inputs, in its order.
        outputs: Names of its outputs.
        shapes: Shape of every tensor; None for an unknown dimension.
        layers: Every layer and operation by its name, those of nested models included.
        fed: For each input layer of a nested model, what is fed to it at each call.
        tensors: Names of each symbolic tensor of the model, by its id; those of a nested model have one for each call.
    """

    steps: list[Step] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    shapes: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    layers: dict[str, Any] = field(default_factory=dict)
    fed: dict[str, list[str]] = field(default_factory=dict)
    tensors: dict[int, list[str]] = field(default_factory=dict)

    def calls(self) -> dict[str, int]:
        """How often each layer is called."""
        found: dict[str, int] = {}
        for step in self.steps:
            if step.part in {"", "product", "depthwise", "heads"}:
                found[step.name] = found.get(step.name, 0) + 1
        return found


def flat(model: Any) -> Flat:
    """A functional or Sequential model, flat."""
    graph, made = graph_of(model), Flat()
    made.layers = named(model)
    names = {id(op): name for name, op in made.layers.items()}
    known: dict[int, str] = {}
    for number, tensor in enumerate(graph._inputs):
        known[id(tensor)] = f"input{number}"
        made.shapes[f"input{number}"] = tuple(tensor.shape)
    made.inputs = list(dict.fromkeys(known.values()))
    made.outputs = _write(graph, known, made, names)
    return made


def named(model: Any, before: str = "") -> dict[str, Any]:
    """Every layer and operation of a model by name; in nested models the path, where a name alone is not enough."""
    found: dict[str, Any] = {}
    graph = graph_of(model)
    for op in graph.operations if graph is not None else ():
        found[before + op.name] = op
        found |= named(op, f"{before}{op.name}/") if is_nested(op) else {}
    return found


def is_nested(op: Any) -> bool:
    """Whether an operation is a functional or Sequential model of its own."""
    keras = require("keras", "tensorflow")
    return isinstance(op, keras.Model) and graph_of(op) is not None


def _write(graph: Any, known: dict[int, str], made: Flat, names: dict[int, str]) -> list[str]:
    """Append the steps of a graph whose inputs have names; gives the names of its outputs."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.operation is None or node.is_input or any(id(t) not in known for t in node.input_tensors):
                continue
            read = [known[id(t)] for t in node.input_tensors]
            inner = graph_of(node.operation) if is_nested(node.operation) else None
            if inner is not None and _fits(node, inner, made, read):
                for tensor, name in zip(inner._inputs, read, strict=True):
                    layer = names.get(id(tensor._keras_history.operation), "")
                    made.fed.setdefault(layer, []).append(name)
                inside = {id(t): name for t, name in zip(inner._inputs, read, strict=True)}
                for tensor, name in zip(node.output_tensors, _write(inner, inside, made, names), strict=True):
                    known[id(tensor)] = name
                continue
            _append(node, read, known, made, names)
    for tensor, name in known.items():
        made.tensors.setdefault(tensor, []).append(name)
    return [known[id(tensor)] for tensor in graph._outputs]


def _fits(node: Any, inner: Any, made: Flat, read: list[str]) -> bool:
    """Whether a nested model is fed plainly, one tensor after another."""
    args = node.arguments.args
    plain = len(args) == 1 and not isinstance(args[0], dict) and len(inner._inputs) == len(read)
    return plain and all(
        len(made.shapes[name]) == len(tensor.shape) for name, tensor in zip(read, inner._inputs, strict=True)
    )


def _append(node: Any, read: list[str], known: dict[int, str], made: Flat, names: dict[int, str]) -> None:
    op = node.operation
    name = names.get(id(op), op.name)
    base, wrote = f"{name}#{len(made.steps)}", list[str]()
    ids = {id(t): known[id(t)] for t in node.input_tensors}

    def fill(values: Mapping[str, Any]) -> tuple[Any, Any]:
        args, kwargs = node.arguments.fill_in({key: values[at] for key, at in ids.items()})
        return args, kwargs

    for number, tensor in enumerate(node.output_tensors):
        wrote.append(f"{base}.{number}")
        known[id(tensor)] = wrote[-1]
        made.shapes[wrote[-1]] = tuple(tensor.shape)
    masks = [f"{one}{MASK}" for one in dict.fromkeys(read) if f"{one}{MASK}" in made.shapes]
    given = [
        f"{one}{MASK}" for one, tensor in zip(wrote, node.output_tensors, strict=True)
        if getattr(tensor, "_keras_mask", None) is not None
    ]  # fmt: skip
    for mask in given:
        made.shapes[mask] = tuple(made.shapes[mask.removesuffix(MASK)][:2])
    step = Step(op, name, "", list(dict.fromkeys(read)) + masks, wrote + given, fill)
    parts = _parts(step)
    made.steps += parts
    for part in parts[:-1]:
        made.shapes[part.output[0]] = _between(part, made, wrote[0])
        made.shapes |= dict.fromkeys(part.output[1:], made.shapes[given[0]] if given else ())


def _parts(step: Step) -> list[Step]:
    keras = require("keras", "tensorflow")
    active = getattr(step.op, "activation", None)
    has = active is not None and active is not keras.activations.linear
    if step.kind in SEPARABLE and step.op.padding != "causal":
        kinds = ["depthwise", "pointwise", *(["activation"] if has else [])]
    elif step.kind in PRODUCTS:
        kinds = ["product", *(["activation"] if has else [])]
    elif step.kind == "MultiHeadAttention" and _is_plain(step):
        kinds = ["heads", "projection"]
    else:
        return [step]
    parts, read = list[Step](), step.input
    masked = [name for name in step.output if name.endswith(MASK)]
    for number, kind in enumerate(kinds):
        last = number == len(kinds) - 1
        base = step.output[0] if last else f"{step.output[0]}{kind}"
        wrote = [base, *([f"{base}{MASK}"] if masked else [])]
        source = read[0]

        def fill(values: Mapping[str, Any], source: str = source) -> tuple[Any, Any]:
            return (values[source],), {}

        parts.append(Step(step.op, step.name, kind, read, wrote, step.fill if not number else fill))
        read = wrote
    return parts


def _is_plain(step: Step) -> bool:
    """Whether an attention gives as many numbers as its query has, and nothing else."""
    op = step.op
    alone = len([name for name in step.output if not name.endswith(MASK)]) == 1
    return alone and not op._output_shape and not getattr(op, "_use_gate", False)


def _between(part: Step, made: Flat, end: str) -> tuple[int | None, ...]:
    """Shape of what a part writes that is not the last one of its layer."""
    shape = list(made.shapes[end])
    if part.part == "heads":
        shape[-1] = part.op._num_heads * part.op._value_dim
    if part.part == "depthwise":
        place = -1 if part.op.data_format == "channels_last" else 1
        channels = made.shapes[part.input[0]][place]
        shape[place] = None if channels is None else channels * part.op.depth_multiplier
    return tuple(shape)

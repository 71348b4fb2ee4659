"""Where a frozen graph begins and ends: the file does not say, so it is guessed, or marked by who has chosen it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from deploykit.core.errors import ModelFileError, UnsupportedModelError
from deploykit.core.model import TensorSpec
from deploykit.loading._saved_model.graph import MetaGraph, Node, Signature, TensorInfo, base, message
from deploykit.readers.protobuf import fields, signed
from deploykit.readers.tensorflow import Shape, read_shape

#: Attributes that a node may bear besides its operator's own: its place among the inputs, or the outputs.
INPUT_MARK, OUTPUT_MARK = "_deploykit_input", "_deploykit_output"
PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2"})
#: They end a branch of a graph without being what it is for.
_ASIDE = frozenset({"Assert", "NoOp", "Print", "PrintV2", "ControlTrigger", "IsVariableInitialized"})
_GUARD = "/AssertGuard"
_COMPARISONS = frozenset(
    {"All", "Any", "Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalOr",
     "LogicalNot", "IsFinite", "IsNan", "IsInf"}
)  # fmt: skip
#: They hand on what they are given.
_CARRIERS = frozenset({"Identity", "Reshape", "Squeeze", "StopGradient", "EnsureShape"})
#: They give the shape of their first input.
_KEEPING = frozenset(
    {"Identity", "BiasAdd", "Softmax", "LogSoftmax", "Sigmoid", "Tanh", "Relu", "Relu6", "StopGradient"}
)
_NOTHING = memoryview(b"")
_VARIABLES = frozenset(
    {"VarHandleOp", "VariableV2", "Variable", "HashTable", "HashTableV2", "MutableHashTable", "MutableHashTableV2"}
)


def signature_of(meta: MetaGraph, shown: str) -> tuple[Signature, bool]:
    """Inputs and outputs of a graph: those that are marked, else placeholders and nodes that no other node reads.

    Placeholders with a default keep it. Nodes that only check or log are not outputs, nor is what no input reaches.

    Args:
        meta: The graph.
        shown: The file, for messages.

    Returns:
        The signature, and whether it was guessed.

    Raises:
        ModelFileError: The graph has no outputs.
        UnsupportedModelError: The graph reads variables: it was not frozen.
    """
    outputs = _marked(meta, OUTPUT_MARK)
    guessed = not outputs
    inputs = _marked(meta, INPUT_MARK) or [node for node in meta.nodes.values() if node.op in PLACEHOLDERS]
    outputs = outputs or unread(meta, {node.name for node in inputs})
    if not outputs:
        raise ModelFileError(
            f"{shown}: the graph has no outputs: nothing is computed from its {len(inputs)} placeholders.",
            remedy="freeze the graph with the names of its outputs, or pass inputs=[…] and outputs=[…].",
        )
    needed = reached(meta, (node.name for node in outputs))
    if variables := [name for name in needed if meta.nodes[name].op in _VARIABLES]:
        raise UnsupportedModelError(
            f"{shown}: The graph is not frozen: it reads {len(variables)} variables or tables, whose values are in "
            f"another file ({', '.join(sorted(variables)[:3])}{', …' if len(variables) > 3 else ''}).",
            remedy="save a SavedModel, or freeze the graph together with its checkpoint.",
        )
    taken = [node for node in inputs if node.name in needed]
    free = all((_shape(node) or (0,))[0] is None for node in taken)
    shapes = {node.name: _shape(node) or (_rows(meta, node) if free else None) for node in outputs}
    given = tuple(replace(_info(node), shape=shapes[node.name]) for node in outputs)
    return Signature(tuple(map(_info, taken)), given), guessed


def specs(meta: MetaGraph, tensors: Iterable[TensorInfo]) -> tuple[TensorSpec, ...]:
    """What a signature's tensors are like, with the operator that makes an output."""
    return tuple(TensorSpec(t.key, t.shape, t.dtype, operator=_operator(meta, t.name)) for t in tensors)


def reached(meta: MetaGraph, names: Iterable[str]) -> set[str]:
    """The nodes that some nodes need, themselves included."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += map(base, meta.nodes[name].inputs)
    return found


def unread(meta: MetaGraph, given: set[str]) -> list[Node]:
    """The nodes that compute something from some nodes and that no node with a purpose reads."""
    aside = _aside(meta)
    read = {base(source) for node in meta.nodes.values() if node.name not in aside for source in node.inputs}
    computed = _computed(meta, given)
    return [node for node in meta.nodes.values() if node.name in computed and node.name not in read | aside]


def _aside(meta: MetaGraph) -> set[str]:
    """Nodes that check or log, and comparisons that are made only for checks."""
    readers = _readers(meta)
    found = {n.name for n in meta.nodes.values() if n.op in _ASIDE or n.op.endswith("Summary") or _GUARD in n.name}
    waiting = [base(source) for name in found for source in meta.nodes[name].inputs]
    while waiting:
        name = waiting.pop()
        if name not in found and meta.nodes[name].op in _COMPARISONS and found.issuperset(readers[name]):
            found.add(name)
            waiting += map(base, meta.nodes[name].inputs)
    return found


def _readers(meta: MetaGraph) -> dict[str, list[str]]:
    """The nodes that read each node."""
    found: dict[str, list[str]] = {}
    for node in meta.nodes.values():
        for source in node.inputs:
            found.setdefault(base(source), []).append(node.name)
    return found


def check_wires(meta: MetaGraph, shown: str) -> None:
    """Refuse a graph in which a node reads one that is not there.

    Raises:
        ModelFileError: Names both.
    """
    for node in meta.nodes.values():
        if missing := next((source for source in node.inputs if base(source) not in meta.nodes), ""):
            raise ModelFileError(
                f"{shown}: truncated or damaged: the node {node.name!r} reads {missing!r}, which is not in the graph.",
                remedy="copy, download or export the model again.",
            )


def _marked(meta: MetaGraph, mark: str) -> list[Node]:
    places = {name: _place(node.attributes[mark]) for name, node in meta.nodes.items() if mark in node.attributes}
    return [meta.nodes[name] for name in sorted(places, key=places.__getitem__)]


def _place(value: memoryview) -> int:
    return next((signed(found) for number, _, found in fields(value) if number == 3 and isinstance(found, int)), 0)


def _computed(meta: MetaGraph, given: set[str]) -> set[str]:
    """The nodes behind the inputs, without them."""
    readers = _readers(meta)
    found: set[str] = set()
    waiting = list(given)
    while waiting:
        for reader in readers.get(waiting.pop(), ()):
            if reader not in found:
                found.add(reader)
                waiting.append(reader)
    return found - given


def _info(node: Node) -> TensorInfo:
    return TensorInfo(node.name, f"{node.name}:0", _dtype(node), _shape(node))


def _dtype(node: Node) -> str:
    """Type of a node's first output, by the attribute that its operator keeps it in; "" when it is not known."""
    names = ("dtype", "DstT", "output_type", "out_type", "Tout", "T")
    return next((found for name in names if (found := node.dtype(name))), "")


def _shape(node: Node) -> Shape | None:
    """Shape of a node's first output, where the file has it: beside the node, or of a placeholder."""
    for shapes in message(node.attributes.get("_output_shapes", memoryview(b"")))[1]:
        for shape in message(shapes)[7][:1]:
            return read_shape(shape)
    return node.shape() if node.op in PLACEHOLDERS else None


def _rows(meta: MetaGraph, node: Node) -> Shape | None:
    """Shape of what a product with a matrix of weights gives, where only steps that keep it follow; None otherwise.

    It is called for graphs whose inputs leave the number of examples free.
    """
    for _ in meta.nodes:
        if node.op not in _KEEPING or not node.inputs:
            break
        node = meta.nodes[base(node.inputs[0])]
    if node.op != "MatMul" or len(node.inputs) < 2:
        return None
    weights = meta.nodes[base(node.inputs[1])]
    while weights.op == "Identity" and weights.inputs:
        weights = meta.nodes[base(weights.inputs[0])]
    shape = weights.constant_shape() if weights.op == "Const" else None
    if shape is None or len(shape) != 2:
        return None
    across = any(number == 5 and value for number, _, value in fields(node.attributes.get("transpose_b", _NOTHING)))
    return (None, shape[0 if across else 1])


def _operator(meta: MetaGraph, name: str) -> str:
    node = meta.nodes[base(name)]
    for _ in meta.nodes:
        if node.op not in _CARRIERS or not node.inputs:
            break
        node = meta.nodes[base(node.inputs[0])]
    return "" if node.op in PLACEHOLDERS else node.op

"""Reads the config of a Functional or Sequential Keras model: layers, shapes, signature. Imports no Keras.

Files of Keras 3 note the shape of each tensor between layers; for those of Keras 2, and for the outputs, the rules of
`deploykit.loading._keras.shapes` fill in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from deploykit.core.errors import ModelFileError, UnsupportedModelError
from deploykit.loading._keras import ends as _keras_ends
from deploykit.loading._keras.shapes import Shape, infer, result_type

#: A tensor of a graph: the layer that gives it, which of its calls, and the number of the output.
Source = tuple[str, int, int]
#: Where a tensor is in a structure of lists and dictionaries.
Path = tuple[str | int, ...]
#: Its shape and NumPy dtype.
KerasTensor = tuple[Shape, str]
_MODELS = frozenset({"Functional", "Sequential", "Model"})
_AGAIN = "save the model again."


@dataclass
class Node:
    """A layer of a graph.

    Attributes:
        name: Its name among its siblings.
        path: Its name with those of the models around it: ``"backbone/conv"``.
        type: Keras class name.
        config: Its config.
        calls: What it reads, for each of its calls.
        tensors: Shape and NumPy dtype of what it gives, where they are known, by call and number of the output.
        dtype: NumPy name of the type it computes in.
        graph: The layers inside, when it is a model.
        given: What a model inside is called with first: name of the layer by the place in the structure, dictionaries
            sorted by their keys. Files of Keras 2 do not note it.
    """

    name: str
    path: str
    type: str
    config: dict[str, Any]
    calls: list[list[Source]] = field(default_factory=list)
    tensors: dict[tuple[int, int], KerasTensor] = field(default_factory=dict)
    dtype: str = "float32"
    graph: Graph | None = None
    given: dict[Path, str] = field(default_factory=dict)

    @property
    def inputs(self) -> list[str]:
        """Names of the layers it reads, for its first call."""
        return [source[0] for source in self.calls[0]] if self.calls else []

    @property
    def shape(self) -> Shape | None:
        """Shape of the first output of its first call, None while unknown."""
        return self.tensors[0, 0][0] if (0, 0) in self.tensors else None


@dataclass
class Graph:
    """A Functional or Sequential model.

    Attributes:
        nodes: Its layers in file order.
        inputs: Name in the signature → what it is in the graph.
        outputs: The same for outputs.
        flat: The outputs in the order in which Keras counts them, which sorts the keys of dictionaries.
        taken: The layers that stand for the inputs, by their place in the structure, in the same order.
    """

    nodes: list[Node]
    inputs: dict[str, Source]
    outputs: dict[str, Source]
    flat: list[Source]
    taken: dict[Path, str]

    def node(self, name: str) -> Node | None:
        """The layer of that name."""
        return next((n for n in self.nodes if n.name == name), None)

    def tensor(self, source: Source) -> KerasTensor | None:
        """Shape and dtype of a tensor, None when the config does not contain them."""
        node = self.node(source[0])
        return node.tensors.get(source[1:]) if node else None

    def leaves(self) -> Iterator[Node]:
        """All layers, those of inner models in place of the models."""
        for node in self.nodes:
            if node.graph is None:
                yield node
            else:
                yield from node.graph.leaves()


def parse_model(item: Any, shown: str, prefix: str = "") -> Graph | None:
    """The graph of a model's config; None when the model is of another kind (a subclass).

    Raises:
        ModelFileError: The config is malformed.
        UnsupportedModelError: The model was never called, so its shapes are not known.
    """
    try:
        config = item["config"]
        layers = config["layers"] if isinstance(config, dict) else config
        if item["class_name"] not in _MODELS or not isinstance(layers, list):
            return None
        nodes = [_node(layer, shown, prefix) for layer in layers]
        if item["class_name"] == "Sequential":
            return _sequential(config if isinstance(config, dict) else {}, nodes, shown)
        return _functional(config, layers, nodes)
    except KeyError as error:
        if error.args and error.args[0] == "layers":
            return None
        raise ModelFileError(f"{shown}: its config lacks {error}.", remedy=_AGAIN) from error
    except (TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{shown}: its config is malformed: {error}.", remedy=_AGAIN) from error


def _node(item: dict[str, Any], shown: str, prefix: str) -> Node:
    name = name_of(item, "?")
    config = item["config"]
    node = Node(name, prefix + name, str(item["class_name"]), config if isinstance(config, dict) else {})
    node.dtype = _dtype(node.config.get("dtype"))
    if node.type in _MODELS:
        node.graph = parse_model(item, shown, f"{node.path}/")
    if shape := node.config.get("batch_shape") or node.config.get("batch_input_shape"):
        node.config["batch_shape"] = shape
        if node.type == "InputLayer" and (known := _shape(shape)) is not None:
            node.tensors[0, 0] = known, node.dtype
    return node


def _functional(config: dict[str, Any], layers: list[Any], nodes: list[Node]) -> Graph:
    ends = [config["input_layers"], config["output_layers"]]
    inputs, outputs = ({name: _source(leaf) for name, leaf in _named(end)} for end in ends)
    flat = [_source(leaf) for _, leaf in _named(_by_alphabet(ends[1]))]
    graph = Graph(nodes, inputs, outputs, flat, dict(_places(ends[0])))
    noted: dict[Source, KerasTensor] = {}
    for node, layer in zip(nodes, layers, strict=True):
        for call in layer.get("inbound_nodes") or []:
            if node.graph is not None and not node.calls and isinstance(call, dict):
                node.given = dict(_places((call.get("args") or [None])[0]))
            node.calls.append([])
            for source, shape, dtype in _sources(call):
                node.calls[-1].append(source)
                if shape is not None:
                    noted.setdefault(source, (shape, dtype))
    _count_calls_from_zero(graph, noted)
    for source, tensor in noted.items():
        if node_of := graph.node(source[0]):
            node_of.tensors[source[1:]] = tensor
    for _ in range(len(nodes)):  # files list layers in order, mostly: one round is the rule
        before = sum(len(n.tensors) for n in nodes)
        for node in nodes:
            _infer(graph, node)
        if before == sum(len(n.tensors) for n in nodes):
            break
    return graph


def _count_calls_from_zero(graph: Graph, noted: dict[Source, KerasTensor]) -> None:
    """Keras writes the calls of a model inside a model as 1, 2, …: the model's own making counts as a call."""
    ends = [*graph.inputs.values(), *graph.outputs.values()]
    used = [*ends, *(source for node in graph.nodes for call in node.calls for source in call)]
    shifted = {n.name for n in graph.nodes if n.calls and any(s[0] == n.name and s[1] >= len(n.calls) for s in used)}

    def moved(source: Source) -> Source:
        return (source[0], source[1] - 1, source[2]) if source[0] in shifted else source

    for node in graph.nodes:
        node.calls = [[moved(source) for source in call] for call in node.calls]
    for side in (graph.inputs, graph.outputs):
        side.update({name: moved(source) for name, source in side.items()})
    graph.flat = [moved(source) for source in graph.flat]
    for source in list(noted):
        noted[moved(source)] = noted.pop(source)


def _sequential(config: dict[str, Any], nodes: list[Node], shown: str) -> Graph:
    if not nodes:
        raise ModelFileError(f"{shown}: a Sequential model without layers.", remedy=_AGAIN)
    first = nodes[0]
    shape = _shape(first.config.get("batch_shape") or config.get("build_input_shape"))
    if shape is None and first.graph is not None and len(first.graph.inputs) == 1:
        inner = first.graph.tensor(next(iter(first.graph.inputs.values())))
        shape = inner[0] if inner else None
    if shape is None:
        raise UnsupportedModelError(
            f"{shown}: the Sequential model has never been called, so its input shape is not known.",
            remedy="call it once on data, or start it with keras.Input(shape), and save it again.",
        )
    if first.type != "InputLayer":
        given = Node(f"{first.name}_input", f"{first.path}_input", "InputLayer", {}, dtype=first.dtype)
        nodes.insert(0, given)
    nodes[0].tensors[0, 0] = shape, nodes[0].dtype
    ends = [(nodes[0].name, 0, 0), (nodes[-1].name, 0, 0)]
    graph = Graph(nodes, {ends[0][0]: ends[0]}, {ends[1][0]: ends[1]}, ends[1:], {(): nodes[0].name})
    for before, node in pairwise(nodes):
        node.calls = [[(before.name, 0, 0)]]
        if before.graph is None or len(before.graph.flat) == 1:
            _infer(graph, node)
    return graph


def _infer(graph: Graph, node: Node) -> None:
    """Fill in what rules know of the outputs of a layer."""
    for number, call in enumerate(node.calls):
        given = [graph.tensor(source) for source in call]
        known = [tensor for tensor in given if tensor is not None]
        if not known or len(known) < len(given):
            continue
        if node.graph is not None:
            taken = [node.graph.tensor(source) for source in node.graph.inputs.values()]
            if given == taken:  # else Keras works the shapes out once more
                for index, source in enumerate(node.graph.flat):
                    if (found := node.graph.tensor(source)) is not None:
                        node.tensors.setdefault((number, index), found)
        elif (number, 0) not in node.tensors:
            shape = infer(node.type, node.config, [shape for shape, _ in known])
            dtype = result_type(node.type, _inner_dtype(node), [dtype for _, dtype in known])
            if shape is not None and dtype:
                node.tensors[number, 0] = shape, dtype


def _inner_dtype(node: Node) -> str:
    """What a layer computes in; for a wrapper, its innermost layer."""
    config, dtype = node.config, node.dtype
    while isinstance(config.get("layer"), dict) and isinstance(config["layer"].get("config"), dict):
        config = config["layer"]["config"]
        dtype = _dtype(config.get("dtype"))
    return dtype


def _sources(call: Any) -> Iterator[tuple[Source, Shape | None, str]]:
    """The tensors one call of a layer reads, with shape and dtype where the file notes them."""
    if isinstance(call, dict):  # Keras 3
        waiting = [call.get("args"), call.get("kwargs")]
        while waiting:
            item = waiting.pop(0)
            if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
                inner = item["config"]
                yield _source(inner["keras_history"]), _shape(inner["shape"]), str(inner["dtype"])
            elif isinstance(item, dict):
                waiting = [*item.values(), *waiting]
            elif isinstance(item, list):
                waiting = [*item, *waiting]
    else:  # Keras 2: [[name, call, tensor, kwargs], …], or one of them
        entries = [call] if call and isinstance(call[0], str) else call
        for entry in entries:
            yield _source(entry), None, ""


def _places(item: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """The layers whose tensors are in a structure, each with its place; dictionaries sorted by their keys."""
    if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
        yield path, _source(item["config"]["keras_history"])[0]
    elif isinstance(item, dict):
        for key in sorted(item, key=str):
            yield from _places(item[key], (*path, str(key)))
    elif isinstance(item, list) and item and isinstance(item[0], str):
        yield path, item[0]
    elif isinstance(item, list):
        for number, part in enumerate(item):
            yield from _places(part, (*path, number))


def _source(entry: Any) -> Source:
    """A tensor from ``[layer, call, number]``; Keras 1 writes less."""
    return str(entry[0]), int(entry[1]) if len(entry) > 1 else 0, int(entry[2]) if len(entry) > 2 else 0


def _named(structure: Any) -> list[tuple[str, Any]]:
    return _keras_ends.named(
        structure, lambda item: isinstance(item, list) and bool(item) and isinstance(item[0], str), lambda leaf: leaf[0]
    )


def _by_alphabet(structure: Any) -> Any:
    if isinstance(structure, dict):
        return {key: _by_alphabet(structure[key]) for key in sorted(structure)}
    return [_by_alphabet(item) for item in structure] if isinstance(structure, list) else structure


def name_of(item: dict[str, Any], default: str) -> str:
    """The name of a layer, from its item in a config."""
    config = item.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return str(name or item.get("name") or default)


def _shape(value: Any) -> Shape | None:
    if not isinstance(value, list | tuple):
        return None
    return tuple(None if d is None else int(d) for d in value)


def _dtype(value: Any) -> str:
    name = value.get("config", {}).get("name") if isinstance(value, dict) else value
    if not isinstance(name, str):
        return "float32"
    name = name.rpartition("_from_")[2]
    return name.removeprefix("mixed_")

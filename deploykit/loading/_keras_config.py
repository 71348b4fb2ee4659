"""Reads the config of a Functional or Sequential Keras model: layers, shapes, signature. Imports no Keras.

Files of Keras 3 note the shape of each tensor between layers; for those of Keras 2, and for the outputs, the rules of
`deploykit.loading._keras_shapes` fill in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from deploykit.core.errors import ModelFileError, UnsafeModelError, UnsupportedModelError
from deploykit.loading._keras_names import LAYERS, UNSAFE
from deploykit.loading._keras_shapes import Shape, infer

_MODELS = frozenset({"Functional", "Sequential", "Model"})
#: Settings that make a layer as large as their value: compared with what the file really holds.
_SIZES = ("units", "filters", "input_dim", "output_dim")
_AGAIN = "save the model again."


@dataclass
class Node:
    """A layer of a graph.

    Attributes:
        name: Its name among its siblings.
        path: Its name with those of the models around it: ``"backbone/conv"``.
        type: Keras class name.
        config: Its config.
        inputs: Names of the layers it reads, for its first call.
        shape: Output shape, None while unknown.
        dtype: NumPy name of its output.
        graph: The layers inside, when it is a model.
    """

    name: str
    path: str
    type: str
    config: dict[str, Any]
    inputs: list[str] = field(default_factory=list)
    shape: Shape | None = None
    dtype: str = "float32"
    graph: Graph | None = None


@dataclass
class Graph:
    """A Functional or Sequential model.

    Attributes:
        nodes: Its layers in file order.
        inputs: Name in the signature → layer.
        outputs: Name in the signature → layer.
    """

    nodes: list[Node]
    inputs: dict[str, str]
    outputs: dict[str, str]

    def node(self, name: str) -> Node | None:
        """The layer of that name."""
        return next((n for n in self.nodes if n.name == name), None)

    def leaves(self) -> Iterator[Node]:
        """All layers, those of inner models in place of the models."""
        for node in self.nodes:
            if node.graph is None:
                yield node
            else:
                yield from node.graph.leaves()


def check_config(config: Any, shown: str, *, trusted: bool, imports: tuple[str, ...]) -> None:
    """Look for code and for classes that Keras does not have.

    Raises:
        UnsafeModelError: A Lambda layer or the like, and ``trusted`` is false.
        UnsupportedModelError: A custom class, and no ``imports`` are given.
    """
    waiting: list[tuple[Any, str]] = [(config, "")]
    while waiting:
        item, layer = waiting.pop()
        if isinstance(item, list):
            waiting += [(value, layer) for value in item]
            continue
        if not isinstance(item, dict):
            continue
        kind = item.get("class_name")
        if isinstance(kind, str):
            inner = item.get("config")
            layer = _name_of(item, layer) if isinstance(inner, dict) else layer
            _check_class(item, kind, layer, shown, trusted=trusted, imports=imports)
        waiting += [(v, layer) for k, v in item.items() if k not in ("compile_config", "build_config")]


def _check_class(
    item: dict[str, Any], kind: str, layer: str, shown: str, *, trusted: bool, imports: tuple[str, ...]
) -> None:
    if kind in UNSAFE or kind == "__lambda__":
        if not trusted:
            raise UnsafeModelError(
                f"{shown}: layer {layer!r} is a {kind if kind in UNSAFE else 'Lambda'} layer, which holds code or "
                "loads other files; nothing of it was run.",
                remedy="replace it by a registered layer class and pass imports=[…]; or, if you trust whoever made "
                "the file, pass trusted=True in code.",
            )
        return
    module = item.get("module")
    registered = item.get("registered_name")
    if isinstance(module, str):
        custom = module.split(".")[0] not in ("keras", "builtins")
    else:
        custom = isinstance(registered, str) and ">" in registered
    if custom and not imports:
        home = f" of the module {module!r}" if isinstance(module, str) else ""
        raise _unknown(shown, f"layer {layer!r} uses {kind!r}{home}, which is no part of Keras", module)


def check_layers(graph: Graph, shown: str, imports: tuple[str, ...]) -> None:
    """Refuse layer classes that Keras does not have, for files that name classes without their modules.

    Raises:
        UnsupportedModelError: A custom class, and no ``imports`` are given.
    """
    for node in graph.leaves():
        if node.type not in LAYERS and not imports:
            raise _unknown(shown, f"layer {node.path!r} is a {node.type!r}, which is no layer of Keras", None)


def _unknown(shown: str, found: str, module: Any) -> UnsupportedModelError:
    name = module if isinstance(module, str) and module != "__main__" else "my_layers"
    return UnsupportedModelError(
        f"{shown}: {found}.", remedy=f'pass imports=["{name}"] with the module that defines it.'
    )


def check_sizes(graph: Graph, shown: str, stored: int) -> None:
    """Refuse layers that claim more weights than the file holds, before Keras allocates them.

    Raises:
        ModelFileError: Names the layer and what it claims.
    """
    for node in graph.leaves():
        for key in _SIZES:
            claimed = node.config.get(key)
            if isinstance(claimed, int | float) and claimed > max(stored, 1):
                raise ModelFileError(
                    f"{shown}: layer {node.path!r} claims {key}={claimed:,}, but the file holds {stored:,} weights.",
                    remedy="do not use this file.",
                )


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
    name = _name_of(item, "?")
    config = item["config"]
    node = Node(name, prefix + name, str(item["class_name"]), config if isinstance(config, dict) else {})
    node.dtype = _dtype(node.config.get("dtype"))
    if node.type in _MODELS:
        node.graph = parse_model(item, shown, f"{node.path}/")
    if shape := node.config.get("batch_shape") or node.config.get("batch_input_shape"):
        node.config["batch_shape"] = shape
        if node.type == "InputLayer":
            node.shape = _shape(shape)
    return node


def _functional(config: dict[str, Any], layers: list[Any], nodes: list[Node]) -> Graph:
    graph = Graph(nodes, _ends(config["input_layers"]), _ends(config["output_layers"]))
    tensors: dict[str, tuple[Shape, str]] = {}
    for node, layer in zip(nodes, layers, strict=True):
        calls = layer.get("inbound_nodes") or []
        for number, call in enumerate(calls):
            for source, index, shape, dtype in _sources(call):
                if number == 0:
                    node.inputs.append(source)
                if shape is not None and index == (0, 0):
                    tensors.setdefault(source, (shape, dtype))
    for node in nodes:
        if node.name in tensors:
            node.shape, node.dtype = tensors[node.name]
    for _ in range(len(nodes)):  # files list layers in order, mostly: one round is the rule
        before = [n.shape for n in nodes]
        for node in nodes:
            if node.shape is None and node.inputs:
                sources = [graph.node(name) for name in node.inputs]
                node.shape = _output(node, [s.shape if s else None for s in sources])
        if before == [n.shape for n in nodes]:
            break
    return graph


def _sequential(config: dict[str, Any], nodes: list[Node], shown: str) -> Graph:
    if not nodes:
        raise ModelFileError(f"{shown}: a Sequential model without layers.", remedy=_AGAIN)
    first = nodes[0]
    shape = _shape(first.config.get("batch_shape") or config.get("build_input_shape"))
    if shape is None and first.graph is not None and first.graph.inputs:
        inner = first.graph.node(next(iter(first.graph.inputs.values())))
        shape = inner.shape if inner else None
    if shape is None:
        raise UnsupportedModelError(
            f"{shown}: the Sequential model has never been called, so its input shape is not known.",
            remedy="call it once on data, or begin it with keras.Input(shape), and save it again.",
        )
    for before, node in zip([None, *nodes], nodes, strict=False):
        node.inputs = [before.name] if before else []
        node.shape = shape if node.type == "InputLayer" else _output(node, [before.shape if before else shape])
    if first.type != "InputLayer":
        nodes.insert(0, Node(f"{first.name}_input", f"{first.path}_input", "InputLayer", {}, [], shape, first.dtype))
    return Graph(nodes, {nodes[0].name: nodes[0].name}, {nodes[-1].name: nodes[-1].name})


def _output(node: Node, inputs: list[Shape | None]) -> Shape | None:
    if node.graph is None:
        return infer(node.type, node.config, inputs)
    if len(node.graph.outputs) != 1:
        return None
    last = node.graph.node(next(iter(node.graph.outputs.values())))
    node.dtype = last.dtype if last else node.dtype
    return last.shape if last else None


def _sources(call: Any) -> Iterator[tuple[str, tuple[int, int], Shape | None, str]]:
    """The tensors one call of a layer reads: layer, (call, tensor), shape, dtype."""
    if isinstance(call, dict):  # Keras 3
        waiting = [call.get("args"), call.get("kwargs")]
        while waiting:
            item = waiting.pop(0)
            if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
                inner = item["config"]
                name, node, tensor = inner["keras_history"][:3]
                yield str(name), (int(node), int(tensor)), _shape(inner["shape"]), str(inner["dtype"])
            elif isinstance(item, dict):
                waiting = [*item.values(), *waiting]
            elif isinstance(item, list):
                waiting = [*item, *waiting]
    else:  # Keras 2: [[name, call, tensor, kwargs], …], or one of them
        entries = [call] if call and isinstance(call[0], str) else call
        for entry in entries:
            yield str(entry[0]), (int(entry[1]), int(entry[2])), None, ""


def _ends(item: Any) -> dict[str, str]:
    """Signature name → layer name, from ``input_layers`` or ``output_layers``."""
    if isinstance(item, dict):
        return {str(key): str(value[0]) for key, value in item.items()}
    if item and isinstance(item[0], str):
        return {str(item[0]): str(item[0])}
    names: dict[str, str] = {}
    for entry in item:
        layer = str(entry[0])
        tensor = int(entry[2]) if len(entry) > 2 else 0
        names[layer if layer not in names else f"{layer}_{tensor}"] = layer
    return names


def _name_of(item: dict[str, Any], default: str) -> str:
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

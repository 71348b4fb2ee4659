"""The layers of a Keras file as nodes of a graph, and what they compute."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.layers.kinds import LayerKind
from deploykit.core.model import Layer
from deploykit.loading._keras.config import Graph, Node
from deploykit.loading._nodes import GraphNode, NodeWeight, Values

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Settings of a layer that say nothing about what it computes.
_SILENT = ("initializer", "regularizer", "constraint", "name", "dtype", "trainable", "seed", "build_config")


def nodes(
    graph: Graph, weights: Mapping[str, Sequence[NodeWeight]], kind_of: Callable[[Layer], LayerKind]
) -> list[GraphNode]:
    """The layers, those of inner models in place of the models.

    Args:
        graph: The layers.
        weights: Path of a layer → its tensors.
        kind_of: What a layer does.
    """
    found: list[GraphNode] = []
    _walk(graph, {}, weights, kind_of, found)
    return found


def _walk(
    graph: Graph,
    given: Mapping[str, str],
    weights: Mapping[str, Sequence[NodeWeight]],
    kind_of: Callable[[Layer], LayerKind],
    found: list[GraphNode],
) -> str:
    """Add a model's layers; gives the tensor that it computes first."""
    tensors: dict[str, str] = dict(given)
    for node in graph.nodes:
        if node.name in given:  # an input of an inner model is what the outer one gives it
            continue
        read = [tensors.get(name, name) for name in node.inputs]
        if node.graph is not None:
            inner = {name: tensors.get(outer, outer) for name, outer in _entering(node, node.graph).items()}
            tensors[node.name] = _walk(node.graph, inner, weights, kind_of, found)
            continue
        tensors[node.name] = node.path
        if node.type == "InputLayer":
            continue
        own = tuple(weights.get(node.path, ()))
        found.append(
            GraphNode(
                node.path, node.type, kind_of(Layer("", node.type)), tuple(read), (node.path,), own,
                {k: _text(v) for k, v in sorted(node.config.items()) if not k.endswith(_SILENT) and v is not None},
                node.shape,
            )
        )  # fmt: skip
    return tensors.get(graph.flat[0][0], "") if graph.flat else ""


def _entering(node: Node, graph: Graph) -> dict[str, str]:
    """What an inner model is given in the place of each of its inputs, by names of layers.

    Places of the two structures are paired: an input that may be left out moves no other one, and dictionaries may have
    any order. Keras also takes one structure for another with as many tensors; if there are more or fewer, nothing is
    known of the inputs, and they stay inputs of the graph.
    """
    given = node.given or {(number,): name for number, name in enumerate(node.inputs)}
    if found := {name: given[path] for path, name in graph.taken.items() if path in given}:
        return found
    if len(given) != len(graph.taken):
        return {}
    return dict(zip(graph.taken.values(), given.values(), strict=True))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return str(value.get("class_name") or json.dumps(value, default=str)[:80])
    return f"{value:g}" if isinstance(value, float) else str(value)


def values(session: Any, feeds: Mapping[str, NDArray[Any]]) -> Values:
    """What the layers compute on their first call, those inside of inner models left out.

    Args:
        session: A session of Keras.
        feeds: Inputs by the names of the session.
    """
    import keras

    graph, arrays = session.graph, session.flat([feeds[spec.name] for spec in session.inputs])
    layers = [x for x in graph.layers if not isinstance(x, keras.layers.InputLayer)]
    own = {id(node) for nodes in graph._nodes_by_depth.values() for node in nodes}
    ends = {}
    for layer in layers:
        call = next((node for node in layer._inbound_nodes if id(node) in own), None)
        if call is not None:
            ends[layer.name] = call.output_tensors[0]
    found = keras.Model(graph.inputs, ends)(arrays, training=False)
    return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}

"""What is asked of a parsed ONNX graph again and again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Names of the set of ONNX's own operators.
STANDARD = frozenset({"", "ai.onnx"})


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes by name."""
    helper = require("onnx.helper", "")
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def inner_graphs(node: Any) -> Iterator[Any]:
    """The graphs inside a node: branches and bodies of loops."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def has_inner_graphs(nodes: Iterable[Any]) -> bool:
    """Whether a node holds a graph, which reads tensors of the outer one by name."""
    return any(True for node in nodes for _ in inner_graphs(node))


def operator_set(model: Any) -> int:
    """The version of a model's standard operators, 0 when it has none."""
    return max((int(o.version) for o in model.opset_import if o.domain in STANDARD), default=0)


def initializers(graph: Any) -> dict[str, NDArray[Any]]:
    """The initializers of a graph by name."""
    numpy_helper = require("onnx.numpy_helper", "")
    return {t.name: numpy_helper.to_array(t) for t in graph.initializer}


def weight_count(model: Any) -> int:
    """How many numbers the initializers of a model hold."""
    return sum(math.prod(t.dims) for t in model.graph.initializer)

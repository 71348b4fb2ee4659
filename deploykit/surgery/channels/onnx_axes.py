"""Labels for the channels of an ONNX graph; see `deploykit.surgery.channels.labels`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.loading._onnx.parts import initializers, inner_graphs, operator_set
from deploykit.loading._onnx.shapes import shapes
from deploykit.surgery.channels.labels import Group, Labels, Producer, groups

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Traced:
    """An ONNX graph whose axes have labels; `deploykit.surgery.channels.onnx_trace.trace` makes it.

    Attributes:
        model: A copy of the ``ModelProto`` with constants as initializers, shapes of reshapes written out where they
            are known, and small vectors that several layers share copied for each.
        operators: Version of its operator set.
        constants: Its initializers as arrays.
        shapes: Shape of every tensor whose rank is known; None for an unknown dimension.
        axes: For every tensor, the labels of each axis; None for an axis of unknown length.
        labels: What joins them.
        made: Every axis of a weight that makes channels, with its labels.
        frozen: Names of nodes whose channels stay because their operator has no rule, by operator.
    """

    def __init__(self, model: Any) -> None:
        self.model = plain(model)
        _own_sizes(self.model)
        graph = self.model.graph
        self.operators = operator_set(self.model)
        self.constants = initializers(graph)
        self.shapes = shapes(self.model)
        self.labels = Labels()
        self.axes: dict[str, list[NDArray[Any] | None]] = {}
        self.made: list[tuple[Producer, NDArray[Any]]] = []
        self.frozen: dict[str, list[str]] = {}
        self._seen: set[tuple[str, int]] = set()
        for name, values in self.constants.items():
            self.axes[name] = [self.labels.fresh(size) for size in values.shape]
        for value in graph.input:
            if value.name not in self.constants and value.name in self.shapes:
                self.axes[value.name] = self.still(value.name)

    def groups(self) -> list[Group]:
        """The groups of channels that compete, in the order in which their layers run."""
        return groups(self.labels, self.made)

    def still(self, name: str) -> list[NDArray[Any] | None]:
        """Frozen labels for all axes of a tensor."""
        import numpy as np

        return [np.zeros(size, np.int64) if size is not None else None for size in self.shapes[name]]

    def freeze(self, node: Any) -> None:
        """Keep all channels that a node reads or writes, and note why."""
        reads = [*node.input, *captured(node)]
        if any(self.labels.is_live(axis) for name in reads for axis in self.axes.get(name, [])):
            self.frozen.setdefault(node.op_type, []).append(node.name)
        for name in reads:
            for axis in self.axes.get(name, []):
                self.labels.freeze(axis)
        for name in node.output:
            for axis in self.axes.get(name, []):
                self.labels.freeze(axis)
            if name and name in self.shapes:
                self.axes[name] = self.still(name)

    def produce(self, node: Any, weight: str, axis: int) -> None:
        """Note that an axis of a weight makes the channels that a node writes."""
        labels = self.axes[weight][axis]
        if weight in self.constants and labels is not None and (weight, axis) not in self._seen:
            self._seen.add((weight, axis))
            self.made.append((Producer(weight, axis, node.name), labels))


def plain(model: Any) -> Any:
    """A copy of a model in the form that tracing reads: it computes the same.

    Constants become initializers, shapes of reshapes that are known but for one dimension are written out, nodes that
    nothing reads go, every node has a name, and one-dimensional weights that several nodes read are copied for each, so
    that sharing a bias does not tie layers together.
    """
    import numpy as np

    onnx, numpy_helper = require("onnx", ""), require("onnx.numpy_helper", "")
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    for node in [n for n in graph.node if n.op_type == "Constant" and any(a.name == "value" for a in n.attribute)]:
        tensor = next(a.t for a in node.attribute if a.name == "value")
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        graph.node.remove(node)
    known, constants = shapes(made), {t.name for t in graph.initializer}
    for number, node in enumerate(graph.node):
        shape = known.get(node.output[0]) if node.op_type == "Reshape" else None
        if shape is not None and node.input[1] not in constants and shape.count(None) <= 1:
            name = f"{node.output[0]}/shape{number}"
            sizes = [-1 if size is None else size for size in shape]
            graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
            node.input[1] = name
    drop_unread(graph)
    _own_vectors(graph)
    taken = {node.name for node in graph.node}
    for number, node in enumerate(graph.node):
        if not node.name:
            node.name = next(n for i in range(len(taken) + 1) if (n := f"{node.op_type}_{number + i}") not in taken)
            taken.add(node.name)
    return made


def _own_sizes(model: Any) -> None:
    """Give each reshape of computed sizes its own concatenation: what is known as constants, the rest as it was."""
    graph, known = model.graph, shapes(model)
    constants = {t.name for t in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for number, node in reversed(list(enumerate(graph.node))):
        shape = known.get(node.output[0]) if node.op_type == "Reshape" else None
        if shape is None or node.input[1] in constants or shape.count(None) == len(shape):
            continue
        for more in reversed(_sizes_of(graph, node, shape, known, makers.get(node.input[1]))):
            graph.node.insert(number, more)
    drop_unread(graph)


def _sizes_of(graph: Any, node: Any, shape: Sequence[int | None], known: Mapping[str, Any], maker: Any) -> list[Any]:
    """Nodes that make the sizes of one reshape."""
    import numpy as np

    helper, numpy_helper = require("onnx.helper", ""), require("onnx.numpy_helper", "")
    start = f"{node.output[0]}/sizes"
    if start == node.input[1]:  # they are written already
        return []
    pieces = list(maker.input) if maker is not None and maker.op_type == "Concat" else []
    lengths = [known.get(name) or [None] for name in pieces]
    places = pieces_of([length[0] for length in lengths], len(shape))

    def constant(name: str, value: int) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
        return name

    found, nodes = list[str](), list[Any]()
    for place, size in enumerate(shape):
        name = f"{start}.{place}"
        piece = places[place] if places else -1
        if size is not None:
            found.append(constant(name, size))
        elif piece >= 0 and all(shape[k] is None for k, other in enumerate(places) if other == piece):
            if place == places.index(piece):
                found.append(pieces[piece])
        else:
            nodes.append(helper.make_node("Gather", [node.input[1], constant(f"{name}/of", place)], [name], name))
            found.append(name)
    node.input[1] = start
    return [*nodes, helper.make_node("Concat", found, [start], start, axis=0)]


def pieces_of(lengths: Sequence[int | None], count: int) -> list[int]:
    """Which of the pieces of a concatenation each of ``count`` places comes from; empty when that is not known."""
    found = [piece for piece, length in enumerate(lengths) for _ in range(length or 0)]
    return found if None not in lengths and len(found) == count else []


def captured(node: Any) -> Iterator[str]:
    """Names that the graphs inside a node read."""
    for graph in inner_graphs(node):
        for inner in graph.node:
            yield from inner.input
            yield from captured(inner)
        yield from (value.name for value in graph.output)


def drop_unread(graph: Any) -> None:
    """Remove nodes and initializers that nothing reads."""
    while True:
        read = {name for node in graph.node for name in (*node.input, *captured(node))}
        read |= {value.name for value in graph.output}
        unread = [node for node in graph.node if read.isdisjoint(node.output)]
        if not unread:
            break
        for node in unread:
            graph.node.remove(node)
    for tensor in [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)


def _own_vectors(graph: Any) -> None:
    vectors = {t.name: t for t in graph.initializer if len(t.dims) == 1 and t.dims[0] > 1}
    taken = {t.name for t in graph.initializer} | {name for node in graph.node for name in node.output}
    seen: set[str] = set()
    for number, node in enumerate(graph.node):
        for place, name in enumerate(node.input):
            if name not in vectors:
                continue
            if name in seen:
                copied = type(vectors[name])()
                copied.CopyFrom(vectors[name])
                copied.name = next(n for i in range(len(taken)) if (n := f"{name}/{number}.{place + i}") not in taken)
                taken.add(copied.name)
                graph.initializer.append(copied)
                node.input[place] = copied.name
            seen.add(name)

"""Removing labelled channels from an ONNX graph, and masking them in the original for comparison."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.loading._onnx.parts import attributes, has_inner_graphs
from deploykit.surgery.channels.labels import kept
from deploykit.surgery.channels.onnx_axes import Traced
from deploykit.surgery.channels.onnx_shape_rules import written_sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cut(traced: Traced, gone: Collection[int]) -> Any:
    """The graph without some components; a ``ModelProto``.

    Args:
        traced: The original.
        gone: Components to remove, none of them 0.

    Returns:
        A smaller dense model with the same inputs, outputs and operators.

    Raises:
        onnx.checker.ValidationError: The result is not a valid model.
    """
    onnx, numpy_helper = require("onnx", ""), require("onnx.numpy_helper", "")
    made = onnx.ModelProto()
    made.CopyFrom(traced.model)
    graph = made.graph
    for tensor in graph.initializer:
        values = traced.constants[tensor.name]
        shrunk = _shrunk(traced, tensor.name, gone)
        if shrunk.shape != values.shape:
            tensor.CopyFrom(numpy_helper.from_array(shrunk, tensor.name))
    for number, node in enumerate(graph.node):
        _refit(traced, graph, node, number, gone)
    _drop_unused(graph)
    smaller = {name for name in traced.axes if any(_loses(traced, axis, gone) for axis in traced.axes[name])}
    for value in [v for v in graph.value_info if v.name in smaller]:
        graph.value_info.remove(value)
    require("onnx.checker", "").check_model(made)
    return made


def _shrunk(traced: Traced, name: str, gone: Collection[int]) -> NDArray[Any]:
    import numpy as np

    values = traced.constants[name]
    for k, axis in enumerate(traced.axes[name]):
        stays = None if axis is None else kept(traced.labels, axis, gone)
        if stays is not None and not stays.all():
            values = np.compress(stays, values, axis=k)
    return values


def _loses(traced: Traced, axis: NDArray[Any] | None, gone: Collection[int]) -> bool:
    return axis is not None and not kept(traced.labels, axis, gone).all()


def _size(traced: Traced, name: str, place: int, gone: Collection[int]) -> int | None:
    axis = traced.axes[name][place]
    return None if axis is None else int(kept(traced.labels, axis, gone).sum())


def _refit(traced: Traced, graph: Any, node: Any, number: int, gone: Collection[int]) -> None:
    """Write the new numbers of channels where a node states them."""
    given = attributes(node)
    if node.op_type == "Conv" and given.get("group", 1) > 1:
        channels = _size(traced, node.input[0], 1, gone)
        width = _size(traced, node.input[1], 1, gone)
        if channels and width:
            next(a for a in node.attribute if a.name == "group").i = channels // width
    elif node.op_type == "Reshape" and node.input[1] in traced.constants:
        old = traced.constants[node.input[1]].tolist()
        sizes = [_size(traced, node.output[0], k, gone) if value > 0 else None for k, value in enumerate(old)]
        _restate(graph, node, 1, old, [o if s is None else s for o, s in zip(old, sizes, strict=True)], number)
    elif node.op_type == "Reshape" and (written := written_sizes(traced, graph, node)) is not None:
        maker, known = written
        for k, piece in known.items():
            old, new = (_size(traced, node.output[0], k, removed) for removed in ((), gone))
            if old is not None and new is not None:
                _restate(graph, maker, piece, [old], [new], number)
    elif node.op_type == "Split":
        place = given.get("axis", 0) % len(traced.axes[node.input[0]])
        found = [_size(traced, name, place, gone) for name in node.output]
        old = [_size(traced, name, place, ()) for name in node.output]
        if None in found or found == old:
            return
        if "split" in given:  # up to operator set 12
            attribute = next(a for a in node.attribute if a.name == "split")
            del attribute.ints[:]
            attribute.ints.extend(int(size or 0) for size in found)
            return
        for attribute in [a for a in node.attribute if a.name == "num_outputs"]:
            node.attribute.remove(attribute)
        if len(node.input) < 2:
            node.input.append("")
        _restate(graph, node, 1, [], [int(size or 0) for size in found], number)
    elif node.op_type == "Resize" and len(node.input) > 3 and node.input[3] in traced.constants:
        old = traced.constants[node.input[3]].tolist()
        sizes = [_size(traced, node.output[0], k, gone) for k in range(len(old))]
        _restate(graph, node, 3, old, [o if s is None else s for o, s in zip(old, sizes, strict=True)], number)


def _restate(graph: Any, node: Any, place: int, old: list[int], new: list[int], number: int) -> None:
    """Give a node numbers of its own: others may read the constant that held them."""
    import numpy as np

    if old == new:
        return
    name = f"{node.output[0]}/sizes{number}.{place}"
    tensor = require("onnx.numpy_helper", "").from_array(np.array(new, np.int64), name)
    if node.input[place] == name:  # it has them already, from an earlier cut
        next(t for t in graph.initializer if t.name == name).CopyFrom(tensor)
        return
    graph.initializer.append(tensor)
    node.input[place] = name


def _drop_unused(graph: Any) -> None:
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    inner = has_inner_graphs(graph.node)
    for tensor in [] if inner else [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)


def masked(traced: Traced, gone: Collection[int]) -> Any:
    """The original, in which every value of a removed channel is replaced by zero; a ``ModelProto``.

    This is what a cut model must compute. No weight is touched, so that channels are masked behind their activation and
    normalization and not before.
    """
    import numpy as np

    onnx, helper = require("onnx", ""), require("onnx.helper", "")
    numpy_helper = require("onnx.numpy_helper", "")
    made = onnx.ModelProto()
    made.CopyFrom(traced.model)
    graph, outputs = made.graph, {value.name for value in made.graph.output}
    nothing = "deploykit/nothing"
    graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), nothing))
    nodes: list[Any] = []
    for node in list(graph.node):
        nodes.append(node)
        for place, name in enumerate(node.output):
            axes = [] if name in outputs else traced.axes.get(name, [])
            masks = [
                (k, stays)
                for k, axis in enumerate(axes)
                if axis is not None and not (stays := kept(traced.labels, axis, gone)).all()
            ]
            source = name
            for count, (k, stays) in enumerate(masks):
                if not count:
                    source = node.output[place] = f"{name}/whole"
                shape = [len(stays) if at == k else 1 for at in range(len(axes))]
                mask, result = f"{name}/mask{count}", name if count == len(masks) - 1 else f"{name}/masked{count}"
                graph.initializer.append(numpy_helper.from_array(stays.reshape(shape), mask))
                nodes.append(helper.make_node("CastLike", [nothing, source], [f"{mask}/zero"]))
                nodes.append(helper.make_node("Where", [mask, source, f"{mask}/zero"], [result]))
                source = result
    del graph.node[:]
    graph.node.extend(nodes)
    return made

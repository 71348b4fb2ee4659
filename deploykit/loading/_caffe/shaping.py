"""Layers that join, cut, turn or reshape, written as ONNX."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deploykit.loading._caffe.graph import Graph, Value
from deploykit.loading._caffe.net import CaffeLayer


def _axis(graph: Graph, layer: CaffeLayer, axis: int, x: Value) -> int:
    """An axis behind that of the examples."""
    found = axis + len(x.shape) + 1 if axis < 0 else axis
    if not 1 <= found <= len(x.shape):
        raise graph.refuse(layer, f"works along axis {axis} of {len(x.shape) + 1}, or along the examples")
    return found


def concat(graph: Graph, layer: CaffeLayer, values: Sequence[Value]) -> list[Value]:
    """Concat."""
    settings, first = layer.parameters("concat_param"), values[0]
    axis = _axis(graph, layer, settings.whole("axis", settings.whole("concat_dim", 1)), first)
    shapes = [list(value.shape) for value in values]
    size = sum(shape[axis - 1] for shape in shapes if len(shape) == len(first.shape))
    for shape in shapes:
        if len(shape) == len(first.shape):
            shape[axis - 1] = size
    if any(shape != shapes[0] for shape in shapes):
        raise graph.refuse(layer, f"joins shapes that do not fit: {', '.join(str(value.shape) for value in values)}")
    return [graph.add(layer, "Concat", [value.name for value in values], tuple(shapes[0]), axis=axis)]


def eltwise(graph: Graph, layer: CaffeLayer, values: Sequence[Value]) -> list[Value]:
    """Eltwise: sums with coefficients, products, maxima."""
    import numpy as np

    settings, shape = layer.parameters("eltwise_param"), values[0].shape
    operator = {"SUM": "Add", "PROD": "Mul", "MAX": "Max"}.get(kind := settings.word("operation", "SUM"), "")
    factors = settings.numbers("coeff") or [1.0] * len(values)
    if not operator or any(value.shape != shape for value in values) or len(factors) != len(values) or len(values) < 2:
        raise graph.refuse(layer, f"combines {len(values)} blobs by {kind}: {', '.join(str(v.shape) for v in values)}")
    terms = list(values)
    if operator == "Add":
        terms = [
            term if factor == 1.0 else
            graph.add(layer, "Mul", [term.name, graph.constant(layer, "coeff", np.array(factor, np.float32))], shape)
            for term, factor in zip(values, factors, strict=True)
        ]  # fmt: skip
    found = terms[0]
    for term in terms[1:]:
        found = graph.add(layer, operator, [found.name, term.name], shape)
    return [found]


def split(graph: Graph, layer: CaffeLayer, values: Sequence[Value]) -> list[Value]:
    """Slice: parts at some points, or equal ones."""
    import numpy as np

    settings, (x,) = layer.parameters("slice_param"), values
    axis = _axis(graph, layer, settings.whole("axis", settings.whole("slice_dim", 1)), x)
    size, count = x.shape[axis - 1], len(layer.tops)
    points = settings.wholes("slice_point") or [size * place // count for place in range(1, count)]
    parts = [after - before for before, after in zip([0, *points], [*points, size], strict=True)]
    if len(parts) != count or min(parts) < 1 or (not settings.wholes("slice_point") and size % count):
        raise graph.refuse(layer, f"cuts {size} into {count} at {', '.join(map(str, points[:8]))}")
    found, begin = [], 0
    for part in parts:
        shape = (*x.shape[: axis - 1], part, *x.shape[axis:])
        ends = [
            graph.constant(layer, name, np.array([number], np.int64))
            for name, number in (("begin", begin), ("end", begin + part), ("axis", axis))
        ]
        found.append(graph.add(layer, "Slice", [x.name, *ends], shape))
        begin += part
    return found


def flatten(graph: Graph, layer: CaffeLayer, values: Sequence[Value]) -> list[Value]:
    """Flatten all axes but the first."""
    settings, (x,) = layer.parameters("flatten_param"), values
    if settings.whole("axis", 1) != 1 or settings.whole("end_axis", -1) not in (-1, len(x.shape)):
        raise graph.refuse(layer, "flattens other axes than all but the first")
    return [graph.add(layer, "Flatten", [x.name], (math.prod(x.shape),), axis=1)]


def reshape(graph: Graph, layer: CaffeLayer, values: Sequence[Value]) -> list[Value]:
    """Reshape: 0 keeps an axis, -1 takes what is left."""
    import numpy as np

    settings, (x,) = layer.parameters("reshape_param"), values
    dims = settings.message("shape").wholes("dim")
    if settings.whole("axis", 0) or settings.whole("num_axes", -1) != -1 or not dims or dims[0] not in (0, -1, 1):
        raise graph.refuse(layer, "reshapes a part of the axes, or the examples")
    if any(dim == 0 and place > len(x.shape) for place, dim in enumerate(dims)):
        raise graph.refuse(layer, "keeps an axis that is not there")
    sizes = [x.shape[place - 1] if dim == 0 else dim for place, dim in enumerate(dims) if place]
    total, known = math.prod(x.shape), math.prod(size for size in sizes if size != -1)
    sizes = [total // max(known, 1) if size == -1 else size for size in sizes]
    if math.prod(sizes) != total or min(sizes, default=1) < 1 or dims[1:].count(-1) > 1:
        raise graph.refuse(layer, f"reshapes {' × '.join(map(str, x.shape))} into {' × '.join(map(str, dims[1:]))}")
    target = graph.constant(layer, "shape", np.array([-1, *sizes], np.int64))
    return [graph.add(layer, "Reshape", [x.name, target], tuple(sizes))]


def permute(graph: Graph, layer: CaffeLayer, values: Sequence[Value]) -> list[Value]:
    """Permute of SSD: the axes in another order, the rest behind them."""
    (x,) = values
    order = layer.parameters("permute_param").wholes("order")
    order = [*order, *(axis for axis in range(len(x.shape) + 1) if axis not in order)]
    if sorted(order) != list(range(len(x.shape) + 1)) or order[0] != 0:
        raise graph.refuse(layer, f"turns the axes to {order}")
    return [graph.add(layer, "Transpose", [x.name], tuple(x.shape[axis - 1] for axis in order[1:]), perm=order)]


def softmax(graph: Graph, layer: CaffeLayer, values: Sequence[Value]) -> list[Value]:
    """Softmax along an axis."""
    (x,) = values
    axis = _axis(graph, layer, layer.parameters("softmax_param").whole("axis", 1), x)
    return [graph.add(layer, "Softmax", [x.name], x.shape, axis=axis)]


def same(graph: Graph, layer: CaffeLayer, values: Sequence[Value]) -> list[Value]:
    """Layers that hand on what they get when they do not train."""
    del graph
    return [values[0]] * len(layer.tops)


RULES = {
    "Concat": concat, "Dropout": same, "Eltwise": eltwise, "Flatten": flatten, "Permute": permute, "Reshape": reshape,
    "Silence": same, "Slice": split, "Softmax": softmax, "Split": same,
}  # fmt: skip

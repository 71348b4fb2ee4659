"""Operators that move, join and cut tensors."""

from __future__ import annotations

from typing import Any

from deploykit.converters._tensorflow_graph.calls import Call, Rule, tensorflow
from deploykit.converters._tensorflow_graph.values import Dims, Value, count, moved, to_first, to_last

_FAR = 2**31 - 1


def _transpose(call: Call) -> Value:
    value = call[0]
    order = [int(axis) for axis in call.get("perm", range(value.rank - 1, -1, -1))]
    if value.rank > 2 and value.known is None:
        if value.turned and order == to_last(value.rank):
            return Value(value.last())
        if not value.turned and order == to_first(value.rank):
            return Value(last=value.first())
    return Value(moved(value.native, [value.axis(axis) for axis in order]))


def _reshape(call: Call) -> Value:
    import numpy as np

    tf, value, target = tensorflow(), call[0], call[1].known
    if target is None:
        if call.dims is None or call.dims.count(None) > 1:
            return Value(tf.reshape(value.first(), call[1].first()))
        return _reshaped(value, call.dims)
    sizes: list[Any] = [int(size) for size in target.reshape(-1)]
    if 0 in sizes and not call.get("allowzero", 0):
        own = value.dims
        sizes = [own[k] if size == 0 else size for k, size in enumerate(sizes)]
        free = [k for k, size in enumerate(sizes) if size is None or size == -1]
        if len(free) > 1:
            known = None if call.dims is None else call.dims
            if known is not None and known.count(None) <= 1:
                return _reshaped(value, known)
            shape = tf.shape(value.first())
            return Value(
                tf.reshape(value.first(), tf.stack([shape[k] if n is None else n for k, n in enumerate(sizes)]))
            )
    total = count(value.dims)
    if -1 in sizes and total is not None:
        rest = int(np.prod([size for size in sizes if size != -1]))
        sizes = [total // rest if size == -1 and rest else size for size in sizes]
    return _reshaped(value, [None if size == -1 else size for size in sizes])


def _reshaped(value: Value, dims: Dims) -> Value:
    """In a shape that is known but for one size; without a detour where nothing but axes of length 1 come or go."""
    tf = tensorflow()
    if value.dims == dims and dims.count(None) <= 1:
        return value
    source = value.first()
    if value.turned:
        sizes = value.native.shape.as_list()
        real = [axis for axis in to_first(len(sizes)) if sizes[axis] != 1]  # axes, not sizes: those may be equal
        source = value.native if real == sorted(real) else source
    if len(dims) in (4, 5) and dims[1] == 1:  # one channel: it may as well be the last axis
        last = [dims[axis] for axis in to_last(len(dims))]
        return Value(last=_shaped(tf, source, last))
    return Value(_shaped(tf, source, dims))


def _shaped(tf: Any, tensor: Any, dims: Dims) -> Any:
    if tensor.shape.as_list() == dims and dims.count(None) <= 1:
        return tensor
    return tf.reshape(tensor, [-1 if d is None else d for d in dims])


def _flatten(call: Call) -> Value:
    tf, value = tensorflow(), call[0]
    axis = int(call.get("axis", 1))
    axis += value.rank if axis < 0 else 0
    front, back = count(value.dims[:axis]), count(value.dims[axis:])
    if front is None and back is None:
        shape = tf.shape(value.first())
        return Value(tf.reshape(value.first(), tf.stack([tf.reduce_prod(shape[:axis]), tf.reduce_prod(shape[axis:])])))
    return _reshaped(value, [front, back])


def _squeeze(call: Call) -> Value:
    value = call[0]
    axes = call.numbers(1, "axes")
    gone = [axis % value.rank for axis in axes] if axes else [k for k, size in enumerate(value.dims) if size == 1]
    dims = [size for k, size in enumerate(value.dims) if k not in gone]
    return _reshaped(value, dims) if dims.count(None) <= 1 else Value(tensorflow().squeeze(value.first(), gone))


def _unsqueeze(call: Call) -> Value:
    tf, value = tensorflow(), call[0]
    axes = call.numbers(1, "axes") or []
    rank = value.rank + len(axes)
    dims, found = list(value.dims), value.first()
    for axis in sorted(axis % rank for axis in axes):
        dims.insert(axis, 1)
        found = found if value.dims.count(None) <= 1 else tf.expand_dims(found, axis)
    return _reshaped(value, dims) if dims.count(None) <= 1 else Value(found)


def _concat(call: Call) -> Value:
    tf, values = tensorflow(), [v for v in call.inputs if v is not None]
    rank = values[0].rank
    axis = int(call.get("axis")) % rank
    if not any(value.turned for value in values):
        return Value(tf.concat([value.first() for value in values], axis))
    return Value(last=tf.concat([value.last() for value in values], to_last(rank).index(axis)))


def _split(call: Call) -> list[Value]:
    tf, value = tensorflow(), call[0]
    axis = int(call.get("axis", 0)) % value.rank
    sizes, parts = call.numbers(1, "split"), len(call.node.output)
    if sizes is None:
        whole = value.dims[axis]
        if whole is None:
            raise call.refused("it splits an axis of unknown size")
        each = -(-whole // parts)
        sizes = [min(each, whole - k * each) for k in range(parts)]
    return [value.like(part) for part in tf.split(value.native, sizes, value.axis(axis))]


def _slice(call: Call) -> Value:
    value = call[0]
    starts, ends = call.numbers(1, "starts"), call.numbers(2, "ends")
    if starts is None or ends is None:
        raise call.refused("it has no limits")
    axes = call.numbers(3, "axes") or list(range(len(starts)))
    steps = call.numbers(4, "steps") or [1] * len(starts)
    found = [slice(None)] * value.rank
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = value.dims[axis % value.rank]
        first: int | None = start
        last: int | None = end
        if size is not None:  # as ONNX clamps
            low, high = (0, size) if step > 0 else (-1, size - 1)
            first = min(max(start + size if start < 0 else start, 0), high)
            last = min(max(end + size if end < 0 else end, low), size)
            last = None if last < 0 else last
        elif step > 0:
            last = None if end >= _FAR else end
        else:
            first, last = (None if start >= _FAR or start == -1 else start), (None if end <= -_FAR else end)
        found[value.axis(axis)] = slice(first, last, step)
    return value.like(value.native[tuple(found)])


def _pad(call: Call) -> Value:
    tf, value = tensorflow(), call[0]
    pads, filler = call.numbers(1, "pads"), call.setting(2, "value")
    mode = call.get("mode", "constant")
    if pads is None or mode not in ("constant", "reflect"):
        raise call.refused(f"its mode is {mode}")
    axes = call.numbers(3) or list(range(value.rank))
    each = [[0, 0] for _ in range(value.rank)]
    for k, axis in enumerate(axes):
        each[axis % value.rank] = [pads[k], pads[k + len(axes)]]
    places = to_last(value.rank) if value.turned else range(value.rank)
    wanted = [each[axis] for axis in places]
    x = value.native
    if any(amount < 0 for pair in wanted for amount in pair):  # a negative one cuts
        cut = [slice(max(0, -b), None if a >= 0 else a) for b, a in wanted]
        x, wanted = x[tuple(cut)], [[max(0, b), max(0, a)] for b, a in wanted]
    if mode == "reflect":
        return value.like(tf.pad(x, wanted, "REFLECT"))
    number = 0 if filler is None or not filler.size else filler.reshape(-1)[0].item()
    return value.like(tf.pad(x, wanted, constant_values=tf.constant(number, x.dtype)))


def _gather(call: Call) -> Value:
    import numpy as np

    tf, axis, index = tensorflow(), int(call.get("axis", 0)) % call[0].rank, call[1]
    size = call[0].dims[axis]
    if index.known is None:
        places, whole = index.first(), tf.shape(call[0].first(), out_type=index.dtype)[axis] if size is None else size
        return Value(tf.gather(call[0].first(), tf.where(places < 0, places + whole, places), axis=axis))
    if (index.known < 0).any() and size is None:
        raise call.refused("it counts from the end of an axis of unknown size")
    places = np.where(index.known < 0, index.known + (size or 0), index.known).astype(np.int32)
    picked = [call[0].sizes[place] for place in places.reshape(-1)] if call[0].sizes else [None]
    if None not in picked:  # sizes that are not free are numbers
        return Value(known=np.array(picked, np.int64).reshape(places.shape))
    return Value(tf.gather(call[0].first(), places, axis=axis))


def _expand(call: Call) -> Value:
    tf, value, target = tensorflow(), call[0], call[1]
    if call.dims is not None and call.dims == value.dims and call.dims.count(None) <= 1:
        return value  # it is as long already: what exporters write for any number of examples
    sizes = None if target.known is None else [int(size) for size in target.known.reshape(-1)]
    if sizes is None and call.dims is not None and None not in call.dims:
        sizes = [int(size or 0) for size in call.dims]
    if sizes is not None and None not in value.dims:
        own = [1] * (len(sizes) - value.rank) + [int(d or 0) for d in value.dims]
        sizes = [1] * (len(own) - len(sizes)) + sizes
        return Value(
            tf.broadcast_to(
                value.first(), [max(a, b) if 0 not in (a, b) else 0 for a, b in zip(own, sizes, strict=True)]
            )
        )
    wanted = tf.cast(target.first(), tf.int32) if sizes is None else tf.constant(sizes, tf.int32)
    return Value(tf.broadcast_to(value.first(), tf.broadcast_dynamic_shape(tf.shape(value.first()), wanted)))


def _tile(call: Call) -> Value:
    repeats = call[1].known
    return Value(tensorflow().tile(call[0].first(), call[1].first() if repeats is None else repeats))


def _shape(call: Call) -> Value:
    tf, rank = tensorflow(), call[0].rank
    start, end, _ = slice(call.get("start", 0), call.get("end")).indices(rank)
    return Value(tf.shape(call[0].first(), out_type=tf.int64)[start:end], sizes=call[0].dims[start:end])


def _filled(call: Call) -> Value:
    from onnx import numpy_helper

    tf, tensor = tensorflow(), call.get("value")
    number = tf.constant(0.0) if tensor is None else tf.constant(numpy_helper.to_array(tensor).reshape(-1)[0])
    return Value(tf.fill(call[0].first(), number))


def _range(call: Call) -> Value:
    return Value(tensorflow().range(*(call[place].first() for place in range(3))))


def _constant(call: Call) -> Value:
    raise call.refused("it has no dense value")


RULES: dict[str, Rule] = {
    "Transpose": _transpose, "Reshape": _reshape, "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Concat": _concat, "Split": _split, "Slice": _slice, "Pad": _pad, "Gather": _gather, "Expand": _expand,
    "Tile": _tile, "Shape": _shape, "ConstantOfShape": _filled, "Range": _range,
    "Constant": _constant,
}  # fmt: skip

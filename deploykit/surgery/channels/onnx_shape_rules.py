"""How ONNX operators that move, cut and join tensors pass channels on; see `deploykit.surgery.channels.onnx_rules`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.loading._onnx.parts import attributes
from deploykit.surgery.channels.onnx_axes import pieces_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.surgery.channels.onnx_axes import Traced


def axes_of(traced: Traced, node: Any, place: int, default: Sequence[int]) -> list[int] | None:
    """The axes a node works on, given as an input or an attribute; None when they are computed."""
    rank = len(traced.axes[node.input[0]])
    if len(node.input) > place and node.input[place]:
        if node.input[place] not in traced.constants:
            return None
        given = traced.constants[node.input[place]].reshape(-1).tolist()
    else:
        given = attributes(node).get("axes", default)
    return [int(a) % rank for a in given]


def zeros(size: int) -> NDArray[Any]:
    """Frozen labels."""
    import numpy as np

    return np.zeros(size, np.int64)


def _concat(traced: Traced, node: Any) -> None:
    import numpy as np

    parts = [traced.axes[name] for name in node.input]
    rank = len(parts[0])
    chosen = attributes(node)["axis"] % rank
    found: list[NDArray[Any] | None] = []
    for k in range(rank):
        axes = [part[k] for part in parts]
        if k == chosen:
            known = [axis for axis in axes if axis is not None]
            if len(known) < len(axes):
                for axis in known:
                    traced.labels.freeze(axis)
            found.append(np.concatenate(known) if len(known) == len(axes) else None)
            continue
        for other in axes[1:]:
            if not (axes[0] is None and other is None):
                traced.labels.join(axes[0], other)
        found.append(axes[0])
    traced.axes[node.output[0]] = found


def _split(traced: Traced, node: Any) -> None:
    source = traced.axes[node.input[0]]
    chosen = attributes(node).get("axis", 0) % len(source)
    whole, start = source[chosen], 0
    for name in node.output:
        shape = traced.shapes.get(name)
        size = shape[chosen] if shape is not None else None
        if whole is None or size is None:
            traced.freeze(node)
            return
        axes = list(source)
        axes[chosen] = whole[start : start + size]
        traced.labels.part(axes[chosen])
        traced.axes[name] = axes
        start += size


def _slice(traced: Traced, node: Any) -> None:
    axes = list(traced.axes[node.input[0]])
    given = attributes(node)
    if "starts" in given:
        starts, ends = given["starts"], given["ends"]
        chosen, steps = given.get("axes", range(len(starts))), [1] * len(starts)
    else:
        names = [*node.input[1:], *[""] * 4][:4]
        if any(name and name not in traced.constants for name in names):
            traced.freeze(node)
            return
        starts, ends = (traced.constants[name].tolist() for name in names[:2])
        chosen = traced.constants[names[2]].tolist() if names[2] else range(len(starts))
        steps = traced.constants[names[3]].tolist() if names[3] else [1] * len(starts)
    for start, end, place, step in zip(starts, ends, chosen, steps, strict=True):
        axis = axes[place]
        if axis is not None:
            traced.labels.freeze(axis)  # where to cut is written as numbers
            axes[place] = axis[int(start) : max(int(end), -len(axis) - 1) if step < 0 else int(end) : int(step)]
    traced.axes[node.output[0]] = axes


def _gather(traced: Traced, node: Any) -> None:
    source, indices = traced.axes[node.input[0]], traced.axes[node.input[1]]
    chosen = attributes(node).get("axis", 0) % len(source)
    traced.labels.freeze(source[chosen])
    for axis in indices:
        traced.labels.freeze(axis)
    still = [None if axis is None else zeros(len(axis)) for axis in indices]
    if node.input[0] in traced.constants and chosen != len(source) - 1:
        traced.produce(node, node.input[0], len(source) - 1)  # an embedding
    traced.axes[node.output[0]] = [*source[:chosen], *still, *source[chosen + 1 :]]


def _transpose(traced: Traced, node: Any) -> None:
    source = traced.axes[node.input[0]]
    order = attributes(node).get("perm", list(range(len(source)))[::-1])
    traced.axes[node.output[0]] = [source[k] for k in order]


def _squeeze(traced: Traced, node: Any) -> None:
    source = traced.axes[node.input[0]]
    shape = traced.shapes[node.input[0]]
    chosen = axes_of(traced, node, 1, [k for k, size in enumerate(shape) if size == 1])
    if chosen is None:
        traced.freeze(node)
        return
    for place in chosen:
        traced.labels.freeze(source[place])  # it must keep the length 1
    traced.axes[node.output[0]] = [axis for k, axis in enumerate(source) if k not in chosen]


def _unsqueeze(traced: Traced, node: Any) -> None:
    axes = list(traced.axes[node.input[0]])
    if len(node.input) > 1 and node.input[1] not in traced.constants:
        traced.freeze(node)
        return
    given = traced.constants[node.input[1]].tolist() if len(node.input) > 1 else attributes(node)["axes"]
    rank = len(axes) + len(given)
    for place in sorted(int(a) % rank for a in given):
        axes.insert(place, zeros(1))
    traced.axes[node.output[0]] = axes


def _pad(traced: Traced, node: Any) -> None:
    source = traced.axes[node.input[0]]
    given = attributes(node).get("pads")
    if given is None:
        if len(node.input) < 2 or node.input[1] not in traced.constants or (len(node.input) > 3 and node.input[3]):
            traced.freeze(node)
            return
        given = traced.constants[node.input[1]].tolist()
    rank, still = len(source), traced.still(node.output[0])
    for k, axis in enumerate(source):
        if given[k] == given[rank + k] == 0:
            still[k] = axis
        else:
            traced.labels.freeze(axis)
    traced.axes[node.output[0]] = still


def _resize(traced: Traced, node: Any) -> None:
    """Space is resized, channels pass where their number stays."""
    source, shape = traced.axes[node.input[0]], traced.shapes.get(node.output[0])
    before = traced.shapes[node.input[0]]
    if shape is None or any(name and name not in traced.constants for name in node.input[1:]):
        traced.freeze(node)
        return
    axes = traced.still(node.output[0])
    for k, axis in enumerate(source):
        if k < 2 and before[k] == shape[k]:
            axes[k] = axis
        else:
            traced.labels.freeze(axis)
    traced.axes[node.output[0]] = axes


def _shape(traced: Traced, node: Any) -> None:
    """The length of an axis is read: it must stay, unless only axes that stay anyway are looked at."""
    source, given = traced.axes[node.input[0]], attributes(node)
    places = list(range(len(source)))[given.get("start", 0) : given.get("end", len(source))]
    for reader in [n for n in traced.model.graph.node if node.output[0] in n.input]:
        for place in _looked_at(traced, reader, places):
            traced.labels.freeze(source[place])
    traced.axes[node.output[0]] = [zeros(len(places))]


def _looked_at(traced: Traced, reader: Any, places: list[int]) -> list[int]:
    """Those of a tensor's axes whose lengths a node takes from the list of them."""
    constants, given = [traced.constants.get(name) for name in reader.input[1:]], attributes(reader)
    if reader.op_type == "Gather" and constants[0] is not None:
        return [places[int(i)] for i in constants[0].reshape(-1)]
    if reader.op_type == "Slice" and "starts" in given:
        return places[given["starts"][0] : given["ends"][0]]
    if reader.op_type == "Slice" and all(values is not None for values in constants):
        start, end, *more = (int(values.reshape(-1)[0]) for values in constants if values is not None)
        return places[start : end : more[1] if len(more) > 1 else 1]
    return places


def _flatten(traced: Traced, node: Any) -> None:
    _reshaped(traced, node)


def _reshape(traced: Traced, node: Any) -> None:
    if node.input[1] not in traced.constants and written_sizes(traced, traced.model.graph, node) is None:
        traced.freeze(node)
        return
    _reshaped(traced, node)
    for axis in traced.axes[node.input[1]]:
        traced.labels.freeze(axis)


def written_sizes(traced: Traced, graph: Any, node: Any) -> tuple[Any, dict[int, int]] | None:
    """The concatenation that makes a reshape's sizes, and which of its pieces are those that are known.

    None unless each of these is a constant: it can then be another one.
    """
    sizes = traced.shapes.get(node.output[0])
    maker = next((one for one in graph.node if node.input[1] in one.output), None)
    if sizes is None or maker is None or maker.op_type != "Concat":
        return None
    places = pieces_of([(traced.shapes.get(name) or [None])[0] for name in maker.input], len(sizes))
    known = {k: piece for k, piece in enumerate(places) if sizes[k] is not None}
    single = all(places.count(piece) == 1 and maker.input[piece] in traced.constants for piece in known.values())
    return (maker, known) if places and single else None


def _reshaped(traced: Traced, node: Any) -> None:
    """Match runs of axes that hold the same number of elements; one live axis of a run may be spread or folded."""
    before, after = traced.shapes[node.input[0]], traced.shapes.get(node.output[0])
    runs = None if after is None else _runs(before, after)
    if runs is None or after is None:
        traced.freeze(node)
        return
    source, found = traced.axes[node.input[0]], list[Any]()
    for old, new in runs:
        live = [k for k in old if (axis := source[k]) is not None and len(axis) > 1 and traced.labels.is_live(axis)]
        sizes = [after[k] for k in new]
        if len(old) == len(new) == 1:
            found.append(source[old[0]])
        elif len(live) == 1 and new:
            fixed = [new.index(k) for k in _taken_apart(traced, node.output[0]) if k in new]
            found += _spread(traced, [before[k] for k in old], sizes, source[live[0]], old.index(live[0]), fixed)
        else:
            for k in live:
                traced.labels.freeze(source[k])
            found += [None if size is None else zeros(size) for size in sizes]
    traced.axes[node.output[0]] = found


def _taken_apart(traced: Traced, name: str) -> set[int]:
    """Axes of a tensor that later nodes take apart, as queries, keys and values that one layer has made: they stay."""
    order, found = list(range(len(traced.shapes[name]))), set[int]()
    while len(readers := [node for node in traced.model.graph.node if name in node.input]) == 1:
        (node,) = readers
        if node.op_type == "Transpose":
            order = [order[k] for k in attributes(node).get("perm", range(len(order))[::-1])]
            name = node.output[0]
            continue
        break
    for node in readers:
        if node.input[0] != name:
            continue
        if node.op_type in ("Split", "Gather"):
            found.add(order[attributes(node).get("axis", 0) % len(order)])
        elif node.op_type == "Slice":
            axes = traced.constants.get(node.input[3]) if len(node.input) > 3 else attributes(node).get("axes")
            found |= set(order) if axes is None else {order[int(k)] for k in axes}
    return found


def _spread(
    traced: Traced,
    old: list[int | None],
    new: list[int | None],
    labels: NDArray[Any] | None,
    place: int,
    fixed: Collection[int] = (),
) -> list[NDArray[Any] | None]:
    """Labels of the new axes of a run whose axis ``place`` had labels; ``fixed``: new axes that stay as they are."""
    import numpy as np

    if labels is None or None in old or None in new:
        traced.labels.freeze(labels)
        return [None if size is None else zeros(size) for size in new]
    shape, target = [int(size or 0) for size in old], [int(size or 0) for size in new]
    laid = labels.reshape([-1 if k == place else 1 for k in range(len(shape))])
    full = np.broadcast_to(laid, shape).reshape(target)
    if len(target) == 1:
        return [full.reshape(-1)]
    free = [k for k, size in enumerate(target) if size > 1 and k not in fixed]
    if not free:
        traced.labels.freeze(labels)
        return [zeros(size) for size in target]
    carrier = free[0]  # the heads in (heads, size of a head)
    rows = np.moveaxis(full, carrier, 0).reshape(target[carrier], -1)
    for column in range(1, rows.shape[1]):
        traced.labels.join(rows[:, 0], rows[:, column])
    return [rows[:, 0] if k == carrier else zeros(size) for k, size in enumerate(target)]


def _runs(before: list[int | None], after: list[int | None]) -> list[tuple[list[int], list[int]]] | None:
    """Pairs of runs of axes with as many elements; None when that is not known.

    Axes of unknown length, such as that of the batch, end up in one run, matched from both sides.
    """
    if (None in before) != (None in after):
        return None
    last = [len(before) - _unknown(before[::-1]), len(after) - _unknown(after[::-1])]  # behind the last unknown one
    tail = _known_runs(before[::-1], after[::-1], len(before) - last[0], len(after) - last[1])
    head = _known_runs(before, after, _unknown(before), _unknown(after))
    done = [[k for run in head for k in run[side]] for side in (0, 1)]
    ends = [[n - 1 - k for run in tail for k in run[side]] for side, n in ((0, len(before)), (1, len(after)))]
    middle = tuple(
        [k for k in range(len(shape)) if k not in done[side] and k not in ends[side]]
        for side, shape in ((0, before), (1, after))
    )
    if None not in before:
        if head and sorted(done[0]) == list(range(len(before))) and sorted(done[1]) == list(range(len(after))):
            return head
        return None
    turned = [
        (sorted(len(before) - 1 - k for k in old), sorted(len(after) - 1 - k for k in new)) for old, new in tail[::-1]
    ]
    return [*head, (middle[0], middle[1]), *turned]


def _unknown(shape: list[int | None]) -> int:
    """Place of the first unknown length; the number of axes when all are known."""
    return next((k for k, size in enumerate(shape) if size is None), len(shape))


def _known_runs(
    before: list[int | None], after: list[int | None], old_end: int, new_end: int
) -> list[tuple[list[int], list[int]]]:
    """Runs from the left, as far as they match before an axis of unknown length."""
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < old_end or j < new_end:
        old, new = ([i] if i < old_end else []), ([j] if j < new_end else [])
        i, j = i + 1, j + 1
        while (one := _elements(before, old)) != (two := _elements(after, new)):
            if one < two:
                old.append(i)
                i += 1
            else:
                new.append(j)
                j += 1
            if i > old_end or j > new_end:
                return found
        found.append((old, new))
    return found


def _elements(shape: list[int | None], run: list[int]) -> int:
    return math.prod(shape[k] or 0 for k in run)


#: Operator to rule.
RULES: dict[str, Callable[[Traced, Any], None]] = {
    "Concat": _concat,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

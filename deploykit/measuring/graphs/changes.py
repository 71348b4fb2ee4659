"""What differs between two nodes that belong together, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deploykit.loading._nodes import GraphNode, NodeWeight
from deploykit.measuring.graphs.pairing import How, Links, plain

#: Longer texts of settings are cut.
_LONG = 60
#: How quantizers' constants end, which go without saying.
_SCALES = ("_scale", "_zero_point")
#: What a setting is that is not there; "" where it follows from the weights.
_DEFAULTS = {"strides": "1", "dilations": "1", "pads": "0", "auto_pad": "NOTSET", "kernel_shape": ""}


def changes_of(
    old: Sequence[GraphNode],
    new: Sequence[GraphNode],
    pairs: Mapping[int, tuple[int, How]],
    gone: Mapping[int, int],
    *,
    same_format: bool,
) -> dict[int, list[str]]:
    """Place of a paired node → what differs; between formats only what does not depend on how each writes things down.

    Args:
        old: The original's nodes.
        new: The candidate's nodes.
        pairs: Which belong together.
        gone: Place of a fused node → the one it has gone into.
        same_format: Whether both are of one format.
    """
    taken = {j for j, _ in pairs.values()}
    added = {j for j in range(len(new)) if j not in taken}
    ours = Links(old)
    theirs = Links(new, {j for j in added if new[j].kind == "conversion"})
    found = {}
    for i, (j, _) in pairs.items():
        said = []
        if same_format and old[i].operator != new[j].operator:
            said.append(f"{old[i].operator} → {new[j].operator}")
        if members := [old[k] for k, into in gone.items() if into == j]:
            said.append(f"takes in {', '.join(f'{m.operator} {m.name}' for m in members)}")
        said += _weights(old[i].weights, new[j].weights, same_format=same_format)
        if same_format:
            said += _settings(old[i], new[j])
            said += _inputs(i, j, old, new, pairs, gone, ours, theirs)
        found[i] = said
    return found


def _weights(old: Sequence[NodeWeight], new: Sequence[NodeWeight], *, same_format: bool) -> list[str]:
    """Other dtypes, shapes and values, of the tensors in order."""
    large = [[w for w in side if len(w.shape) > 1 or same_format] for side in (old, new)]
    if not same_format:
        kinds = [dict.fromkeys(w.stored for w in side) for side in large]
        return [f"weights {_list(kinds[0])} → {_list(kinds[1])}"] if all(kinds) and kinds[0] != kinds[1] else []
    said = []
    left = list(large[1])
    for before in large[0]:
        after = next((w for w in left if plain(w.name) == plain(before.name)), None)
        after = after or next((w for w in left if w.shape == before.shape), None)
        after = after or next((w for w in left if len(w.shape) == len(before.shape) and w.count > 1), None)
        if after is None:
            said += [f"without the constant {before.name}"] if before.count > 1 else []
            continue
        left.remove(after)
        if before.stored != after.stored:
            said.append(f"{before.name}: {before.stored} → {after.stored}")
        if before.shape != after.shape:
            said.append(f"{before.name}: {_dims(before)} → {_dims(after)}")
        elif before.digest != after.digest and before.stored == after.stored:
            said.append(f"{before.name}: other values")
    more = [w.name for w in left if w.count > 1 and not w.name.endswith(_SCALES)]
    return [*said, f"with the constant{'s' if len(more) > 1 else ''} {', '.join(more)}"] if more else said


def _same(name: str, before: str | None, after: str | None) -> bool:
    if before == after:
        return True
    given = before if after is None else after
    if name not in _DEFAULTS or (before is not None and after is not None):
        return False
    return not _DEFAULTS[name] or set(str(given).split(", ")) == {_DEFAULTS[name]}


def _settings(old: GraphNode, new: GraphNode) -> list[str]:
    said = []
    for name in dict.fromkeys([*old.attributes, *new.attributes]):
        before, after = old.attributes.get(name), new.attributes.get(name)
        if old.operator == new.operator and not _same(name, before, after):
            said.append(f"{name}: {_short(before)} → {_short(after)}")
    return said


def _inputs(
    i: int,
    j: int,
    old: Sequence[GraphNode],
    new: Sequence[GraphNode],
    pairs: Mapping[int, tuple[int, How]],
    gone: Mapping[int, int],
    ours: Links,
    theirs: Links,
) -> list[str]:
    """Other nodes whose outputs it reads; conversions that were added between are looked through."""
    before = [s if s is None else _now(s, new, pairs, gone, theirs) for s in ours.sources(i)]
    after = [s for s in theirs.sources(j) if s is None or new[s].kind != "conversion" or new[s].inputs]
    if len(before) != len(after) or before == after or old[i].inputs == new[j].inputs:
        return []
    said = []
    for place, (was, now) in enumerate(zip(before, after, strict=True)):
        if was != now:
            source = ours.sources(i)[place]
            names = ["the model's input" if s is None else side[s].name for s, side in ((now, new), (source, old))]
            said.append(f"reads {names[0]} instead of {names[1]}")
    return said


def _now(
    s: int, new: Sequence[GraphNode], pairs: Mapping[int, tuple[int, How]], gone: Mapping[int, int], theirs: Links
) -> int | None:
    """Where a node's work is done in the candidate, -1 where it is not."""
    if s in pairs:
        return pairs[s][0]
    return theirs.maker(new[gone[s]].outputs[0]) if s in gone and new[gone[s]].outputs else -1


def _dims(weight: NodeWeight) -> str:
    return " × ".join(map(str, weight.shape)) or "one value"


def _short(text: str | None) -> str:
    if text is None:
        return "—"
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def _list(kinds: Mapping[str, None]) -> str:
    return ", ".join(kinds)

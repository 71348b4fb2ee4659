"""Nodes that another one has taken in: their work is still done, in a node that has changed for it."""

from __future__ import annotations

from collections.abc import Sequence

from deploykit.loading._nodes import GraphNode
from deploykit.measuring.graphs.pairing import How, Links, layers_of, plain

#: Kinds of nodes that a product before them can take in.
_FOLDABLE = ("normalization", "activation", "arithmetic", "conversion")
#: Operators that pass on what they are given when a model is run.
_NOTHING = frozenset({"Dropout", "Identity", "SpatialDropout2D", "GaussianNoise", "ActivityRegularization"})


def fused(
    old: Sequence[GraphNode], new: Sequence[GraphNode], pairs: dict[int, tuple[int, How]], *, same_format: bool
) -> dict[int, int]:
    """Place of a node that stands alone → place of the node that does its work now.

    A name says so, or the place in the graph: what read the node reads the other one now, which has changed.

    Args:
        old: Nodes in the order in which they run.
        new: Those of the other graph.
        pairs: What `deploykit.measuring.graphs.pairing.pair` has found.
        same_format: Whether both are of one format.
    """
    named = {
        i: j for j, members in layers_of(old, new).items() for i in members if not same_format or ";" in new[j].name
    }
    made = {plain(name): j for j, node in reversed(list(enumerate(new))) for name in node.outputs}
    added = set(range(len(new))) - {j for j, _ in pairs.values()}
    ours = Links(old)
    theirs = Links(new, {j for j in added if new[j].kind == "conversion"})
    found: dict[int, int] = {}
    for i, node in enumerate(old):
        if i in pairs:
            continue
        into = named.get(i)
        if into is None and node.outputs and (place := made.get(plain(node.outputs[0]))) is not None:
            # Its output is there under the same name: a quantizer that clips it does what an activation did.
            into = place if place not in added or new[place].kind == "conversion" else None
        if into is None:
            into = _by_place(i, old, new, pairs, found, ours, theirs)
        if into is not None:
            found[i] = into
    return found


def _by_place(
    i: int,
    old: Sequence[GraphNode],
    new: Sequence[GraphNode],
    pairs: dict[int, tuple[int, How]],
    found: dict[int, int],
    ours: Links,
    theirs: Links,
) -> int | None:
    node = old[i]
    silent = node.operator in _NOTHING
    if not silent and node.kind not in _FOLDABLE:
        return _behind(i, old, new, pairs, ours) if node.operator == "Pad" else None
    makers = {place for place in ours.sources(i) if place is not None}
    if len(makers) != 1:
        return None
    before = makers.pop()
    into = pairs[before][0] if before in pairs else found.get(before)
    if into is None:
        return None
    root = next((k for k, (j, _) in pairs.items() if j == into), before)
    if not silent and not _absorbs(old[root], new[into]):
        return None
    expected = {pairs[reader][0] for reader in ours.readers(i) if reader in pairs}
    return into if expected <= set(theirs.readers(into)) else None


def _behind(
    i: int, old: Sequence[GraphNode], new: Sequence[GraphNode], pairs: dict[int, tuple[int, How]], ours: Links
) -> int | None:
    """The only reader, when it pads by itself now."""
    readers = ours.readers(i)
    if len(readers) != 1 or readers[0] not in pairs:
        return None
    into = pairs[readers[0]][0]
    changed = {k for k in ("pads", "auto_pad") if old[readers[0]].attributes.get(k) != new[into].attributes.get(k)}
    return into if changed else None


def _absorbs(old: GraphNode, new: GraphNode) -> bool:
    """Whether a node is not what it was: others may have gone into it."""
    return old.operator != new.operator or [w.digest for w in old.weights] != [w.digest for w in new.weights]

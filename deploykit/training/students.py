"""Students that are made of the original model: half of its channels, half of its blocks.

A student starts from the weights of what is kept: the channels with the largest norms, and the blocks whose absence
costs the outputs most. Training it towards the original is then a matter of a few epochs, where random weights would
need the whole training again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.surgery.channels.keras_axes import Traced as KerasTraced
from deploykit.surgery.channels.labels import kept, kept_count, magnitudes, ranked
from deploykit.surgery.channels.onnx_axes import Traced
from deploykit.surgery.layers.spans import Span, chosen

#: Layers keep a multiple of so many channels where they have them: kernels are fastest at that.
_MULTIPLE = 8
#: What is said of a model that cannot be made shallower.
NO_BLOCK = (
    "the model has no block that can be left out: none adds to its input, and no layer gives the shape that it takes"
)
NO_DEPTH = "leave depth at 1, and make the model narrower with width"


def narrowed(traced: Traced | KerasTraced, width: float) -> set[int]:
    """The components that a narrower model does without: in each group those whose weights have the smallest l2 norm.

    The architecture is that of `prune_channels` with ``ratio = 1 - width``.

    Args:
        traced: The model.
        width: Share of the channels of each layer to keep, more than 0.

    Raises:
        UnsupportedModelError: No channel can go.
    """
    groups = traced.groups()
    if not groups:
        found = "; ".join(f"{kind} ({', '.join(names[:3])})" for kind, names in sorted(traced.frozen.items()))
        raise UnsupportedModelError(
            f"No layer of the model can be made narrower{f': channels run into {found}' if found else ''}.",
            remedy="leave width at 1, or train a model of your own: existing_file, then distill.",
        )
    rankings = ranked(groups, magnitudes(traced.labels, traced.made, traced.constants, 2))
    gone = set[int]()
    for ranking in rankings:
        size = len(ranking.group.components)
        gone |= {c for c, _ in ranking.order[: size - kept_count(size, 1.0 - width, _MULTIPLE)]}
    if not gone:
        raise UnsupportedModelError(
            f"A width of {width:g} removes no channel of the model: each layer keeps a multiple of {_MULTIPLE}.",
            remedy="lower width.",
        )
    return gone


def channels(traced: Traced | KerasTraced, gone: set[int]) -> dict[str, list[int]]:
    """Channels before and after of each layer that loses some, for the notes."""
    found: dict[str, list[int]] = {}
    for producer, axis in traced.made:
        stays = kept(traced.labels, axis, gone)
        if not stays.all() and producer.layer not in found:
            found[producer.layer] = [len(stays), int(stays.sum())]
    return found


def blocks(found: Sequence[Span]) -> list[Span]:
    """The spans that lie in no other.

    Raises:
        UnsupportedModelError: There are none.
    """
    outer = chosen(sorted(found, key=lambda span: -len(span.nodes)), len(found))
    if not outer:
        raise UnsupportedModelError(f"{NO_BLOCK[0].upper()}{NO_BLOCK[1:]}.", remedy=f"{NO_DEPTH}.")
    return outer


def left_out(ordered: Sequence[tuple[Span, float]], depth: float) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Starts and ends of the blocks that a shallower model does without, one at least; and notes.

    Args:
        ordered: Blocks, what is missed least first.
        depth: Share of them to keep.
    """
    gone = [span for span, _ in ordered[: max(1, math.floor((1.0 - depth) * len(ordered) + 1e-9))]]
    notes = {"blocks": [len(ordered), len(ordered) - len(gone)], "cut": [span.name for span in gone]}
    return [(span.start, span.end) for span in gone], notes

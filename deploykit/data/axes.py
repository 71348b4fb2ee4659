"""Axes of one example: which reshapes keep values in their places, and the code that turns one shape into another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise, permutations
from operator import mul

#: Channels that an image can have: gray, gray with alpha, color, color with alpha.
CHANNELS = (1, 2, 3, 4)
#: More axes than this are not searched for an order that fits.
_MOST_AXES = 5

Shape = tuple[int, ...]
FreeShape = Sequence[int | None]


def channel_order(shape: FreeShape) -> str:
    """``"channels_last"`` or ``"channels_first"`` for the shape of an image, "" when it is neither or could be both."""
    if len(shape) != 3:
        return ""
    first, last = shape[0] in CHANNELS, shape[-1] in CHANNELS
    return "" if first == last else "channels_first" if first else "channels_last"


def channel_move(shape: FreeShape, wanted: FreeShape) -> Shape:
    """The order of axes that moves an image's channels from one end to the other so that ``wanted`` results, or ().

    Args:
        shape: Of one example.
        wanted: The shape it shall have; None is any size.
    """
    if len(shape) != 3 or len(wanted) != 3:
        return ()
    for order, channels in (((2, 0, 1), shape[2]), ((1, 2, 0), shape[0])):
        moved = [shape[i] for i in order]
        if channels in CHANNELS and channels != 1 and _same(moved, wanted) and not _same(shape, wanted):
            return order
    return ()


def crossing(shape: Shape, wanted: Shape) -> bool:
    """Whether a reshape of ``shape`` to ``wanted`` would put values of one axis onto another.

    Joining axes that stand side by side and splitting one of them does not; the sizes of two axes exchanged, or of
    axes that were exchanged and joined, does.
    """
    if _nearly(shape, wanted):
        return False
    old, new = _without_ones(shape), _without_ones(wanted)
    ends = sorted({*accumulate(old, mul), *accumulate(new, mul)})
    nested = all(b % a == 0 for a, b in pairwise(ends))
    return not nested or _exchanged(old, new) or _exchanged(new, old)


def reordering(shape: Shape, wanted: Shape) -> tuple[Shape, Shape] | None:
    """A reshape (``shape`` itself for none) and an order of axes that give ``wanted`` with values in their places."""
    if math.prod(shape) != math.prod(wanted) or len(wanted) > _MOST_AXES:
        return None
    for order in sorted(permutations(range(len(wanted))), key=_effort):
        # Examples of this shape become the wanted one in this order of their axes.
        between = tuple(wanted[order.index(i)] for i in range(len(wanted)))
        unchanged = order == tuple(range(len(order)))
        if between == shape or (not crossing(shape, between) if unchanged else _nearly(shape, between)):
            return between, order
    return None


def _nearly(shape: Shape, other: Shape) -> bool:
    """Whether one is the other with neighbors joined."""
    old, new = _without_ones(shape), _without_ones(other)
    return _joined(old, new) or _joined(new, old)


def remedy(wanted: FreeShape, given: FreeShape, present: Mapping[str, object] | None = None) -> str:
    """The line of code, and of the command line, that turns examples of one shape into those of another.

    Args:
        wanted: Shape of one example (without the batch) that the model takes; None is any size.
        given: Shape of one example that the data give.
        present: Settings of the preprocessing that gave it, which stay.

    Returns:
        What to write, for example ``preprocess=dk.Preprocess(layout="channels_first") (--layout channels_first)``; a
        sentence that names what is missing when no preprocessing does it. "" when the shapes agree.
    """
    found = settings_for(wanted, given)
    return found if isinstance(found, str) else _code(present, **found)


def settings_for(wanted: FreeShape, given: FreeShape) -> dict[str, object] | str:
    """The settings of ``dk.Preprocess`` that turn examples of one shape into those of another.

    Args:
        wanted: Shape of one example (without the batch) that the model takes; None is any size.
        given: Shape of one example that the data give.

    Returns:
        The settings by name; a sentence that names what is missing when no preprocessing does it, "" when the shapes
        agree.
    """
    if _same(given, wanted):
        return ""
    if move := channel_move(given, wanted):
        return {"layout": "channels_first" if move == (2, 0, 1) else "channels_last"}
    if len(given) == len(wanted) == 3 and (found := _image_settings(wanted, given)):
        return found
    if None not in given and None not in wanted:
        old, new = tuple(n for n in given if n), tuple(n for n in wanted if n)
        found_order = reordering(old, new)
        if found_order is not None:
            between, order = found_order
            settings: dict[str, object] = {}
            if between != old:
                settings["reshape"] = between
            if order != tuple(range(len(order))):
                settings["transpose"] = order
            return settings
    if sorted(map(str, given)) == sorted(map(str, wanted)) and len(given) <= _MOST_AXES:
        order = next(
            o for o in sorted(permutations(range(len(given))), key=_effort) if _same([given[i] for i in o], wanted)
        )
        return {"transpose": order}
    return "give examples of the shape that the model takes."


def _image_settings(wanted: FreeShape, given: FreeShape) -> dict[str, object] | str:
    """For images whose size, channels or both differ."""
    ours = channel_order(given)
    theirs = channel_order(wanted)
    if not ours or not theirs:
        return ""
    channels = given[0] if ours == "channels_first" else given[-1]
    needed = wanted[0] if theirs == "channels_first" else wanted[-1]
    if channels != needed and needed is not None:
        kind = {1: "gray images", 3: "color images (RGB)", 4: "color images with alpha"}.get(needed, "images")
        more = " (np.repeat(x, 3, axis=-1) makes color of gray)" if (channels, needed) == (1, 3) else ""
        return f"give {kind} with {needed} channel{'s' if needed > 1 else ''} instead of {channels}{more}."
    size = tuple(wanted[1:] if theirs == "channels_first" else wanted[:2])
    here = tuple(given[1:] if ours == "channels_first" else given[:2])
    settings: dict[str, object] = {}
    if not _same(here, size):
        if None in size:
            return ""
        settings["resize"] = size
    if ours != theirs:
        settings["layout"] = theirs
    return settings


def _code(present: Mapping[str, object] | None, **settings: object) -> str:
    words, flags = [], []
    before = present or {}
    # The new steps are for what the old ones give: only those that come earlier in the order of steps can stay.
    if before.keys() & {"layout", "transpose"} or ("reshape" in settings and "resize" in before):
        before = {}
    for name, value in {**before, **settings}.items():
        words.append(f'{name}="{value}"' if isinstance(value, str) else f"{name}={value}")
    for name, value in settings.items():
        listed = (
            value if isinstance(value, str) else ",".join(map(str, value if isinstance(value, tuple) else (value,)))
        )
        flags.append(f"--{name} {listed}")
    return f"preprocess=dk.Preprocess({', '.join(words)}) ({' '.join(flags)})"


def _same(shape: FreeShape, wanted: FreeShape) -> bool:
    return len(shape) == len(wanted) and all(w is None or w == s for s, w in zip(shape, wanted, strict=True))


def _without_ones(shape: Shape) -> Shape:
    return tuple(n for n in shape if n != 1)


def _joined(parts: Shape, whole: Shape) -> bool:
    """Whether joining neighbors among ``parts`` gives ``whole``."""
    return set(accumulate(whole, mul)) <= set(accumulate(parts, mul))


def _exchanged(parts: Shape, whole: Shape) -> bool:
    """Whether ``parts`` in another order can be joined to ``whole``."""
    if len(parts) > _MOST_AXES:
        return False
    return any(_joined(tuple(p), whole) for p in permutations(parts) if tuple(p) != parts)


def _effort(order: Shape) -> tuple[bool, bool, int]:
    """Sorts orders of axes: none first, then those that move one end, as channels are moved."""
    kept = tuple(range(len(order)))
    moved = order not in ((kept[-1], *kept[:-1]), (*kept[1:], 0))
    return order != kept, moved, sum(abs(i - n) for i, n in enumerate(order))

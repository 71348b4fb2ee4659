"""Names of layers: short ones for people, and which of several formats are one layer's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import takewhile


def shortened(names: Sequence[str]) -> list[str]:
    """Names without the folders that all names with folders begin with: they say nothing.

    Names stay as they are when two of them would become equal.
    """
    deep = [n.split("/")[:-1] for n in names if "/" in n]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*deep, strict=False)) if len(deep) > 1 else ()
    prefix = "".join(f"{parts[0]}/" for parts in shared)
    found = [n.removeprefix(prefix) for n in names]
    return found if len(set(found)) == len(set(names)) else list(names)


def same_layers(known: Sequence[Sequence[str]], names: Sequence[str]) -> list[int | None]:
    """Which layers the names of one file belong to, each layer at most once.

    Formats put folders before a layer's name and operators behind it; a model that was traced twice has ``_1`` behind
    all of its names: there ``conv2d_1`` is what the layer ``conv2d`` has become, and ``conv2d_1_2`` is ``conv2d_1``.
    Which of both it is only all names together tell: the reading that finds more layers is taken.

    Args:
        known: Names of each layer in other files.
        names: Names in this file, all different.

    Returns:
        For each name the place of its layer in ``known``, None when it is a layer of its own.
    """
    readings = [_read(known, names, found) for found in (_within, _counted)]
    return max(readings, key=lambda places: sum(p is not None for p in places))


def _read(known: Sequence[Sequence[str]], names: Sequence[str], found: Callable[[str, str], bool]) -> list[int | None]:
    equal = {name: place for place, several in reversed(list(enumerate(known))) for name in several}
    places: list[int | None] = [equal.get(name) for name in names]
    taken = set(places)
    for i, name in enumerate(names):
        if places[i] is None:
            free = (p for p, several in enumerate(known) if p not in taken and any(found(n, name) for n in several))
            places[i] = next(free, None)
            taken.add(places[i])
    return places


def _within(one: str, other: str) -> bool:
    """Whether a name is among the folders and the operator of another."""
    short, long = sorted((one, other), key=len)
    return bool(short) and f"/{short}/" in f"/{long.replace(':', '/')}/"


def _counted(one: str, other: str) -> bool:
    """Whether a name with a number behind it is."""
    short, long = sorted((one, other), key=len)
    return bool(short) and re.search(rf"/{re.escape(short)}_\d+/", f"/{long.replace(':', '/')}/") is not None

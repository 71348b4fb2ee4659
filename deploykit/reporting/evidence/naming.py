"""Names of layers for people: those of the user's model, not of what converters and runtimes have made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from deploykit.core.layers.names import own_layers
from deploykit.core.model import Layer
from deploykit.measuring.profile_match import Comparison


def shortened(names: Sequence[str]) -> list[str]:
    """Names without the folders that all names with folders begin with: they say nothing.

    Names stay as they are when two of them would become equal.
    """
    deep = [n.split("/")[:-1] for n in names if "/" in n]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*deep, strict=False)) if len(deep) > 1 else ()
    prefix = "".join(f"{parts[0]}/" for parts in shared)
    found = [n.removeprefix(prefix) for n in names]
    return found if len(set(found)) == len(set(names)) else list(names)


def users(layers: Sequence[Layer], names: Sequence[str]) -> list[str]:
    """What the user calls the layers that these names of another file stand for.

    A name that stands for none of them is shortened, and so are names that stand for one layer together.

    Args:
        layers: The layers of the original model.
        names: Names in the other file.
    """
    found = own_layers({x.name: x.parameters for x in layers}, names)
    counts = Counter(dict(zip(names, found, strict=True)).values())
    short = shortened(names)
    return [own if own and counts[own] == 1 else s for own, s in zip(found, short, strict=True)]


def named(comparison: Comparison, layers: Sequence[Layer]) -> Comparison:
    """A profile with the user's names of layers; nodes that stand for none keep their own."""
    found = own_layers({x.name: x.parameters for x in layers}, [x.name for x in comparison.layers])
    renamed = (replace(x, name=own or x.name) for x, own in zip(comparison.layers, found, strict=True))
    return replace(comparison, layers=tuple(renamed))

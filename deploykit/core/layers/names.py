"""Which names of layers in several files are one layer's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

#: Folders that a layer's own name may have.
_DEEP = 16


def same_layers(known: Sequence[Sequence[str]], names: Sequence[str]) -> list[int | None]:
    """Which layers the names of one file belong to, each layer at most once.

    Formats put folders before a layer's name and operators behind it; a model that was traced twice has ``_1`` behind
    all of its names: there ``conv2d_1`` is what the layer ``conv2d`` has become, and ``conv2d_1_2`` is ``conv2d_1``.
    Only all names together show which of both it is: the reading that finds more layers is taken.

    Args:
        known: Names of each layer in other files.
        names: Names in this file, all different.

    Returns:
        For each name the place of its layer in ``known``, None when it is a layer of its own.
    """
    return max(_readings(known, names), key=_found)


def traced_twice(known: Sequence[Sequence[str]], names: Sequence[str]) -> bool:
    """Whether `same_layers` takes the numbers behind names for those of tracing."""
    plain, counted = _readings(known, names)
    return _found(counted) > _found(plain)


def own_layers(own: Mapping[str, int], names: Sequence[str]) -> list[str | None]:
    """The layer of a model that each name of another file stands for; None where there is none.

    Several names may stand for one layer, as the operators do that it has become. A fused operator has the names of all
    that went into it: of its layers the last one with weights is taken.

    Args:
        own: Name of each layer of the model → its number of weights.
        names: Names in the other file.

    Example:
        >>> own_layers({"conv_1": 288, "relu_1": 0}, ["cnn/relu_1/Relu;cnn/conv_1/convolution", "Shape__52"])
        ['conv_1', None]
    """
    different = list(dict.fromkeys(names))
    counted = traced_twice([[name] for name in own], different)
    return [_own(own, name, counted=counted) for name in names]


def _own(own: Mapping[str, int], name: str, *, counted: bool) -> str | None:
    if name in own:
        return name
    for plain in (_uncounted, _plain) if counted else (_plain,):
        found = [(own[part] > 0, end, len(part), part) for part, end in _parts(name, plain) if part in own]
        if found:
            return max(found)[-1]
    return None


def _plain(part: str) -> str | None:
    return part


def _readings(known: Sequence[Sequence[str]], names: Sequence[str]) -> list[list[int | None]]:
    return [_read(known, names, plain) for plain in (_plain, _uncounted)]


def _found(places: Sequence[int | None]) -> int:
    return sum(place is not None for place in places)


def _read(known: Sequence[Sequence[str]], names: Sequence[str], plain: Callable[[str], str | None]) -> list[int | None]:
    own: dict[str, list[int]] = {}
    inside: dict[str, list[tuple[int, int]]] = {}
    for place, several in enumerate(known):
        for name in several:
            own.setdefault(name, []).append(place)
            for part, end in _parts(name, plain):
                inside.setdefault(part, []).append((end, place))
    places: list[int | None] = [own[name][0] if name in own else None for name in names]
    taken = set(places)
    for i, name in enumerate(names):
        if places[i] is None:
            ends = [(end, place) for part, end in _parts(name, plain) for place in own.get(part, ())]
            free = [(end, -place) for end, place in (*ends, *inside.get(name, ())) if place not in taken]
            if free:
                places[i] = -max(free)[1]  # a block has its name before those of its layers
                taken.add(places[i])
    return places


def _parts(name: str, plain: Callable[[str], str | None]) -> Iterator[tuple[str, int]]:
    """What a layer may be called of which this is the name in another file, and where that ends in it."""
    folders = re.split("[/:;]", name)
    for end in range(1, len(folders) + 1):
        last = plain(folders[end - 1])
        for begin in range(max(0, end - _DEEP), end if last else 0):
            yield "/".join([*folders[begin : end - 1], str(last)]), end


def _uncounted(part: str) -> str | None:
    """A name without the number behind it, None when it has none."""
    found = re.fullmatch(r"(.+)_\d+", part)
    return found[1] if found else None

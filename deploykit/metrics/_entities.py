"""Entities in sequences of tags such as B-PER, I-PER and O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: First letters of tags: begin, inside, end, single; outside has none.
PREFIXES = ("B-", "I-", "E-", "S-")
#: Tags without a kind of entity.
PLAIN = ("O", "B", "I", "E", "S")
#: What follows what within one entity.
_CONTINUES = {("B", "I"), ("B", "E"), ("I", "I"), ("I", "E")}


def are_tags(names: Sequence[str]) -> bool:
    """Whether class names are such tags."""
    return bool(names) and all(n in PLAIN or n.startswith(PREFIXES) for n in names) and any(n != "O" for n in names)


def kind_of(tag: str) -> str:
    """The kind of entity a tag belongs to, "_" for tags without one."""
    return tag[1:].split("-", maxsplit=1)[-1] or "_"


def entities(tags: Iterable[str]) -> set[tuple[str, int, int]]:
    """The entities of a sequence: kind, first and last place.

    As seqeval reads them by default, where an entity may begin with I: a change of kind ends one, whatever the prefix.
    """
    found = set()
    before, kind_before, first = "O", "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, kind = tag[0], kind_of(tag)
        if before != "O" and (kind != kind_before or (before, prefix) not in _CONTINUES):
            found.add((kind_before, first, place - 1))
            before = "O"
        if prefix != "O" and before == "O":
            first = place
        before, kind_before = prefix, kind
    return found

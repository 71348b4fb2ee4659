"""Finds the way from one format to another, and the shortest way in general."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

from deploykit.converters._contract import Converter
from deploykit.core.registry import Registry

State = TypeVar("State", bound=Hashable)
Edge = TypeVar("Edge")


def shortest(
    start: State, reached: Callable[[State], bool], edges: Callable[[State], Iterable[tuple[Edge, State]]]
) -> tuple[Edge, ...] | None:
    """The shortest chain of edges (breadth first).

    Args:
        start: Where to begin.
        reached: Whether a state will do.
        edges: The edges that leave a state, and where they lead; of equally short chains the first one wins.

    Returns:
        The edges in order, () when ``start`` will do, None when there is no way.
    """
    waiting: deque[tuple[State, tuple[Edge, ...]]] = deque([(start, ())])
    seen = {start}
    while waiting:
        here, chain = waiting.popleft()
        if reached(here):
            return chain
        for edge, following in edges(here):
            if following not in seen:
                seen.add(following)
                waiting.append((following, (*chain, edge)))
    return None


def route(source: str, goals: frozenset[str], converters: Registry[Converter]) -> tuple[Converter, ...] | None:
    """The shortest chain of converters from a format to one of several.

    Args:
        source: Format of the model.
        goals: Formats that will do.
        converters: Where the edges come from.

    Returns:
        The converters in order, () when ``source`` is a goal already, None when there is no way. Of several shortest
        chains it is the first by the converters' names.
    """
    known = sorted(converters.all(), key=lambda converter: converter.name)

    def edges(here: str) -> Iterator[tuple[Converter, str]]:
        return ((edge, edge.produces) for edge in known if edge.accepts == here)

    return shortest(source, goals.__contains__, edges)

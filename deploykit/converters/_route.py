"""Finds the way from one format to another."""

from __future__ import annotations

from collections import deque

from deploykit.converters._contract import Converter
from deploykit.core.registry import Registry


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
    edges = sorted(converters.all(), key=lambda converter: converter.name)
    waiting: deque[tuple[str, tuple[Converter, ...]]] = deque([(source, ())])
    seen = {source}
    while waiting:
        here, chain = waiting.popleft()
        if here in goals:
            return chain
        for edge in edges:
            if edge.accepts == here and edge.produces not in seen:
                seen.add(edge.produces)
                waiting.append((edge.produces, (*chain, edge)))
    return None

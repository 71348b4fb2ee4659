"""How inputs and outputs of a Keras model are called, and in which order: the same for all who ask.

Keras gives outputs the names of layers, one layer's two outputs the same name, and flattens dictionaries by the
alphabet. deploykit's names are the keys of dictionaries and otherwise the layers', each once, in the file's order.
Imports no Keras: what a structure holds are tensors for some and entries of a config for others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def named(structure: Any, is_leaf: Callable[[Any], bool], layer_of: Callable[[Any], str]) -> list[tuple[str, Any]]:
    """Names and leaves of a signature's structure, in order.

    Args:
        structure: One leaf, or lists and dictionaries of them, nested.
        is_leaf: Tells leaves from lists.
        layer_of: The name of the layer that makes a leaf; used where no dictionary gives a name.
    """
    found = list(_walk(structure, (), is_leaf))
    names = [
        "_".join(map(str, path)) if any(isinstance(p, str) for p in path) else layer_of(leaf) for path, leaf in found
    ]
    return list(zip(distinct(names), (leaf for _, leaf in found), strict=True))


def distinct(names: Iterable[str]) -> list[str]:
    """Names, each one once: what comes again gets a number."""
    given = list(names)
    taken: set[str] = set()
    found = []
    for number, name in enumerate(given):
        fresh, count = name, 0
        while fresh in taken or (count and fresh in given[number + 1 :]):
            count += 1
            fresh = f"{name}_{count}"
        taken.add(fresh)
        found.append(fresh)
    return found


def _walk(
    item: Any, path: tuple[str | int, ...], is_leaf: Callable[[Any], bool]
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if is_leaf(item):
        yield path, item
    elif isinstance(item, dict):
        for key, value in item.items():
            yield from _walk(value, (*path, str(key)), is_leaf)
    elif isinstance(item, list | tuple):
        for number, value in enumerate(item):
            yield from _walk(value, (*path, number), is_leaf)
    elif item is not None:
        raise ValueError(f"{type(item).__name__} stands where a tensor should")

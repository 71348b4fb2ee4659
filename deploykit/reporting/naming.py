"""Names of layers for people."""

from __future__ import annotations

from collections.abc import Sequence
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

"""How charts, legends and lists show the families of techniques: the one place that knows what rows store of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from deploykit.core.candidate import Recipe
from deploykit.transforms._contract import AND, ORIGINAL, PRUNE, QUANTIZE, TRANSFORMS, Family, Mark

_ORIGINAL_MARK: Final[Mark] = "circle"
_SEVERAL_MARK: Final[Mark] = "diamond"
_UNKNOWN_MARK: Final[Mark] = "cross"


def of_recipe(recipe: Recipe) -> str:
    """What a row stores: the families of its steps in their order, each once, or ``original`` without steps."""
    names = dict.fromkeys(TRANSFORMS.get(step.technique).family.name for step in recipe.steps)
    return AND.join(names) or ORIGINAL


class Families:
    """The families of the techniques that are installed now, deploykit's own first where two have one name."""

    def __init__(self) -> None:
        self._known: dict[str, Family] = {family.name: family for family in (QUANTIZE, PRUNE)}
        for technique in TRANSFORMS.all():
            self._known.setdefault(technique.family.name, technique.family)

    def mark(self, stored: str) -> Mark:
        """What the points of rows that store this name look like.

        Args:
            stored: ``original``, a family's name, or several joined by ``+``; a family may no longer be installed.
        """
        if stored == ORIGINAL:
            return _ORIGINAL_MARK
        if AND in stored:
            return _SEVERAL_MARK
        return self._known[stored].mark if stored in self._known else _UNKNOWN_MARK

    def listed(self, stored: Iterable[str]) -> dict[str, Mark]:
        """The marks of names that rows store, each once, in the order of legends.

        The original model comes first, then single families, several together, and those that are not installed.
        """
        return {name: self.mark(name) for name in sorted(set(stored), key=self._place)}

    def _place(self, stored: str) -> tuple[int, int, str]:
        if stored == ORIGINAL:
            return 0, 0, stored
        if AND in stored:
            return 2, len(stored.split(AND)), stored
        known = self._known.get(stored)
        return (1, known.order, stored) if known else (3, 0, stored)

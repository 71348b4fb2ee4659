"""How recipes name secret keys: by their places, and a digest that fits no other key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from deploykit.core.errors import SettingError
from deploykit.core.security.keys import Key, read_key
from deploykit.core.security.triggers import commitment

_WRITTEN = re.compile(r"(?P<place>[^#]+)#(?P<commitment>[0-9a-f]{64})")


@dataclass(frozen=True)
class KeyedPlace:
    """A key that a recipe names: written as ``env:NAME#0d32…``.

    Attributes:
        place: Where it was found.
        commitment: See `deploykit.core.security.triggers.commitment`.
    """

    place: str
    commitment: str

    def __str__(self) -> str:
        return f"{self.place}#{self.commitment}"

    @classmethod
    def of(cls, place: str) -> Self:
        """The key at a place, which is read.

        Raises:
            SettingError: There is none.
        """
        return cls(place, commitment(read_key(place)))

    @classmethod
    def read(cls, text: str) -> Self | None:
        """A key from how recipes write it; None for a place, whose key is not known yet."""
        found = _WRITTEN.fullmatch(text)
        return None if found is None else cls(found["place"], found["commitment"])

    def key(self) -> Key:
        """The key itself.

        Raises:
            SettingError: It is not at its place, or another one is.
        """
        found = read_key(self.place)
        if commitment(found) != self.commitment:
            raise SettingError(
                f"There is another key at {self.place} than the one that the recipe was written with.",
                remedy="put that key back, or name the place alone to take the key that is there now.",
            )
        return found

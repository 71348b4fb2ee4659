"""Rows of a sweep, in their order, decoded when they are first used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Self, overload

from deploykit.core.errors import StoreError
from deploykit.core.result import Result
from deploykit.storage.database import NO_TEXT

#: Rows that are read at once, as bytes. The first are read in the beginning: a report of fewer does not change when the
#: store does.
AT_ONCE = 1000
#: Bytes of rows by key, for some keys.
Read = Callable[[Sequence[str]], Mapping[str, bytes]]


class Rows(Sequence[Result]):
    """Rows by place and by key.

    A row takes kilobytes and a tenth of a millisecond to decode, its key next to nothing: a store of a hundred thousand
    opens as quickly as one of ten. Safe to be read by several threads.

    Args:
        keys: Of all rows, in their order.
        read: Reads rows from the store.
    """

    def __init__(self, keys: Iterable[str], read: Read) -> None:
        whole = tuple(keys)
        self._read = read
        self._packed: dict[str, bytes] = dict(read(whole[:AT_ONCE]))
        self._decoded: dict[str, Result] = {}
        self._damaged = {k: None for k in whole if NO_TEXT in k}
        self._damaged |= {k: None for k, packed in self._packed.items() if not _looks_sound(packed)}
        self.keys = tuple(k for k in whole if k not in self._damaged) if self._damaged else whole
        self._older: Rows | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, results: Iterable[Result]) -> Self:
        """Rows that are not in a store."""
        decoded = {row.key: row for row in results}
        found = cls(decoded, lambda _keys: {})
        found._decoded = decoded
        return found

    def with_newer(self, newer: Mapping[str, Result], keys: Sequence[str]) -> Rows:
        """Rows of which some have changed since, or are new; those that have not are decoded once for all.

        Args:
            newer: Rows by key.
            keys: Of all rows, in their order.
        """
        found = Rows(keys, lambda _keys: {})
        found._decoded = dict(newer)
        found._older = self
        found._damaged = {k: None for k in self._damaged if k not in newer}
        return found

    def only(self, keys: Collection[str]) -> Self:
        """Some of the rows, for a chart or a table that leaves the others out."""
        return type(self).of(row for row in self if row.key in keys)

    @property
    def damaged(self) -> tuple[str, ...]:
        """Keys of rows that cannot be read back, as far as rows were looked at. They are left out."""
        return tuple(self._damaged)

    def get(self, key: str) -> Result | None:
        """The row with this key, None when there is none, or it is damaged."""
        return self._row(place) if (place := self._places.get(key)) is not None else None

    @overload
    def __getitem__(self, place: int) -> Result: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Result, ...]: ...
    def __getitem__(self, place: int | slice) -> Result | tuple[Result, ...]:
        """A row, or a tuple of rows."""
        if isinstance(place, slice):
            wanted = (self._row(i) for i in range(*place.indices(len(self))))
            return tuple(row for row in wanted if row is not None)
        found = self._row(place)
        if found is None:
            raise StoreError(
                f"The row {self.keys[place]} of the store is damaged.",
                remedy="deploykit clean STORE --repair drops it; the next sweep redoes it.",
            )
        return found

    def __iter__(self) -> Iterator[Result]:
        """All rows in their order, without those that turn out to be damaged."""
        for place in range(len(self)):
            if (row := self._row(place)) is not None:
                yield row

    def _row(self, place: int) -> Result | None:
        """A row, None when it is damaged."""
        key = self.keys[place]
        found = self._decoded.get(key)
        if found is None and key not in self._damaged:
            with self._lock:  # what is decoded is forgotten as it was read
                found = self._decoded.get(key)
                if found is None and key not in self._damaged:
                    try:
                        found = self._decoded[key] = self._decode(place % len(self))
                    except (ValueError, TypeError):  # msgspec's own errors are ValueErrors as well
                        self._damaged[key] = None
        return found

    def __len__(self) -> int:
        """How many there are."""
        return len(self.keys)

    def __eq__(self, other: object) -> bool:
        """Whether the other one is a sequence of the same rows."""
        if not isinstance(other, Rows | tuple | list):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of any sequence that compares by what it holds

    def __repr__(self) -> str:
        """How many there are."""
        return f"Rows({len(self):,})"

    @cached_property
    def _places(self) -> dict[str, int]:
        return {key: place for place, key in enumerate(self.keys)}

    def _decode(self, place: int) -> Result:
        import msgspec

        key = self.keys[place]
        if self._older is not None and (older := self._older.get(key)) is not None:
            return older
        packed = self._packed.pop(key, None)
        if packed is None:
            start = place - place % AT_ONCE
            wanted = [k for k in self.keys[start : start + AT_ONCE] if k not in self._decoded]
            self._packed.update(self._read(wanted))
            packed = self._packed.pop(key, None)
        if packed is None:
            raise StoreError(f"The row {key} is no longer in the store.", remedy="reopen the report.")
        return msgspec.json.decode(packed, type=Result)


@cache
def _outline() -> Any:
    """What every row has: checked when a store is opened, a hundredth of the time it takes to decode a row."""
    import msgspec

    return msgspec.defstruct("Outline", [("key", str), ("candidate", msgspec.Raw), ("status", str)])


def _looks_sound(packed: bytes | str) -> bool:
    """Whether bytes may be a row's JSON."""
    import msgspec

    try:
        msgspec.json.decode(packed if isinstance(packed, str) else packed.decode(), type=_outline())
    except (ValueError, TypeError, AttributeError):
        return False
    return True

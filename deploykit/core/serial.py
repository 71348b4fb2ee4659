"""Plain-data round trip of the frozen dataclasses (msgspec does the work)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

from deploykit.core.errors import SettingError

T = TypeVar("T")
#: Key of a field's metadata: it is written only where its value differs from the default.
RARE = "rare"
_PLAIN = {str, int, float, bool, type(None)}


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and NumPy values as dicts, lists and numbers."""
    kind: Any = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, list | tuple):
        return [to_plain(v) for v in value]
    if kind is dict:  # before Mapping: asking for that takes as long as all the rest
        return {str(k): to_plain(v) for k, v in value.items()}
    # By the declared fields: msgspec looks into __dict__, where defaults are missing when msgspec made the object.
    if (fields := _fields(kind)) is not None:
        found = {name: to_plain(getattr(value, name)) for name in fields}
        for name, default in _rare(kind):
            if getattr(value, name) == default:
                del found[name]
        return found
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    return _encode(value)


@cache
def _fields(kind: type[Any]) -> tuple[str, ...] | None:
    """Names of a dataclass's fields, None for other types."""
    return tuple(f.name for f in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


@cache
def _rare(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Fields that are written only where they differ from their defaults: digests without them stay the same."""
    return tuple((f.name, f.default) for f in dataclasses.fields(kind) if f.metadata.get(RARE))


def from_plain(kind: type[T], data: Any) -> T:
    """Rebuild a dataclass from plain data.

    Raises:
        SettingError: A field is missing or has the wrong type; names it.
    """
    import msgspec

    try:
        return msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingError(f"Not a valid {kind.__name__}: {error}.", remedy="compare it with a saved one.") from error


def _encode(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a NumPy scalar
        return value.item()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


class Plain:
    """Adds ``to_json()`` and ``from_json()`` (plain data, not text) to a dataclass."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """This object as plain data."""
        data: dict[str, Any] = to_plain(self)
        return data

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Rebuild the object from plain data."""
        return from_plain(cls, data)


def dump(data: Any, *, indent: bool = False) -> bytes:
    """JSON text (UTF-8) of plain data or dataclasses; NaN and infinities become null."""
    import msgspec

    text = msgspec.json.encode(to_plain(data))
    return msgspec.json.format(text, indent=2) if indent else text


def parse(text: bytes | str) -> Any:
    """Plain data of a JSON text.

    Raises:
        ValueError: The text is not JSON.
    """
    import msgspec

    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error

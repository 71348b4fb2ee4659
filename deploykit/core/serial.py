"""Plain-data round trip of the frozen dataclasses (msgspec does the work)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, TypeVar

from deploykit.core.errors import SettingError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Dataclasses and NumPy scalars as dicts and numbers; tuples stay tuples, which JSON writes as lists."""
    import msgspec

    return msgspec.to_builtins(value, str_keys=True, enc_hook=_encode)


def from_plain(kind: type[T], data: Any) -> T:
    """Rebuild a dataclass from plain data.

    Raises:
        SettingError: A field is missing or has the wrong type; names it.
    """
    import msgspec

    try:
        return msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingError(f"not a valid {kind.__name__}: {error}.", remedy="compare it with a saved one.") from error


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

    text = msgspec.json.encode(data, enc_hook=_encode)
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

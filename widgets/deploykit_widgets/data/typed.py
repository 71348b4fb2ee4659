"""Preprocessing as typed into the fields of the Data panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deploykit.core.errors import SettingError, unknown_name
from deploykit.data.preprocess import Preprocess

#: The fields, named after their settings.
FIELDS = ("scale", "reshape", "layout", "mean", "std")


def preprocess_of(typed: Mapping[str, str], before: Preprocess | None = None) -> Preprocess:
    """The settings typed into the fields.

    Args:
        typed: Field → text.
        before: Provides the settings that have no field.

    Raises:
        SettingError: The text of a field cannot be used.
    """
    for name in typed:
        if name not in FIELDS:
            raise unknown_name("field", name, FIELDS)
    layout: Any = typed.get("layout", "").strip().replace(" ", "_") or None
    return replace(
        before or Preprocess(),
        scale=fraction(typed.get("scale", "")),
        reshape=shape(typed.get("reshape", "")),
        layout=layout,
        mean=numbers("mean", typed.get("mean", "")),
        std=numbers("std", typed.get("std", "")),
    )


def as_typed(preprocess: Preprocess | None) -> dict[str, str]:
    """The text of the fields for these settings."""
    step = preprocess or Preprocess()
    return {
        "scale": "" if step.scale == 1 else _fraction_words(step.scale),
        "reshape": _listed(step.reshape),
        "layout": step.layout or "",
        "mean": _listed(step.mean),
        "std": _listed(step.std),
    }


def fraction(words: str) -> float:
    """A typed scale: a number, or a fraction such as 1/255; empty means 1.

    Raises:
        SettingError: The text is neither.
    """
    if not words.strip():
        return 1.0
    try:
        return _number(words)
    except (ValueError, ZeroDivisionError):
        raise SettingError(f"scale must be a number or a fraction such as 1/255, got {words!r}.") from None


def numbers(name: str, words: str) -> float | tuple[float, ...] | None:
    """A number, or several separated by commas; empty means None.

    Raises:
        SettingError: The text is neither.
    """
    parts = [p for p in words.strip(" ()[]").split(",") if p.strip()]
    if not parts:
        return None
    try:
        found = tuple(map(_number, parts))
    except (ValueError, ZeroDivisionError):
        raise SettingError(f"{name} must be numbers separated by commas, got {words!r}.") from None
    return found if len(found) > 1 else found[0]


def shape(words: str) -> tuple[int, ...] | None:
    """A typed shape: whole numbers separated by commas; empty means None.

    Raises:
        SettingError: The text is not a shape.
    """
    if not words.strip():
        return None
    try:
        return tuple(int(p) for p in words.replace("×", ",").strip(" ()").split(",") if p.strip())
    except ValueError:
        raise SettingError(f"reshape must be whole numbers separated by commas, got {words!r}.") from None


def _number(words: str) -> float:
    above, slash, below = words.partition("/")
    return float(above) / float(below) if slash else float(above)


def _fraction_words(value: float) -> str:
    """As a person would type it: 1/255 and not 0.00392156862745098."""
    below = round(1 / value) if abs(value) > 1e-6 else 0
    return f"1/{below}" if below > 1 and 1 / below == value else repr(value)


def _listed(value: float | tuple[float, ...] | None) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

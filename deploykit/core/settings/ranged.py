"""Dataclasses whose fields are numbers within a range, declared once: for checks, help and flags."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any, Literal

from deploykit.core.parameter import Parameter


def ranged(default: float, help: str, minimum: float, maximum: float, unit: str = "") -> Any:  # noqa: A002
    """A field: its default, what it is for in one sentence, its range and its unit."""
    return field(default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum, "unit": unit})


def parameters_of(kind: type[Any]) -> tuple[Parameter, ...]:
    """The fields of such a dataclass as parameters."""
    return tuple(Parameter(f.name, _kind(f.type), vars(kind)[f.name], **f.metadata) for f in fields(kind))


def _kind(annotation: Any) -> Literal["int", "float"]:
    return "int" if annotation in (int, "int") else "float"

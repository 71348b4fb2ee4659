"""How files of models end, as their formats declare it."""

from __future__ import annotations

from typing import Any

from deploykit.core.registry import registry


def formats() -> list[Any]:
    """All formats of models."""
    return list(registry("deploykit.loading", "format").all())


def endings() -> tuple[str, ...]:
    """Endings of files that a model is given by."""
    return tuple(suffix for form in formats() for suffix in form.suffixes)


def usual_endings() -> str:
    """The usual ending of each format, in words; formats that are folders by their names."""
    files = sorted(form.suffixes[0] for form in formats() if form.suffixes)
    folders = [f"{form.label} folder" for form in formats() if form.is_folder]
    return ", ".join([" ".join(files), *folders])

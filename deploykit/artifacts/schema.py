"""Versions of the manifest, and how older ones are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploykit.core.errors import ExportError

SCHEMA = 7
#: Takes a manifest of one schema (plain data) to the next, by the schema it starts from. Manifests of a version from
#: which no step starts are refused: what inputs and outputs mean, which schema 2 says, is not in those of schema 1.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    2: lambda manifest: {**manifest, "parameters": {}},
    3: lambda manifest: {**manifest, "serving": None},
    4: lambda manifest: {**manifest, "editable": [], "license": ""},
    5: lambda manifest: {**manifest, "encryption": None},
    6: lambda manifest: {**manifest, "profile": ""},
}


def today(data: Any, file: Path) -> dict[str, Any]:
    """A manifest in today's schema."""
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, int) or schema > SCHEMA:
        raise ExportError(
            f"{file} has schema {schema!r}; this version reads schemas up to {SCHEMA}.", remedy="upgrade deploykit."
        )
    found: dict[str, Any] = data
    for number in range(schema, SCHEMA):
        if (step := MIGRATIONS.get(number)) is None:
            raise ExportError(
                f"{file} was written by an older version of deploykit ({found.get('version', 'unknown')}): it has "
                f"schema {schema}, this version uses {SCHEMA} and cannot bring it up to date.",
                remedy="export the candidate again, or use the version that wrote it.",
            )
        found = {**step(found), "schema": number + 1}
    return found

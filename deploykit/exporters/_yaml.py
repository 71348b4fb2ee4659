"""Writing YAML: the same content gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.core.extras import require


def write_yaml(path: Path, *documents: Mapping[str, Any]) -> None:
    """Write documents of plain data, keys in their order, as people write YAML."""
    path.write_text(yaml_text(*documents), encoding="utf-8")


def yaml_text(*documents: Mapping[str, Any]) -> str:
    """The text of documents of plain data."""
    yaml = require("yaml", "")

    class Dumper(yaml.SafeDumper):  # type: ignore[misc, name-defined]  # loaded where it is used
        """Indents lists below their key, and writes what is repeated again instead of referring to it."""

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
            return super().increase_indent(flow, False)

        def ignore_aliases(self, data: Any) -> bool:
            return True

    style = {"sort_keys": False, "allow_unicode": True, "width": 4096, "explicit_start": len(documents) > 1}
    text: str = yaml.dump_all(map(dict, documents), Dumper=Dumper, **style)
    return text

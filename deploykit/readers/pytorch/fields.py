"""What fields of a program's JSON say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from deploykit.core.serial import parse


def keys(module: Mapping[str, Any]) -> list[str]:
    """Keys of the dict that the module gives; none for anything else."""
    root = next((entry for entry in module.get("module_call_graph", ()) if entry["fqn"] == ""), None)
    signature = root and root.get("signature")
    if not signature:
        return []
    spec = parse(str(signature["out_spec"]).encode())[1]
    plain = spec["type"] in ("builtins.dict", "collections.OrderedDict")
    if not plain or any(child["type"] is not None for child in spec["children_spec"]):
        return []
    keys = parse(str(spec["context"]).encode())
    return list(keys) if all(isinstance(key, str) for key in keys) else []


def distinct(names: list[str]) -> list[str]:
    """Names, each once: a graph may give one tensor twice."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found


def whole(size: Mapping[str, Any]) -> int:
    """A size that is a number."""
    value = size["as_int"]
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def symbols(value: Mapping[str, Any]) -> list[str]:
    """What each dimension is called, "" for fixed ones."""
    found = []
    for size in value["sizes"]:
        text = str(size["as_expr"]["expr_str"]) if "as_expr" in size else ""
        named = re.match(r"Symbol\('(\w+)'", text)
        found.append(named[1] if named and text.count("(") == 1 else text)
    return found


def shape(value: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The dimensions of a tensor, None for free ones."""
    return tuple(None if "as_expr" in size else whole(size) for size in value["sizes"])

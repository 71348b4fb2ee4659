"""Changes to the config of a ``.keras`` file that TensorFlow or CPU runtimes need, before the model is loaded.

A layer called ``_stem``, say, loads and runs, but its variables cannot be written to a SavedModel: it gets another
name. A layer of mixed precision computes in float32, since CPU runtimes have no half-precision kernels. The file is
edited rather than the model copied: what a layer has learned beside its weights (statistics, vocabularies) is in the
file, and no config holds it. Weight files name layers by class and position, so that another name loses nothing.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploykit.loading.keras import CONFIG, read_config

#: What TensorFlow accepts as the first part of a variable's name.
_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
_MIXED = re.compile(r"(?:^|(?<=_from_))mixed_\w+$")


@dataclass
class Edits:
    """What was changed.

    Attributes:
        names: New name → the one in the file.
        mixed: Layers that compute in float32 now.
    """

    names: dict[str, str] = field(default_factory=dict)
    mixed: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.names or self.mixed)


def edit(source: Path, target: Path) -> Edits:
    """Write an edited copy of a ``.keras`` file to ``target`` when one is needed.

    Raises:
        ModelFileError: The file has no readable config.
    """
    config = read_config(source)
    parts = list(_parts(config))
    names = [str(part["config"]["name"]) for part in parts if "name" in part["config"]]
    taken = set(names)
    fresh = {old: _fresh(old, taken) for old in dict.fromkeys(names) if not _SCOPE.fullmatch(old)}
    edits = Edits({new: old for old, new in fresh.items()})
    for part in parts:
        if _widen(part["config"]):
            edits.mixed.append(str(part["config"].get("name", part["class_name"])))
    if not edits:
        return edits
    if fresh:
        for part in parts:
            _rename(part, fresh)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            data = json.dumps(config).encode() if member.filename == CONFIG else old.read(member)
            new.writestr(member.filename, data)
    return edits


def _parts(item: Any) -> Iterator[dict[str, Any]]:
    """Every object of a config that has a class and a config of its own, but for what belongs to training."""
    if isinstance(item, list):
        for value in item:
            yield from _parts(value)
    elif isinstance(item, dict):
        if isinstance(item.get("class_name"), str) and isinstance(item.get("config"), dict):
            yield item
        for key, value in item.items():
            if key != "compile_config":
                yield from _parts(value)


def _rename(part: dict[str, Any], fresh: dict[str, str]) -> None:
    config = part["config"]
    for place in (part, config):
        if place.get("name") in fresh:
            place["name"] = fresh[place["name"]]
    for key in ("keras_history", "input_layers", "output_layers"):
        if key in config:
            _rename_ends(config[key], fresh)


def _rename_ends(item: Any, fresh: dict[str, str]) -> None:
    """Change the names in ``[layer, call, number]``, and in lists and dictionaries of it."""
    if isinstance(item, list) and item and isinstance(item[0], str):
        item[0] = fresh.get(item[0], item[0])
    elif isinstance(item, list | dict):
        for value in item.values() if isinstance(item, dict) else item:
            _rename_ends(value, fresh)


def _widen(config: dict[str, Any]) -> bool:
    """Make the dtype policy of a layer float32 where it is a mixed one."""
    found = False
    policies = [config.get("dtype")]
    if isinstance(policies[0], str) and _MIXED.search(policies[0]):
        config["dtype"], found = _MIXED.sub("float32", policies[0]), True
    while policies:
        policy = policies.pop()
        if isinstance(policy, dict):
            for key in ("name", "source_name"):
                if isinstance(policy.get(key), str) and _MIXED.search(policy[key]):
                    policy[key], found = _MIXED.sub("float32", policy[key]), True
            policies += policy.values()
    return found


def _fresh(name: str, taken: set[str]) -> str:
    base = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    base = base if re.match(r"[A-Za-z0-9.]", base) else f"layer{base}"
    fresh, count = base, 1
    while fresh in taken:
        count += 1
        fresh = f"{base}_{count}"
    taken.add(fresh)
    return fresh

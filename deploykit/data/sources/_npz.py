"""``.npz`` files: which array is what."""

from __future__ import annotations

import contextlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deploykit.core.errors import DatasetError
from deploykit.data.reading import Found, Origin
from deploykit.data.sources._members import Members, members
from deploykit.data.sources._npz_arrays import Array, array_in, parted
from deploykit.data.sources._paths import shown

_CLASSES = ("classes", "class_names")
#: What numpy.savez calls arrays that were given without a name.
_UNNAMED = re.compile(r"arr_\d+")


@dataclass
class _Choice:
    """What is taken for what, by name in the file."""

    inputs: dict[str, str] = field(default_factory=dict)
    labels: str = ""
    test_inputs: dict[str, str] = field(default_factory=dict)
    test_labels: str = ""
    classes: str = ""
    spare: dict[str, str] = field(default_factory=dict)
    test_spare: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def used(self) -> set[str]:
        return {*self.inputs.values(), *self.test_inputs.values(), self.labels, self.test_labels, self.classes}


def read_npz(path: Path, x_key: str | Sequence[str] | None, y_key: str | None) -> Found:
    """What an ``.npz`` file holds, or a folder of ``.npy`` files.

    Args:
        path: The file or folder.
        x_key: Arrays of the examples, None to look for them.
        y_key: Array of the labels, "" for none, None to look for it.
    """
    try:
        with members(path) as file:
            arrays = parted([array_in(file, name) for name in file.names])
            keys = [k.strip() for k in x_key.split(",")] if isinstance(x_key, str) else x_key
            choice = _Chooser(path, arrays, keys, y_key).choice()
            found: dict[str, Any] = {"x": _loaded(file, choice.inputs)}
            if choice.labels:
                found["y"] = file.read(choice.labels)
            if choice.test_inputs:
                found["x_test"] = _loaded(file, choice.test_inputs)
            if choice.test_labels:
                found["y_test"] = file.read(choice.test_labels)
            if choice.classes:
                found["classes"] = [str(c) for c in file.read(choice.classes).tolist()]
            spare = [_readable(file, names) for names in (choice.spare, choice.test_spare)]
    except (ValueError, OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, MemoryError) as error:
        raise DatasetError(f"{path} cannot be read: {error}.", remedy="save plain arrays, not objects.") from error
    left = tuple(f"{a}: not an input and not labels" for a in arrays if a.name not in choice.used)
    origin = Origin(
        str(path),
        "npy" if path.is_dir() else "npz",
        {k: f"array {v}" for k, v in choice.inputs.items()},
        f"array {choice.labels}" if choice.labels else "",
        left,
        tuple(choice.notes),
    )
    return Found(found, replace(origin, spare=spare[0], test_spare=spare[1]))


def _readable(file: Members, names: dict[str, str]) -> dict[str, Any]:
    """Arrays that may be needed; those that cannot be read are not."""
    found = {}
    for key, name in names.items():
        with contextlib.suppress(ValueError):
            found[key] = file.read(name)
    return found


def _loaded(file: Members, names: dict[str, str]) -> Any:
    if list(names) == ["input"]:
        return file.read(names["input"])
    return {key: file.read(name) for key, name in names.items()}


class _Chooser:
    """Decides what is taken for what, or says what it cannot decide."""

    def __init__(self, path: Path, arrays: list[Array], x_keys: Sequence[str] | None, y_key: str | None) -> None:
        self._path = path
        self._arrays = arrays
        self._x_keys = x_keys
        self._y_key = y_key
        self._by_name = {a.name: a for a in arrays}
        self._classes = self._class_names()

    def choice(self) -> _Choice:
        """What is taken for what."""
        unnamed = [a for a in self._arrays if _UNNAMED.fullmatch(a.name)]
        if len(unnamed) > 1 and self._x_keys is None:
            raise self._unsure(unnamed, "the examples or the labels", "x_key= and y_key= (--x-key, --y-key)")
        main, held = self._parts()
        found = _Choice(classes=self._classes.name if self._classes else "")
        if self._y_key:
            self._require(self._y_key, main)
        inputs = self._inputs(main)
        labels = self._labels(main, inputs)
        found.inputs = self._named(self._same_length(inputs, labels))
        found.labels = labels.name if labels else ""
        if held:
            others = [a for a in self._of(held) if a.base in {i.base for i in inputs}]
            found.test_inputs = self._named(others)
            answers = self._labels(held, others)
            found.test_labels = answers.name if answers else ""
        if self._x_keys is None and list(found.inputs) == ["input"]:
            found.spare = self._spare(main, inputs, found.labels)
            found.test_spare = self._spare(held, others, found.test_labels) if held else {}
            if held and set(found.spare) != set(found.test_spare):
                found.spare = found.test_spare = {}
        if held == "val":
            found.notes.append(
                "the validation arrays are used as the held-out examples, since there are no test arrays."
            )
        return found

    def _spare(self, part: str, inputs: list[Array], labels: str) -> dict[str, str]:
        """Arrays that a model with more inputs than ``x`` could take, and ``x`` itself, by their own names."""
        count = next((a.length for a in inputs), None)
        same = [a for a in self._arrays if a.part == part and a.length == count and a.name != labels]
        found = {a.base: a.name for a in same if a is not self._classes}
        return found if len(found) > 1 else {}

    def _class_names(self) -> Array | None:
        for array in self._arrays:
            if array.base.lower() in _CLASSES and not array.part and (array.shape is None or len(array.shape) == 1):
                others = {a.length for a in self._arrays if a is not array and not a.is_label}
                if array.kind in "US" or array.length not in others:
                    return array
        return None

    def _of(self, part: str) -> list[Array]:
        """Arrays of a part that could be inputs."""
        return [
            a
            for a in self._arrays
            if a.part == part
            and a is not self._classes
            and a.name != self._y_key
            and (not a.is_label or self._y_key is not None or a.name in (self._x_keys or ()))
            and (a.shape is None or a.shape)
        ]

    def _parts(self) -> tuple[str, str]:
        """The part that trains (or all there is), and the held-out one."""
        if self._x_keys is not None and all(k in self._by_name for k in self._x_keys):
            return (self._by_name[self._x_keys[0]].part if self._x_keys else ""), ""
        there = {part for part in ("train", "", "test", "val") if self._of(part)}
        main = next((part for part in ("train", "", "test", "val") if part in there), "")
        if main in ("test", "val"):
            return main, ""
        bases = {a.base for a in self._of(main)}
        held = next((p for p in ("test", "val") if bases & {a.base for a in self._of(p)}), "")
        return main, held

    def _inputs(self, main: str) -> list[Array]:
        if self._x_keys is not None:
            return [self._require(key, main) for key in self._x_keys]
        candidates = self._of(main)
        exact = [a for a in candidates if a.base == "x"] or [a for a in candidates if a.base.lower() == "x"]
        found = exact[:1] or candidates
        if len(exact) > 1:
            raise self._unsure(exact, "the examples", "x_key= (--x-key)")
        if not found:
            raise self._missing("x")
        return found

    def _labels(self, part: str, inputs: list[Array]) -> Array | None:
        if self._y_key is not None:
            if not self._y_key:
                return None
            array = self._by_name.get(self._y_key)
            if array is not None and array.part != part and part in ("test", "val"):
                array = next((a for a in self._arrays if a.base == array.base and a.part == part), None)
            return array or self._require(self._y_key, part)
        taken = {a.name for a in inputs}
        candidates = [a for a in self._arrays if a.is_label and a is not self._classes and a.name not in taken]
        here = [a for a in candidates if a.part == part]
        count = next((a.length for a in inputs), None)
        found = [a for a in here if a.length in (None, count)] or here
        if not any(a.part for a in inputs):  # y_val beside x: whatever it is called, it has a label for each example
            found = found or [a for a in candidates if a.length == count]
        if len(found) > 1:
            raise self._unsure(found, "the labels", "y_key= (--y-key)")
        if found:
            return found[0]
        if candidates and not any(a.part for a in inputs):
            raise self._unsure(candidates, f"the labels, but not of {count} examples", "y_key= (--y-key)")
        rest = [a for a in self._of(part) if a.name not in taken and a.length == count and count]
        if rest and self._x_keys is None:
            raise self._unsure(
                rest,
                f"the labels of {shown(a.name for a in inputs)}",
                'y_key= (--y-key; "" for no labels), and inputs with x_key= (--x-key A,B)',
            )
        return None

    def _same_length(self, inputs: list[Array], labels: Array | None) -> list[Array]:
        """Without arrays that cannot be inputs, since they do not hold one item for each label."""
        if self._x_keys is not None or labels is None or labels.length is None or len(inputs) < 2:
            return inputs
        return [a for a in inputs if a.length in (None, labels.length)] or inputs

    def _named(self, arrays: list[Array]) -> dict[str, str]:
        if len(arrays) == 1 and (self._x_keys is not None or arrays[0].base.lower() == "x"):
            return {"input": arrays[0].name}
        return {a.base if self._x_keys is None else a.name: a.name for a in arrays}

    def _require(self, key: str, part: str) -> Array:
        """The array that a key names: by its name, or without its part."""
        array = self._by_name.get(key) or next((a for a in self._arrays if a.base == key and a.part == part), None)
        if array is None:
            raise self._missing(key)
        return array

    def _missing(self, name: str) -> DatasetError:
        return DatasetError(
            f"{self._path} has no array {name!r}; it has {', '.join(self._by_name) or 'none'}.",
            remedy="name the arrays with x_key= and y_key= (--x-key, --y-key).",
        )

    def _unsure(self, arrays: list[Array], what: str, keys: str) -> DatasetError:
        each = "each of them could be" if len(arrays) > 1 else "it could be"
        return DatasetError(
            f"{self._path} has {' and '.join(map(str, arrays))}: {each} {what}.", remedy=f"name them with {keys}."
        )

"""Arrays of an ``.npz`` file by the part of the data that they belong to."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from deploykit.data.sources._members import Members

_LABELS = {
    "y", "ys", "label", "labels", "target", "targets", "class", "class_id", "class_ids", "y_true", "ground_truth",
    "category", "categories",
}  # fmt: skip
_PARTS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val", "eval": "val", "dev": "val",
}  # fmt: skip
_ENDING = re.compile(rf"(?P<base>.+?)[_.\- ](?P<part>{'|'.join(_PARTS)})", re.IGNORECASE)
_BEGINNING = re.compile(rf"(?P<part>{'|'.join(_PARTS)})[_.\- ](?P<base>.+)", re.IGNORECASE)
_SHORT = re.compile(rf"(?P<base>[xy])(?P<part>{'|'.join(_PARTS)})", re.IGNORECASE)


@dataclass(frozen=True)
class Array:
    """An array of the file.

    Attributes:
        name: As the file names it.
        base: Name without the part of the data.
        part: "train", "test", "val", or "".
        shape: None when its header cannot be read.
        kind: Kind of its dtype, "" when its header cannot be read.
    """

    name: str
    base: str
    part: str
    shape: tuple[int, ...] | None
    kind: str

    @property
    def length(self) -> int | None:
        return self.shape[0] if self.shape else None

    @property
    def is_label(self) -> bool:
        return self.base.lower() in _LABELS

    def __str__(self) -> str:
        return f"array {self.name}" + (f" {self.shape}" if self.shape is not None else "")


def array_in(file: Members, name: str) -> Array:
    if name.lower() in _PARTS:
        return Array(name, "x", _PARTS[name.lower()], *file.header(name))
    match = _ENDING.fullmatch(name) or _BEGINNING.fullmatch(name) or _SHORT.fullmatch(name)
    base, part = (match["base"], _PARTS[match["part"].lower()]) if match else (name, "")
    return Array(name, base, part, *file.header(name))


def parted(arrays: list[Array]) -> list[Array]:
    """Arrays; one belongs to a part only if other arrays belong to it as well, otherwise its name is a coincidence."""
    answered = {a.part for a in arrays if a.is_label}
    parts: dict[str, set[str]] = {}
    for array in arrays:
        parts.setdefault(array.base, set()).add(array.part)
    return [
        a
        if a.is_label or a.base.lower() == "x" or a.part in answered or len(parts[a.base] - {""}) > 1
        else replace(a, base=a.name, part="")
        for a in arrays
    ]

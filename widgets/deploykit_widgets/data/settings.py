"""Settings that only one kind of data has, as typed into the fields of the Data panel."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.core.errors import SettingError, unknown_name
from deploykit.data.kinds import reader_of

#: Kinds of data by the constructor of `Dataset` that reads them.
KINDS = {
    "from_npz": "arrays", "from_csv": "a table", "from_text": "texts", "from_parquet": "a table",
    "from_huggingface": "a table", "from_image_folder": "images", "from_masks": "images with masks",
    "from_audio": "recordings", "from_video": "videos",
}  # fmt: skip
#: Endings of tables that may list files.
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
_LISTS = ("from_audio", "from_video")
_COLUMNS = ("from_csv", "from_text", "from_parquet", "from_huggingface", *_LISTS)
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Setting:
    """A field.

    Attributes:
        name: Argument of the constructor.
        label: What the screen calls it.
        help: What it is, in a sentence.
        example: Shown while it is empty.
        readers: The constructors that take it.
        read: Its value for a text that is not empty; gets the label, for messages.
        write: The text for a value.
        tables: Whether only tables have it, of what a constructor reads.
    """

    name: str
    label: str
    help: str
    example: str
    readers: tuple[str, ...]
    read: Callable[[str, str], Any]
    write: Callable[[Any], str] = str
    tables: bool = False


def _number(label: str, words: str) -> float:
    above, slash, below = words.partition("/")
    try:
        value = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not 0 < value < math.inf:
        raise SettingError(f"{label} must be a number above 0, such as 2 or 1/2, got {words!r}.")
    return value


def _whole(label: str, words: str) -> int:
    if not (words.isascii() and words.isdigit() and int(words)):
        raise SettingError(f"{label} must be a whole number from 1 on, such as 16000, got {words!r}.")
    return int(words)


def _one(label: str, words: str) -> str:
    del label
    return "" if words == '""' else words


def _several(label: str, words: str) -> list[str]:
    found = [word.strip() for word in next(csv.reader([words], skipinitialspace=True))]
    if not all(found):
        raise SettingError(f"{label} must be names separated by commas, got {words!r}.")
    if twice := next((name for name in found if found.count(name) > 1), ""):
        raise SettingError(f"{label} must name each one once, {twice!r} is there twice.")
    return found


def _text(label: str, words: str) -> str | list[str]:
    found = _several(label, words)
    if len(found) > 2:
        raise SettingError(f"{label} must be one column, or two of pairs of texts, got {len(found)}.")
    return found if len(found) == 2 else found[0]


def _colors(label: str, words: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for pair in filter(None, map(str.strip, words.split(","))):
        color, _, number = map(str.strip, pair.partition("="))
        if not _COLOR.fullmatch(color) or not (number.isascii() and number.isdigit()):
            raise SettingError(f"{label} must be #RRGGBB=NUMBER, separated by commas, got {pair!r}.")
        if color.lower() in found:
            raise SettingError(f"{label} must name each color once, {color!r} is there twice.")
        found[color.lower()] = int(number)
    if not found:
        raise SettingError(f"{label} must be #RRGGBB=NUMBER, separated by commas, got {words!r}.")
    return found


def _listed(value: str | Sequence[str]) -> str:
    names = [value] if isinstance(value, str) else value
    return ", ".join(
        '"' + n.replace('"', '""') + '"' if "," in n or n[:1] in ('"', " ") else n for n in names
    )  # fmt: skip


def _fraction(value: float) -> str:
    below = round(1 / value) if value > 1e-6 else 0
    return f"1/{below}" if below > 1 and 1 / below == value else f"{value:.15g}"


#: The fields in their order.
SETTINGS = {
    s.name: s
    for s in (
        Setting("file", "File column", "Column that names recordings or videos; empty: one called file, path or alike.",
                "file", ("from_csv", "from_text", *_LISTS), _one, tables=True),
        Setting("text", "Text column", "Column of the texts, or two of pairs of texts; empty: one called text, "
                "sentence or alike.", "text", tuple(r for r in _COLUMNS if r != "from_video"), _text, _listed,
                tables=True),
        Setting("label", "Label column", 'Column of the labels; empty: one called label, target, class or alike; "" '
                "for no labels.", "label", _COLUMNS, _one, lambda name: name or '""', tables=True),
        Setting("drop", "Leave out", "Columns that are not used, separated by commas, for example an identifier.",
                "id, name", ("from_csv", "from_parquet", "from_huggingface"), _several, _listed, tables=True),
        Setting("per_second", "Frames per second", "Frames taken of each second of a video; empty: 1.", "1",
                ("from_video",), _number, _fraction),
        Setting("rate", "Rate, Hz", "Samples per second of the recordings; empty: the rate that most files have.",
                "16000", ("from_audio",), _whole),
        Setting("colors", "Colors", "Class number that each color of the masks stands for; empty: the masks hold class "
                "numbers.", "#000000=0, #ff0000=1", ("from_masks",), _colors,
                lambda value: ", ".join(f"{color}={number}" for color, number in value.items())),
        Setting("classes", "Classes", "Names of the classes, separated by commas, in order of class number.",
                "cat, dog", tuple(KINDS), _several, _listed),
    )
}  # fmt: skip


def read_setting(name: str, typed: str) -> Any:
    """The value of a field, None for an empty one.

    Raises:
        SettingError: The text cannot be used; the message names the field as the screen does.
    """
    if name not in SETTINGS:
        raise unknown_name("field", name, SETTINGS)
    setting, words = SETTINGS[name], typed.strip()
    return setting.read(setting.label, words) if words else None


def as_typed(settings: Mapping[str, Any]) -> dict[str, str]:
    """The text of the fields for these settings."""
    return {name: SETTINGS[name].write(value) for name, value in settings.items() if name in SETTINGS}


def fields_of(path: str, file: str = "") -> tuple[str, list[Setting]]:
    """The kind of data at a path in words, and the fields that it has.

    Args:
        path: Of data; it need not exist.
        file: Column of a table that names files; "": one that is called so.
    """
    if not path:
        return "", []
    place = Path(path).expanduser()
    reader = reader_of(place, file or None)
    table = reader not in ("from_text", *_LISTS) or (place.suffix.lower() in _TABLES and not place.is_dir())
    may_list = place.suffix.lower() in _TABLES
    found = [
        s for s in SETTINGS.values()
        if reader in s.readers and (table or not s.tables) and (may_list or s.name != "file")
    ]  # fmt: skip
    return KINDS.get(reader, ""), found


def reading(path: str, typed: Mapping[str, str], before: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name of the constructor of `Dataset` that reads a path, and the settings for it.

    Args:
        path: Of the data.
        typed: Field → text. Fields that these data do not have are left out: a path can be loaded while the screen
            still shows the fields of another one.
        before: Provides the settings that are not in ``typed``.

    Raises:
        SettingError: A text cannot be used, or settings contradict each other.
    """
    given = {**before, **{name: read_setting(name, text) for name, text in typed.items()}}
    file = given.get("file")
    names = {s.name for s in fields_of(path, file or "")[1]}
    found = {name: given[name] for name in SETTINGS if name in names and given.get(name) is not None}
    reader = reader_of(Path(path).expanduser(), file)
    if reader in _LISTS and isinstance(found.get("text"), list):
        raise SettingError("Text column must be one column for recordings, got two.")
    if reader == "from_csv" and "text" in found:
        if "drop" in found:
            raise SettingError("Leave out applies to tables of numbers.", remedy="with a Text column, leave it empty.")
        reader = "from_text"
    if reader not in _LISTS:
        found.pop("file", None)
    return reader, found

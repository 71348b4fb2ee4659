"""Texts in memory, in files with a text or an object a line, in CSV files, and in folders by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit.core.errors import DatasetError
from deploykit.core.serial import parse
from deploykit.data.reading import Found
from deploykit.data.sources._csv import read_cells
from deploykit.data.sources._paths import present, shown
from deploykit.data.sources._tables import Column, Rows, Table, found_in, texts_of

_TRAIN, _TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")
#: Most bytes of a text file in a folder.
_MOST_BYTES = 64 << 20
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_LINES = (".jsonl", ".ndjson", ".json")


def read_texts(
    texts: Any, labels: Any, x_test: Any, y_test: Any, text: str | Sequence[str] | None, label: str | None,
    classes: Sequence[str],
) -> Found:  # fmt: skip
    """Texts and labels; see `Dataset.from_text`."""
    parts: dict[str, Rows] = {}
    source, kind = "", "arrays"
    for key, given, y in (("x", texts, labels), ("x_test", x_test, y_test)):
        if given is None:
            continue
        if not isinstance(given, str | Path):
            parts[key] = _of_lists(given, y, key, classes)
        else:
            path = Path(given)
            found = _of_path(path, text, label, classes)
            source, kind = (str(path), "text") if key == "x" else (source, kind)
            parts |= found if key == "x" else {key: found["x"]}
            if y is not None:
                parts[key] = _with_labels(parts[key], y, path)
        if parts[key].classes:
            classes = parts[key].classes
    return found_in(parts, source, kind)


def _of_lists(texts: Any, labels: Any, name: str, classes: Sequence[str]) -> Rows:
    """Texts in memory: strings, pairs of them, or lists of words."""
    values = texts.tolist() if hasattr(texts, "tolist") else list(texts)
    tags = labels.tolist() if hasattr(labels, "tolist") else None if labels is None else list(labels)
    if tags is not None and len(tags) != len(values):
        raise DatasetError(
            f"{name} has {len(values)} texts and {len(tags)} labels.", remedy="give one label for each text."
        )
    odd = next((v for v in values if v is not None and not isinstance(v, str | bytes | list | tuple)), None)
    if odd is not None:
        raise DatasetError(f"{name} holds {type(odd).__name__} objects, not text.", remedy="give strings.")
    values = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
    whole = next((v for v in values if v is not None), "")
    columns: dict[str, Column] = {}
    if isinstance(whole, str):
        columns["text"] = Column(values, "text")
    elif tags is not None and any(isinstance(t, list | tuple) for t in tags):
        columns["text"] = Column(values, "words")
    elif all(v is None or len(v) == 2 for v in values):
        columns |= {f"text {i + 1}": Column([None if v is None else v[i] for v in values], "text") for i in (0, 1)}
    else:
        columns["text"] = Column(values, "words")
    named = list(columns)
    if tags is not None:
        several = any(isinstance(t, list | tuple) for t in tags)
        columns["label"] = Column(tags, "words" if several else "text")
    table = Table("the texts" if name == "x" else name, "arrays", columns, "text", 0)
    return texts_of(table, named, "label" if tags is not None else "", classes)


def _with_labels(rows: Rows, labels: Any, path: Path) -> Rows:
    if rows.left_out and any("empty text" in words for words in rows.left_out):
        raise DatasetError(
            f"{path} has {rows.left_out[0]}, so labels that are given apart would be moved.",
            remedy="drop the empty lines and their labels.",
        )
    return Rows(rows.x, labels, rows.classes, rows.inputs, "", rows.left_out, ())


def _of_path(
    path: Path, text: str | Sequence[str] | None, label: str | None, classes: Sequence[str]
) -> dict[str, Rows]:
    if path.is_dir():
        return _of_folder(path, classes)
    present(path)
    if path.suffix.lower() in (*_SEPARATORS, *_LINES):
        return {"x": texts_of(table_of(path), text, label, classes)}
    table = Table(str(path), "text", {"text": Column(_decoded(path).splitlines(), "text")}, "line")
    return {"x": texts_of(table, "text", "", classes)}


def table_of(path: Path) -> Table:
    """The columns of a ``.csv`` or ``.tsv`` file with a header, or of a ``.jsonl`` file.

    Raises:
        DatasetError: It is missing, or is not such a file.
    """
    present(path)
    if path.suffix.lower() in _LINES:
        return _objects(path)
    header, _, cells = read_cells(path, _SEPARATORS.get(path.suffix.lower(), ","))
    return Table(str(path), "text", {n: Column([row[i] for row in cells], "text") for i, n in enumerate(header)})


def _decoded(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text: {error.reason}.", remedy="save it as UTF-8.") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.", remedy="check its permissions.") from error


def _objects(path: Path) -> Table:
    """A JSON object a line, or a list of them."""
    content = _decoded(path)
    try:
        if content.lstrip().startswith("["):
            rows = parse(content)
        else:
            rows = []
            for number, line in enumerate(content.splitlines(), 1):
                if line.strip():
                    rows.append(parse(line))
                    if not isinstance(rows[-1], dict):
                        raise ValueError(f"line {number} is not an object")
    except ValueError as error:
        raise DatasetError(
            f"{path} does not hold a JSON object a line: {error}.", remedy='write {"text": …, "label": …} in each line.'
        ) from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DatasetError(f"{path} holds no JSON objects.", remedy='write {"text": …, "label": …} in each line.')
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        columns[name] = Column(values, kind_of(values))
    return Table(str(path), "text", columns, "line")


def kind_of(values: Sequence[Any]) -> str:
    """What the values of a column are; see `Column`."""
    there = [v for v in values if v is not None]
    if all(isinstance(v, str) for v in there):
        return "text"
    if all(isinstance(v, int | float) for v in there):
        return "number"
    if all(isinstance(v, list) for v in there):
        inner = [w for v in there for w in v]
        if all(isinstance(w, str) for w in inner):
            return "words"
        if all(isinstance(w, int | float) for w in inner):
            return "numbers"
        return "list of lists or objects"
    return "object" if any(isinstance(v, dict) for v in there) else "values of several kinds"


def _of_folder(path: Path, classes: Sequence[str]) -> dict[str, Rows]:
    """A folder of ``.txt`` files for each class; those of ``train`` and ``test`` apart if there are such folders."""
    present(path, folder=True)
    inner = {f.name.lower(): f for f in sorted(path.iterdir()) if f.is_dir()}
    train = next((inner[n] for n in _TRAIN if n in inner), None)
    test = next((inner[n] for n in _TEST if n in inner), None)
    apart = {"x": path} if train is None or test is None else {"x": train, "x_test": test}
    names = list(classes)
    if not names:
        names = [f.name for f in sorted(apart["x"].iterdir()) if f.is_dir() and any(f.glob("*.txt"))]
    if not names:
        raise DatasetError(
            f"{path} has no folders with .txt files.", remedy="put the texts of each class in a folder of their own."
        )
    return {key: _of_classes(folder, names) for key, folder in apart.items()}


def _of_classes(folder: Path, names: Sequence[str]) -> Rows:
    texts: list[str] = []
    labels: list[str] = []
    for name in names:
        files = sorted((folder / name).glob("*.txt"))
        root = folder.resolve()
        for file in files:
            if not file.is_file() or not file.resolve().is_relative_to(root):
                raise DatasetError(f"{file} is not a file of this folder.", remedy="copy the real file.")
            if file.stat().st_size > _MOST_BYTES:
                raise DatasetError(f"{file} has more than {_MOST_BYTES:,} bytes.", remedy="split it.")
            texts.append(_decoded(file))
            labels.append(name)
        if not files:
            raise DatasetError(
                f"{folder} has no .txt files of the class {name!r}.", remedy=f"the classes are {shown(names)}."
            )
    columns = {"text": Column(texts, "text"), "label": Column(labels, "text")}
    rows = texts_of(Table(str(folder), "text", columns, "file"), "text", "label", names)
    return Rows(rows.x, rows.y, tuple(names), "files", "folders", rows.left_out, rows.notes)

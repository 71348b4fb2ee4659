"""Tables that list files, with a class or a text for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from deploykit.core.errors import DatasetError
from deploykit.data.kinds import FILE_COLUMNS
from deploykit.data.sources._paths import shown
from deploykit.data.sources._tables import Table
from deploykit.data.sources._text_files import table_of

#: What columns of classes, and of what is said in a recording, are usually called.
_CLASSES = ("label", "class", "target", "category")
_TEXTS = ("sentence", "text", "transcript", "transcription", "normalized_text")
#: Files that are looked for in the folders beside a table.
_PROBED = 100


@dataclass(frozen=True)
class Columns:
    """Columns of a table as the user names them; None: looked for by their usual names.

    Attributes:
        file: Of the files.
        label: Of the classes, "" for none.
        text: Of the texts.
    """

    file: str | None = None
    label: str | None = None
    text: str | None = None


@dataclass
class Listing:
    """Files that are there.

    Attributes:
        files: The files.
        labels: One per file, empty when there are none.
        texts: Whether labels are texts rather than names of classes.
        of: What was taken for the labels, in words.
        left_out: What is not used, in words.
        notes: What may surprise, in sentences.
    """

    files: list[Path]
    labels: list[str]
    texts: bool
    of: str
    left_out: list[str]
    notes: list[str]


def listed(path: Path, columns: Columns, endings: Sequence[str], *, texts: bool = False) -> Listing:
    """The files that a table lists, by their places relative to it or to one of the folders beside it.

    Args:
        path: A ``.csv``, ``.tsv`` or ``.jsonl`` file.
        columns: Its columns.
        endings: Those of the files.
        texts: Whether texts are looked for, where no column of labels is named.

    Raises:
        DatasetError: A column is missing, several could hold the labels, a class is empty, or no file is there.
    """
    table = table_of(path)
    named = _file_column(table, columns.file, endings)
    label, of_texts = _label_column(table, columns, texts=texts)
    cells = [None if cell is None else str(cell).strip() for cell in table.column(named, "file").values]
    labels = [None] * len(cells) if not label else table.column(label, "text" if of_texts else "label").values
    root = _root(path.parent, [cell for cell in cells if cell])
    found = Listing([], [], of_texts, f"column {label}" if label else "", [], [])
    missing, empty = [], []
    for row, (cell, value) in enumerate(zip(cells, labels, strict=True), table.first):
        words = "" if value is None else " ".join(value) if isinstance(value, list) else str(value).strip()
        if not cell or not (root / cell).is_file():
            missing.append(cell or f"{table.row} {row}")
        elif label and not words and not of_texts:
            raise DatasetError(f"{path}, {table.row} {row}: the label is empty.", remedy="fill it, or drop the row.")
        elif label and not words:
            empty.append(cell)
        else:
            found.files.append(root / cell)
            found.labels += [words] if label else []
    if not found.files and empty:
        raise DatasetError(f"{path}: all {len(empty):,} texts are empty.", remedy="correct text= (--text).")
    if not found.files:
        raise DatasetError(
            f"None of the {len(missing):,} files that {path} lists is there: {shown(missing, 3)}.",
            remedy=f"give their places relative to {path.parent}, or put them in a folder beside the table.",
        )
    if missing:
        found.left_out.append(f"{len(missing):,} files that are listed and not there: {shown(missing)}")
    if empty:
        found.left_out.append(f"{len(empty):,} files whose text is empty: {shown(empty)}")
    if root != path.parent:
        found.notes.append(f"the files that {path.name} lists are those in the folder {root.name}.")
    return found


def _file_column(table: Table, name: str | None, endings: Sequence[str]) -> str:
    if name is not None:
        table.column(name, "file")
        return name
    lower = {column.strip().lower(): column for column in table.columns}
    usual = [lower[column] for column in FILE_COLUMNS if column in lower]
    for column in usual:
        if any(str(cell).strip().lower().endswith(tuple(endings)) for cell in table.columns[column].values):
            return column
    if usual:
        return usual[0]
    raise DatasetError(
        f"{table.source} has the columns {shown(table.columns, 20) or 'none'}, expected file and label, or alike.",
        remedy=f"name the column of files with file= (--file), or call it {', '.join(FILE_COLUMNS[:-1])} or "
        f"{FILE_COLUMNS[-1]}.",
    )


def _label_column(table: Table, columns: Columns, *, texts: bool) -> tuple[str, bool]:
    """The column of labels, "" for none, and whether it holds texts."""
    if columns.text is not None and columns.label:
        raise DatasetError(
            f"Two columns are named: label= {columns.label!r}, and text={columns.text!r}.",
            remedy="give label= for classes, or text= for what is said.",
        )
    if columns.text is not None:
        table.column(columns.text, "text")
        return columns.text, True
    if columns.label is not None:
        if columns.label:
            table.column(columns.label, "label")
        return columns.label, False
    lower = {column.strip().lower(): column for column in table.columns}
    classes = [lower[column] for column in _CLASSES if column in lower]
    spoken = [lower[column] for column in _TEXTS if column in lower] if texts else []
    if classes and spoken:
        raise DatasetError(
            f"{table.source} has the columns {classes[0]!r} and {spoken[0]!r}: either could be the labels.",
            remedy="name the classes with label= (--label), or what is said with text= (--text).",
        )
    if not classes and not spoken:
        raise DatasetError(
            f"{table.source} has the columns {shown(table.columns, 20)}, expected one of labels, such as "
            f"{' or '.join((_CLASSES[0], *_TEXTS[:2]) if texts else _CLASSES[:2])}.",
            remedy=f'name it with label= (--label){" or text= (--text)" if texts else ""}, or give label="" for files '
            "without labels.",
        )
    return (classes[0], False) if classes else (spoken[0], True)


def _root(folder: Path, cells: Sequence[str]) -> Path:
    """The folder that files are relative to: that of the table, or the one beside it that holds them."""
    probed = cells[:_PROBED]
    beside = islice((p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")), _PROBED)
    return next((root for root in (folder, *beside) if any((root / cell).is_file() for cell in probed)), folder)

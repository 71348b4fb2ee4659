"""CSV files with a header: one example a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.mapped import blocks
from deploykit.data.kinds import is_number
from deploykit.data.reading import Found, OnRead, Origin
from deploykit.data.sources._csv_table import Table, rows_of
from deploykit.data.sources._paths import present, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Columns that hold labels when no column is named: the first group with one in the file.
_LABEL_COLUMNS = (("label", "labels", "target", "class"), ("y",))
#: Separators that other programs write.
_OTHER = {";": "semicolons", "\t": "tabs", "|": "bars"}
_ROW_NUMBERS = ("", "unnamed: 0")


def read_csv(
    path: Path,
    label: str | None,
    drop: Sequence[str] = (),
    classes: Sequence[str] = (),
    progress: OnRead | None = None,
) -> Found:
    """What a CSV file with a header holds.

    Args:
        path: The file.
        label: Column of the labels, None to look for one.
        drop: Columns that are not used.
        classes: Class names; labels that are such names stay text.
        progress: Called with the bytes that are read.
    """
    with _readable(path):
        table, left_out = _read(path, label, drop, progress)
    x = table.features()
    found: dict[str, Any] = {"x": x}
    names, notes = table.names, _remarks(x, table.names)
    if table.label:
        found["y"] = table.labels(classes)
    elif label is None:
        notes.append("no column is called label, target, class or y: there are no labels (label= names one).")
    of = f"{len(names)} column{'s' if len(names) != 1 else ''} ({shown(names, 6)})"
    labels = f"column {table.label}" if table.label else ""
    return Found(found, Origin(str(path), "csv", {"input": of}, labels, tuple(left_out), tuple(notes)))


def read_cells(path: Path, separator: str = ",") -> tuple[list[str], list[int], list[list[str]]]:
    """Names of the columns, and line numbers and cells of the rows, of a CSV file of texts.

    Args:
        path: The file.
        separator: Between columns.
    """
    with _readable(path):
        try:
            header, lines, cells = _cells(path, separator, strict=separator != ",")
        except (DatasetError, csv.Error):
            if separator == ",":
                raise
            # Corpora such as Common Voice do not quote: a quotation mark is one, and may stand alone.
            header, lines, cells = _cells(path, separator, quoting=csv.QUOTE_NONE)
    if not cells:
        raise DatasetError(f"{path} is empty: it has no rows below its header.")
    return header, lines, cells


def _cells(path: Path, separator: str, **form: Any) -> tuple[list[str], list[int], list[list[str]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, delimiter=separator, **form)
        header = [h.strip() for h in next(rows, [])]
        _check_header(path, header)
        return header, *rows_of(path, rows, header)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What cannot be read as CSV is said in one error."""
    present(path)
    if kind := _binary(path):
        raise DatasetError(f"{path} is not a CSV file: it is {kind}.", remedy="unpack it, or save it as CSV.")
    try:
        yield
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path} is not a CSV file: it is not utf-8 text ({_encoding(path)}).", remedy="save it as UTF-8 text."
        ) from error
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path} is not a CSV file: {error}.", remedy="save it as UTF-8 text.") from error


def _read(
    path: Path, label: str | None, drop: Sequence[str], progress: OnRead | None, *, numbered: bool = True
) -> tuple[Table, list[str]]:
    """All rows of a file, and what of it is left out; ``numbered``: whether the first column may number the rows."""
    with path.open("rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        header = [h.strip() for h in next(rows, [])]
        _check_header(path, header)
        dropped = _dropped(path, header, drop)
        target = _label_column(path, header, label, dropped)
        left_out = [f"column {header[i]}: named in drop=" for i in sorted(dropped)]
        counting = numbered and 0 not in dropped and target != 0 and header[:1] and header[0].lower() in _ROW_NUMBERS
        if counting:
            dropped = {*dropped, 0}
            left_out.append("the first column: it has no name and holds the row numbers")
        unnamed = [i + 1 for i, h in enumerate(header) if not h and i not in dropped]
        table = Table(path, header, target, dropped, counting=bool(counting))
        size = path.stat().st_size
        count = 0
        for count in table.read(rows):  # noqa: B007  the last one is needed below
            if progress is not None:
                progress(min(raw.tell(), size), size, "bytes")
            if counting and not table.counting:
                return _read(path, label, drop, progress, numbered=False)
    if not count:
        raise DatasetError(f"{path} is empty: it has no rows below its header.")
    if unnamed:
        raise DatasetError(f"{path}: column {unnamed[0]} has no name.", remedy="name every column in the first line.")
    if not table.names:
        raise DatasetError(f"{path} has no column beside its labels.", remedy="add the features, one column for each.")
    return table, left_out


def _remarks(x: NDArray[Any], names: list[str]) -> list[str]:
    """Columns that look like numbers of rows: they are features unless they are left out."""
    import numpy as np

    found = []
    for i, name in enumerate(names):
        if name.lower() not in ("id", "index", "idx", "row", "row_id", "uid"):
            continue
        column = np.concatenate([block[:, i] for _, block in blocks(x)])
        if len(np.unique(column)) == len(x) > 1:
            found.append(
                f"column {name} has a different number in every row and is used as a feature; drop it with "
                f"drop=[{name!r}] (--drop {name}) if it only counts rows."
            )
    return found


def _check_header(path: Path, header: list[str]) -> None:
    if header and header[0].startswith("#"):
        raise DatasetError(
            f"{path} begins with a comment ({shown(header)}), expected the names of the columns.",
            remedy="remove the lines above the names of the columns, and a # before them.",
        )
    if len(header) == 1:
        for mark, name in _OTHER.items():
            if mark in header[0]:
                raise DatasetError(
                    f"{path} has its columns separated by {name}, expected commas.",
                    remedy=f"write it again: pandas.read_csv(path, sep={mark!r}).to_csv(path, index=False) (with "
                    "decimal=',' if numbers have decimal commas).",
                )
    if header and all(map(is_number, header)):
        raise DatasetError(
            f"{path} has no header: its first line is numbers ({shown(header)}).",
            remedy="write the column names in the first line.",
        )
    if twice := sorted({h for h in header if h and header.count(h) > 1}):
        raise DatasetError(f"{path} has two columns called {twice[0]!r}.", remedy="give every column a different name.")


def _dropped(path: Path, header: list[str], drop: Sequence[str]) -> set[int]:
    names = [drop] if isinstance(drop, str) else list(drop)
    if unknown := [n for n in names if n not in header]:
        raise DatasetError(
            f"{path} has no column {unknown[0]!r}; it has {', '.join(header) or 'none'}.",
            remedy="correct drop= (--drop).",
        )
    return {header.index(n) for n in names}


def _label_column(path: Path, header: list[str], label: str | None, dropped: set[int]) -> int | None:
    if label is not None:
        same = [h for h in header if h == label] or [h for h in header if h.lower() == label.lower()]
        if len(same) != 1:
            raise DatasetError(
                f"{path} has no column {label!r}; it has {', '.join(header) or 'none'}.",
                remedy="name the label column with label= (--label).",
            )
        return header.index(same[0])
    for group in _LABEL_COLUMNS:
        found = [i for i, h in enumerate(header) if h.lower() in group and i not in dropped]
        if len(found) > 1:
            names = " and ".join(repr(header[i]) for i in found)
            raise DatasetError(
                f"{path} has the columns {names}: any of them could be the labels.",
                remedy="name the label column with label= (--label), and columns that are not features with drop= "
                "(--drop).",
            )
        if found:
            return found[0]
    return None


def _binary(path: Path) -> str:
    """What a file that is not text begins like, "" when that is not known."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return ""  # reading it says why
    kinds = {b"\x1f\x8b": "a gzip archive", b"PK\x03\x04": "a zip archive or an Excel file", b"PAR1": "a Parquet file"}
    return next((words for mark, words in kinds.items() if head.startswith(mark)), "")


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "it looks like UTF-16"
    return "it looks like UTF-16" if b"\0" in head else "it may be Latin-1 or Windows-1252"

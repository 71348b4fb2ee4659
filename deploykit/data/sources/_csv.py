"""CSV files with a header: one example a row."""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.data.labels import numbers_of
from deploykit.data.reading import Found, Origin
from deploykit.data.sources._paths import present, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Columns that hold labels when no column is named: the first group with one in the file.
_LABEL_COLUMNS = (("label", "labels", "target", "class"), ("y",))
#: Separators that other programs write.
_OTHER = {";": "semicolons", "\t": "tabs", "|": "bars"}
_MISSING = {"", "na", "n/a", "null", "none", "?", "-"}
#: Whole numbers up to these are exact in float32 and float64.
_EXACT_32, _EXACT_64 = 1 << 24, 1 << 53
_ROW_NUMBERS = ("", "unnamed: 0")


def read_csv(path: Path, label: str | None, drop: Sequence[str] = (), classes: Sequence[str] = ()) -> Found:
    """What a CSV file with a header holds.

    Args:
        path: The file.
        label: Column of the labels, None to look for one.
        drop: Columns that are not used.
        classes: Class names; labels that are such names stay text.
    """
    header, lines, cells = read_cells(path)
    dropped = _dropped(path, header, drop)
    target = _label_column(path, header, label, dropped)
    left_out = [f"column {header[i]}: named in drop=" for i in sorted(dropped)]
    if 0 not in dropped and target != 0 and header[0].lower() in _ROW_NUMBERS and _counts_rows(cells):
        dropped = {*dropped, 0}
        left_out.append("the first column: it has no name and holds the row numbers")
    if unnamed := [i + 1 for i, h in enumerate(header) if not h and i not in dropped]:
        raise DatasetError(f"{path}: column {unnamed[0]} has no name.", remedy="name every column in the first line.")
    features = [i for i in range(len(header)) if i != target and i not in dropped]
    if not features:
        raise DatasetError(f"{path} has no column beside its labels.", remedy="add the features, one column for each.")
    found: dict[str, Any] = {"x": _features(path, lines, cells, header, features)}
    notes = _remarks(found["x"], [header[i] for i in features])
    if target is not None:
        found["y"] = _labels(path, lines, [row[target].strip() for row in cells], classes)
    elif label is None:
        notes.append("no column is called label, target, class or y: there are no labels (label= names one).")
    of = f"{len(features)} column{'s' if len(features) != 1 else ''} ({shown((header[i] for i in features), 6)})"
    labels = "" if target is None else f"column {header[target]}"
    return Found(found, Origin(str(path), "csv", {"input": of}, labels, tuple(left_out), tuple(notes)))


def read_cells(path: Path, separator: str = ",") -> tuple[list[str], list[int], list[list[str]]]:
    """Names of the columns, and line numbers and cells of the rows, of a CSV file.

    Args:
        path: The file.
        separator: Between columns.
    """
    present(path)
    if kind := _binary(path):
        raise DatasetError(f"{path} is not a CSV file: it is {kind}.", remedy="unpack it, or save it as CSV.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, delimiter=separator)
            header = [h.strip() for h in next(rows, [])]
            _check_header(path, header)
            lines, cells = _rows(path, rows, header)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path} is not a CSV file: it is not utf-8 text ({_encoding(path)}).", remedy="save it as UTF-8 text."
        ) from error
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path} is not a CSV file: {error}.", remedy="save it as UTF-8 text.") from error
    if not cells:
        raise DatasetError(f"{path} is empty: it has no rows below its header.")
    return header, lines, cells


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
    if header and all(map(_is_number, header)):
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


def _rows(path: Path, rows: Iterator[list[str]], header: list[str]) -> tuple[list[int], list[list[str]]]:
    """Line numbers and cells."""
    lines, cells = [], []
    for row in rows:
        line = rows.line_num  # type: ignore[attr-defined]  # of a csv.reader
        if not row:
            continue
        if len(row) != len(header):
            raise DatasetError(
                f"{path}, line {line}: {len(row)} cells, but the header has {len(header)}.",
                remedy="write decimal points instead of commas, and quote text that contains commas."
                if len(row) > len(header)
                else "fill the missing cells.",
            )
        lines.append(line)
        cells.append(row)
    return lines, cells


def _features(
    path: Path, lines: list[int], cells: list[list[str]], header: list[str], columns: list[int]
) -> NDArray[Any]:
    """Numbers of the feature columns: int64 when all are whole, else float32, or float64 where that would lose some."""
    import numpy as np

    values = np.empty((len(cells), len(columns)))
    whole, huge = True, ""
    for i, (line, row) in enumerate(zip(lines, cells, strict=True)):
        for j, column in enumerate(columns):
            cell = row[column]
            value = _number(path, line, header[column], cell)
            values[i, j] = value
            is_whole = value.is_integer() and cell.strip().lstrip("+-").isdigit()
            whole = whole and is_whole
            if is_whole and abs(value) >= _EXACT_64:
                huge = huge or f"{path}, line {line}, column {header[column]!r}: {cell.strip()}"
    if (huge or whole) and columns:
        return _whole_numbers(cells, columns, whole, huge)
    finite = values[np.isfinite(values)]
    size = np.abs(finite)
    if not size.size or (size.max() <= np.finfo(np.float32).max and not _lost(finite)):
        return values.astype(np.float32)
    return values


def _lost(values: NDArray[Any]) -> bool:
    """Whether float32 would change whole numbers, or make zero of what is not."""
    import numpy as np

    narrow = values.astype(np.float32).astype(np.float64)
    whole = (np.abs(values) > _EXACT_32) & (values == np.rint(values))
    return bool((narrow[whole] != values[whole]).any() or ((narrow == 0) & (values != 0)).any())


def _whole_numbers(cells: list[list[str]], columns: list[int], whole: bool, huge: str) -> NDArray[Any]:
    import numpy as np

    if whole:
        with contextlib.suppress(OverflowError):
            return np.array([[int(row[c]) for c in columns] for row in cells], np.int64)
    raise DatasetError(
        f"{huge} is an integer too large to be stored exactly as a float.",
        remedy="drop the column with drop= (--drop) if it is not a feature, or scale it.",
    )


def _number(path: Path, line: int, column: str, cell: str) -> float:
    where = f"{path}, line {line}, column {column!r}"
    try:
        value = float(cell)
        if "_" in cell:
            raise ValueError
    except ValueError:
        if cell.strip().lower() in _MISSING:
            what = "the cell is empty" if not cell.strip() else f"{cell!r} stands for a missing value"
            raise DatasetError(f"{where}: {what}.", remedy="fill it, or drop the row or the column (drop=).") from None
        comma = cell.count(",") == 1 and _is_number(cell.replace(",", "."))
        raise DatasetError(
            f"{where}: {cell!r} is not a number.",
            remedy="write decimal points instead of commas."
            if comma
            else "encode text as numbers, name the label column with label= (--label), or leave the column out with "
            "drop= (--drop); for a model that takes text give an .npz file with an array of text.",
        ) from None
    if math.isinf(value) and "inf" not in cell.lower():
        raise DatasetError(f"{where}: {cell!r} is beyond the range of float64.", remedy="scale the column.")
    return value


def _labels(path: Path, lines: list[int], cells: list[str], classes: Sequence[str]) -> NDArray[Any]:
    import numpy as np

    if empty := [line for line, cell in zip(lines, cells, strict=True) if not cell]:
        more = f" (and {len(empty) - 1} more lines)" if len(empty) > 1 else ""
        raise DatasetError(f"{path}, line {empty[0]}{more}: the label is empty.", remedy="fill it, or drop the row.")
    texts = np.array(cells)
    numbers = numbers_of(texts, tuple(classes))
    return texts if numbers is None else numbers


def _remarks(x: NDArray[Any], names: list[str]) -> list[str]:
    """Columns that look like numbers of rows: they are features unless they are left out."""
    import numpy as np

    found = []
    for i, name in enumerate(names):
        if name.lower() in ("id", "index", "idx", "row", "row_id", "uid") and len(np.unique(x[:, i])) == len(x) > 1:
            found.append(
                f"column {name} has a different number in every row and is used as a feature; drop it with "
                f"drop=[{name!r}] (--drop {name}) if it only counts rows."
            )
    return found


def _counts_rows(cells: list[list[str]]) -> bool:
    first = [row[0].strip() for row in cells]
    return any(first == [str(i + start) for i in range(len(first))] for start in (0, 1))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


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

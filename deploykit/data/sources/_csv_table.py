"""The rows of a CSV file as numbers and labels, some at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.mapped import Growing, blocks, stowed
from deploykit.data.kinds import is_number
from deploykit.data.labels import numbers_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Rows whose cells are held as text.
_ROWS = 512
#: Labels of more kinds than these are kept as text, not as numbers of kinds.
_MOST_KINDS = 1 << 16
_MISSING = {"", "na", "n/a", "null", "none", "?", "-"}
#: Whole numbers up to these are exact in float32 and float64.
_EXACT_32, _EXACT_64 = 1 << 24, 1 << 53


def rows_of(
    path: Path, rows: Iterator[list[str]], header: list[str], most: int | None = None
) -> tuple[list[int], list[list[str]]]:
    """Line numbers and cells of the next rows, empty lines left out.

    Args:
        path: The file, for messages.
        rows: A ``csv.reader``.
        header: Names of all columns.
        most: Most rows that are taken; None: all.
    """
    lines, cells = [], []
    for row in islice(filter(None, rows), most):
        line = rows.line_num  # type: ignore[attr-defined]  # of a csv.reader
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


class Table:
    """What the rows of a file hold.

    Args:
        path: The file, for messages.
        header: Names of all columns.
        target: The column of the labels, None for none.
        dropped: Columns that are not used.
        counting: Whether the first column is expected to number the rows.

    Attributes:
        names: Names of the columns of numbers.
        label: Name of the column of labels, "" for none.
        counting: Whether the first column numbers the rows so far, from 0 or 1.
    """

    def __init__(self, path: Path, header: list[str], target: int | None, dropped: set[int], *, counting: bool) -> None:
        self._path = path
        self._header = header
        self._target = target
        self._columns = [i for i in range(len(header)) if i != target and i not in dropped]
        self.names = [header[i] for i in self._columns]
        self.label = "" if target is None else header[target]
        self.counting = counting
        self._first = 0
        self._count = 0
        self._whole: Growing | None = Growing()
        self._real = Growing()
        self._huge = ""
        self._narrow = True
        self._kinds: dict[str, int] = {}
        self._codes = Growing()
        self._text: Growing | None = None
        self._empty: list[int] = []

    def read(self, rows: Iterator[list[str]]) -> Iterator[int]:
        """Take all rows; gives how many there are, again and again."""
        while True:
            lines, cells = rows_of(self._path, rows, self._header, _ROWS)
            if not lines:
                break
            if self.counting:
                self._check_counting(cells)
            self._take(lines, cells)
            if self._target is not None:
                self._take_labels(lines, [row[self._target].strip() for row in cells])
            self._count += len(cells)
            yield self._count
        yield self._count

    def _check_counting(self, cells: list[list[str]]) -> None:
        first = [row[0].strip() for row in cells]
        if not self._count:
            self._first = 1 if first[0] == "1" else 0
        start = self._first + self._count
        self.counting = first == [str(i) for i in range(start, start + len(first))]

    # -- numbers ------------------------------------------------------------------------------------------------------

    def _take(self, lines: list[int], cells: list[list[str]]) -> None:
        import numpy as np

        if not self._columns:
            return
        values = self._values(lines, cells)
        integral = np.isfinite(values) & (values == np.rint(values))
        large = integral & (np.abs(values) >= _EXACT_64)
        if large.any() and not self._huge:
            for i, j in np.argwhere(large):
                cell = cells[i][self._columns[j]].strip()
                if cell.lstrip("+-").isdigit():
                    self._huge = f"{self._path}, line {lines[i]}, column {self.names[j]!r}: {cell}"
                    break
        if self._whole is not None:
            chosen = ([row[c].strip() for c in self._columns] for row in cells)
            if integral.all() and all(cell.lstrip("+-").isdigit() for row in chosen for cell in row):
                try:
                    exact = np.array([[int(row[c]) for c in self._columns] for row in cells], np.int64)
                except OverflowError:
                    raise self._too_large() from None
                self._whole.append(exact)
                return
            before, self._whole = self._whole, None
            for block in (b for _, b in blocks(before.array())) if len(before) else ():
                self._add(block.astype(np.float64))
        self._add(values)

    def _add(self, values: NDArray[Any]) -> None:
        import numpy as np

        finite = values[np.isfinite(values)]
        if finite.size and (np.abs(finite).max() > np.finfo(np.float32).max or _lost(finite)):
            self._narrow = False
        self._real.append(values)

    def _values(self, lines: list[int], cells: list[list[str]]) -> NDArray[Any]:
        """Real numbers of all cells: at once, or one by one where that says what is wrong with one."""
        import numpy as np

        chosen = [[row[c] for c in self._columns] for row in cells]
        if not any("_" in cell for row in chosen for cell in row):
            try:
                values = np.array(chosen).astype(np.float64)
            except ValueError:
                pass
            else:
                if not np.isinf(values).any():
                    return values
        found = np.empty((len(cells), len(self._columns)))
        for i, (line, row) in enumerate(zip(lines, chosen, strict=True)):
            for j, cell in enumerate(row):
                found[i, j] = _number(self._path, line, self.names[j], cell)
        return found

    def _too_large(self) -> DatasetError:
        return DatasetError(
            f"{self._huge} is an integer too large to be stored exactly as a float.",
            remedy="drop the column with drop= (--drop) if it is not a feature, or scale it.",
        )

    def features(self) -> NDArray[Any]:
        """Numbers: int64 when all are whole, else float32, or float64 where that would lose some."""
        import numpy as np

        if self._whole is not None:
            return self._whole.array()
        if self._huge:
            raise self._too_large()
        values = self._real.array()
        return stowed(block.astype(np.float32) for _, block in blocks(values)) if self._narrow else values

    # -- labels -------------------------------------------------------------------------------------------------------

    def _take_labels(self, lines: list[int], cells: list[str]) -> None:
        import numpy as np

        self._empty += [line for line, cell in zip(lines, cells, strict=True) if not cell]
        if self._text is None:
            kinds = self._kinds
            self._codes.append(np.array([kinds.setdefault(cell, len(kinds)) for cell in cells], np.int32))
            if len(kinds) > _MOST_KINDS:
                self._text = Growing()
                names = np.array(list(kinds))
                for _, codes in blocks(self._codes.array(), _ROWS):
                    self._text.append(names[codes])
        else:
            self._text.append(np.array(cells))

    def labels(self, classes: Sequence[str]) -> NDArray[Any]:
        """Labels: numbers where all are numbers, else text.

        Raises:
            DatasetError: One is empty.
        """
        import numpy as np

        if self._empty:
            more = f" (and {len(self._empty) - 1} more lines)" if len(self._empty) > 1 else ""
            raise DatasetError(
                f"{self._path}, line {self._empty[0]}{more}: the label is empty.", remedy="fill it, or drop the row."
            )
        if self._text is not None:
            texts = self._text.array()
            numbers = numbers_of(texts, tuple(classes))
            return texts if numbers is None else numbers
        names = np.array(list(self._kinds))
        numbers = numbers_of(names, tuple(classes))
        found: NDArray[Any] = (names if numbers is None else numbers)[self._codes.array()]
        return found


def _lost(values: NDArray[Any]) -> bool:
    """Whether float32 would change whole numbers, or make zero of what is not."""
    import numpy as np

    narrow = values.astype(np.float32).astype(np.float64)
    whole = (np.abs(values) > _EXACT_32) & (values == np.rint(values))
    return bool((narrow[whole] != values[whole]).any() or ((narrow == 0) & (values != 0)).any())


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
        comma = cell.count(",") == 1 and is_number(cell.replace(",", "."))
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

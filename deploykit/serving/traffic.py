"""What a server has done: predictions and their times, counted by its workers in one file they share.

Each worker has a row of counters of its own, so nothing is locked, and a worker that is restarted counts on. The
parent reads the file: asking costs the server nothing and counts as no request.
"""

from __future__ import annotations

import mmap
import threading
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from deploykit.core.serial import Plain

#: Upper ends of the histogram's buckets, seconds: a third of a factor of two apart, from 10 µs to more than a minute.
BOUNDS_S = tuple(1e-5 * 2 ** (i / 3) for i in range(70))
_CELL = 8
#: Cells of a row: refused requests, then the buckets, the last one without an upper end.
_CELLS = 1 + len(BOUNDS_S) + 1


@dataclass(frozen=True)
class Traffic(Plain):
    """Predictions since the server was started; health checks and metadata are not counted.

    Attributes:
        answered: How many were answered.
        refused: How many were refused, or failed.
        counts: Histogram of the time from the request's body to its answer; see ``bounds_ms``.
        bounds_ms: Upper ends of its buckets, milliseconds; the last bucket of ``counts`` has none.
    """

    answered: int
    refused: int
    counts: tuple[int, ...]
    bounds_ms: tuple[float, ...]


def meter_file(path: Path, slot: int | str) -> Path:
    """The file of the `Meter` of a worker, or of what stands in for workers, beside the counters."""
    return path.with_name(f"{path.name}.{slot}.meter")


def meter_files(path: Path) -> list[Path]:
    """The files of all workers' meters."""
    return sorted(path.parent.glob(f"{path.name}.*.meter"))


def remove(path: Path) -> None:
    """Delete the counters, with all that is beside them: meters, vitals, suspects."""
    for file in (path, *path.parent.glob(f"{path.name}.*")):
        file.unlink(missing_ok=True)


def create(path: Path, workers: int) -> None:
    """Make the file for so many workers."""
    path.write_bytes(bytes(workers * _CELLS * _CELL))


def read(path: Path) -> Traffic:
    """The sums over all workers; nothing at all when the file is gone."""
    try:
        cells = memoryview(path.read_bytes()).cast("q")
    except OSError:
        cells = memoryview(bytes(_CELLS * _CELL)).cast("q")
    counts = tuple(sum(cells[i::_CELLS]) for i in range(1, _CELLS))
    return Traffic(sum(counts), sum(cells[0::_CELLS]), counts, tuple(1000 * b for b in BOUNDS_S))


class Counters:
    """One worker's row. Any thread may count.

    Args:
        path: The file, made by `create`.
        slot: Which row.
    """

    def __init__(self, path: Path, slot: int) -> None:
        self._lock = threading.Lock()
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")[slot * _CELLS : (slot + 1) * _CELLS]

    def answered(self, seconds: float) -> None:
        """Count a prediction."""
        with self._lock:
            self._cells[1 + bisect_left(BOUNDS_S, seconds)] += 1

    def refused(self) -> None:
        """Count one that was not answered."""
        with self._lock:
            self._cells[0] += 1

"""What a worker leaves in shared memory for its parent: that it lives, and what it runs right now.

Whatever ends the worker, the parent finds there which batches were running: a crash leaves no time to say it. Quick
batches run on the event loop, where a digest would take longer than many a model: their bytes are copied instead, and
the parent makes the digest if it needs one. Batches that run in threads are digested before.

A worker's file has cells of eight bytes: the pulses of its event loop and of its watching thread, how often it has
loaded something, the batch on the event loop, the batches in threads; then come the bytes of the former.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
import struct
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from deploykit.serving.batches import Batch

#: A worker whose event loop is silent for longer is not ready.
NOT_READY_SECONDS = 2.0
#: Bytes of a digest.
DIGEST_BYTES = 16
_LOOP, _THREAD, _LOADS = range(3)
#: The batch on the event loop: when it began, its parts, its arrays (0: the parts' digests stand for them), the model.
_BEGAN, _PARTS, _ARRAYS, _KEY = range(8, 12)
#: Examples of each part, then bytes of each array.
_MOST_PARTS, _MOST_ARRAYS = 64, 8
_COUNTS, _SIZES = 13, 13 + _MOST_PARTS
#: Batches in threads: when each began, and its digest.
_THREADS, _THREAD_CELLS, _MOST_THREADS = _SIZES + _MOST_ARRAYS, 1 + DIGEST_BYTES // 8, 64
_DATA = 8 * (_THREADS + _MOST_THREADS * _THREAD_CELLS)
#: Batches on the event loop that are larger are digested.
_DATA_BYTES = 4 << 20
_CELLS = (_DATA + _DATA_BYTES) // 8


class Run(NamedTuple):
    """A batch that a worker was running.

    Attributes:
        began_ns: When it began, by ``time.monotonic_ns``.
        digests: Digests of the requests' batches it was made of.
    """

    began_ns: int
    digests: tuple[bytes, ...]


def vitals_file(counters: Path, slot: int) -> Path:
    """The file of a worker, beside the counters."""
    return counters.with_name(f"{counters.name}.{slot}.vitals")


def key_of(model: str, version: str) -> bytes:
    """What stands for a version of a model in digests."""
    return hashlib.sha256(f"{model}\0{version}".encode()).digest()[:DIGEST_BYTES]


def digest_of(key: bytes, batch: Batch) -> bytes:
    """Digest of a batch of a model."""
    parts: list[bytes | memoryview] = []
    for values in batch.arrays.values():
        if values.dtype.kind == "O":
            parts.append(repr(values.tolist()).encode("utf-8", "surrogatepass"))
            continue
        try:
            parts.append(values.data.cast("B"))
        except (ValueError, TypeError):  # a layout or a dtype that memory views do not have
            parts.append(values.tobytes())
    return _digest(key, batch.count, parts)


def _digest(key: bytes, count: int, parts: Sequence[bytes | memoryview]) -> bytes:
    found = hashlib.sha256(struct.pack(f"<16sq{len(parts)}q", key, count, *map(len, parts)))
    for part in parts:
        found.update(part)
    return found.digest()[:DIGEST_BYTES]


class Vitals:
    """A worker's own side of its file. The event loop and the threads that run models write, each to its own cells.

    Args:
        path: The file, made by the parent.

    Raises:
        OSError: It is not there.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8 * _CELLS)
        self._bytes = memoryview(self._memory)
        self._cells = self._bytes.cast("q")
        #: The model of the last batch on the event loop.
        self._key = b""
        self._free = list(range(_MOST_THREADS))
        #: Set when the worker is about to end: no run may come back, or an answer could meet the last words.
        self._doomed = False
        self.parked = False
        self._beat = math.inf

    def beat_loop(self) -> None:
        """The event loop turns."""
        self._cells[_LOOP] += 1
        self._beat = time.monotonic()

    @property
    def stands_still(self) -> bool:
        """Whether the event loop has not turned for so long that the worker does not count as ready."""
        return time.monotonic() - self._beat > NOT_READY_SECONDS

    def beat_thread(self) -> None:
        """The process runs at all."""
        self._cells[_THREAD] += 1

    def loaded(self) -> None:
        """Say that the worker has taken in what it serves: its memory now is what it needs."""
        self._cells[_LOADS] += 1

    def begin(self, key: bytes, batch: Batch, parts: Sequence[Batch] = (), *, private: bool = False) -> None:
        """A batch begins to run on the event loop.

        Args:
            key: The model's, see `key_of`.
            batch: The batch.
            parts: The requests' batches it was joined from, if it was.
            private: Leave only digests: the file lies in a folder for temporary files.
        """
        cells, memory, count = self._cells, self._memory, 0
        memory.seek(_DATA)
        try:
            if private or len(parts) > _MOST_PARTS:
                raise ValueError
            for values in batch.arrays.values():
                if count == _MOST_ARRAYS or values.dtype.hasobject:
                    raise ValueError
                cells[_SIZES + count] = memory.write(values.data)
                count += 1
        except (ValueError, BufferError):  # private, too large, or not the plain bytes of an array
            count = 0
            memory.seek(_DATA)
            memory.write(b"".join(digest_of(key, part) for part in parts or (batch,)))
        cells[_ARRAYS] = count
        if parts:
            cells[_PARTS] = len(parts)
            if count:
                cells[_COUNTS : _COUNTS + len(parts)] = array("q", [part.count for part in parts])
        else:
            cells[_PARTS] = 1
            cells[_COUNTS] = batch.count
        if key is not self._key:
            self._key = key
            self._bytes[8 * _KEY : 8 * _KEY + DIGEST_BYTES] = key
        cells[_BEGAN] = time.monotonic_ns()

    def end(self) -> None:
        """It has run."""
        self._cells[_BEGAN] = 0
        if self._doomed:
            self.park()

    @contextlib.contextmanager
    def in_thread(self, key: bytes, batch: Batch) -> Iterator[None]:
        """A batch runs in this thread meanwhile."""
        digest = digest_of(key, batch)
        slot = self._free.pop() if self._free else None
        if slot is not None:
            cell = _THREADS + slot * _THREAD_CELLS
            self._bytes[8 * cell + 8 : 8 * (cell + _THREAD_CELLS)] = digest
            self._cells[cell] = time.monotonic_ns()
        try:
            yield
        finally:
            if slot is not None:
                self._cells[cell] = 0
                self._free.append(slot)
            if self._doomed:
                self.park()

    def overdue(self, seconds: float) -> bool:
        """Whether a batch runs longer than that."""
        return _longest(self._cells) > seconds

    @property
    def busy(self) -> bool:
        """Whether a batch runs on the event loop."""
        return bool(self._cells[_BEGAN])

    def doom(self, seconds: float) -> bool:
        """Let no run come back, if one has run longer than that; whether it is so."""
        self._doomed = True
        if not self.overdue(seconds):  # it came back this very moment
            self._doomed = False
        return self._doomed

    def park(self) -> None:
        """Keep this thread until the end."""
        self.parked = True
        while self._doomed:
            time.sleep(0.01)
        self.parked = False


class Signs:
    """The parent's side of a worker's file: makes it, and looks at it.

    Args:
        path: The file, which is not there yet.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        with path.open("x+b") as file:
            file.truncate(8 * _CELLS)
            self._bytes = memoryview(mmap.mmap(file.fileno(), 8 * _CELLS))
        self._cells = self._bytes.cast("q")

    @classmethod
    def of(cls, path: Path, before: Signs | None) -> Signs:
        """Those of a worker that is about to start.

        Args:
            path: Its file.
            before: Those of the worker before it, which has ended.

        Raises:
            OSError: The file cannot be made.
        """
        if before is None or not path.exists():
            return cls(path)
        for cell in (_LOOP, _THREAD, _LOADS, _BEGAN, *_thread_cells()):
            before._cells[cell] = 0
        return before

    @property
    def loop(self) -> int:
        """Beats of the event loop."""
        return self._cells[_LOOP]

    @property
    def thread(self) -> int:
        """Beats of the process."""
        return self._cells[_THREAD]

    @property
    def loads(self) -> int:
        """How often it has loaded something."""
        return self._cells[_LOADS]

    def longest(self) -> float:
        """Seconds that the oldest of its batches has been running, 0 if none runs."""
        return _longest(self._cells)

    def runs(self) -> list[Run]:
        """What is running, or was when the worker ended."""
        found = [
            Run(began, (bytes(self._bytes[8 * cell + 8 : 8 * (cell + _THREAD_CELLS)]),))
            for cell in _thread_cells()
            if (began := self._cells[cell])
        ]
        if began := self._cells[_BEGAN]:
            found.append(Run(began, tuple(self._on_loop())))
        return found

    def _on_loop(self) -> Iterator[bytes]:
        cells = self._cells
        parts, arrays = cells[_PARTS], cells[_ARRAYS]
        key = bytes(self._bytes[8 * _KEY : 8 * _KEY + DIGEST_BYTES])
        counts = list(cells[_COUNTS : _COUNTS + parts])
        if not arrays:
            for place in range(_DATA, _DATA + parts * DIGEST_BYTES, DIGEST_BYTES):
                yield bytes(self._bytes[place : place + DIGEST_BYTES])
            return
        starts, place = [], _DATA
        for size in cells[_SIZES : _SIZES + arrays]:
            starts.append((place, size // sum(counts)))
            place += size
        first = 0
        for count in counts:
            yield _digest(key, count, [self._bytes[s + first * row : s + (first + count) * row] for s, row in starts])
            first += count


def _thread_cells() -> range:
    return range(_THREADS, _DATA // 8, _THREAD_CELLS)


def _longest(cells: memoryview) -> float:
    began = [began for cell in (_BEGAN, *_thread_cells()) if (began := cells[cell])]
    return (time.monotonic_ns() - min(began)) / 1e9 if began else 0.0

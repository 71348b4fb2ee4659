"""What a worker has done, in numbers that those of other workers and servers can be added to.

Each worker counts in a file of its own, so nothing is shared while it counts; the worker that is asked for metrics adds
up the files. A worker that is restarted counts on. Times fall into buckets of fixed bounds, two for each factor of two.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Collection, Container, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

#: Upper ends of the buckets of times, seconds: 1 µs, 1.5 µs, 2 µs, 3 µs, … 100 s; there is one more without an end.
BOUNDS_S = tuple(1e-6 * (1.5 if half else 1.0) * 2**octave for octave in range(27) for half in (0, 1))
#: Upper ends of the buckets of batch sizes.
BOUNDS_EXAMPLES = tuple(2**octave for octave in range(13))
#: Stages of a request: it is read, waits for its batch, runs, and its answer is written.
STAGES = ("decode", "queue", "run", "encode")
_KEY_BYTES, _CELLS = 240, len(BOUNDS_S) + 2
_RECORD = _KEY_BYTES + 8 * _CELLS
_RECORDS = 512
#: Times of a request, and how many times are kept before they are written.
_MARKS, _MOST_TIMES = 5, 1 << 15
_SEPARATOR = "\x1f"


class Visit:
    """One request on its way. Times are those of `time.perf_counter`.

    Attributes:
        arrived: When it was there.
        model: What ran it, "" until then.
        version: Version of the model.
        decoded: When its batch was made.
        began: When its batch began to run.
        ended: When that was over.
        examples: How many it has, once its batch is made.
        id: The id it is known by; "" where none is needed.
    """

    __slots__ = ("arrived", "began", "decoded", "ended", "examples", "id", "model", "version")

    def __init__(self, arrived: float) -> None:
        self.arrived = arrived
        self.model = self.version = self.id = ""
        self.examples = 0
        self.decoded = self.began = self.ended = 0.0


#: The request that the work in progress is for.
VISIT: ContextVar[Visit | None] = ContextVar("deploykit_visit", default=None)


class Series(NamedTuple):
    """Numbers of one kind with the same labels.

    Attributes:
        kind: What is counted: ``"requests"``, ``"seconds"``, ``"examples"``, ``"waiting"``,
            ``"shadow"``, ``"labels"`` or ``"process"``.
        labels: Values of its labels.
        total: The number itself; the sum of all values where they fall into buckets (times: nanoseconds).
        buckets: How many fell into each bucket.
    """

    kind: str
    labels: tuple[str, ...]
    total: int
    buckets: tuple[int, ...]


class Meter:
    """Counts what one worker does. Any thread may count.

    Args:
        path: Its file; one that is there is continued.
        works: Whether this process is a worker, whose memory and CPU time are to be seen.

    Attributes:
        path: Its file.
    """

    def __init__(self, path: Path, *, works: bool = True) -> None:
        self.path = path
        self._lock = threading.Lock()
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.truncate(file, _RECORD * _RECORDS)
            self._memory = memoryview(mmap.mmap(file, _RECORD * _RECORDS))
        finally:
            os.close(file)
        self._cells: dict[tuple[str, ...], memoryview] = {}
        self._places: dict[tuple[str, ...], int] = {}
        #: Models with their versions whose numbers must stay.
        self._served: Container[tuple[str, ...]] = frozenset()
        #: Times of requests by model, version, protocol and status, until they are written.
        self._times: dict[tuple[str, str, str, str], array[float]] = {}
        for place, key in enumerate(_keys(self._memory)):
            self._cells[key] = _cells(self._memory, place)
            self._places[key] = place
        if works:
            self._cells_of("process")[0] = os.getpid()

    @property
    def files(self) -> list[Path]:
        """The files of all workers of its server."""
        return sorted(self.path.parent.glob(f"{self.path.name.rsplit('.', 2)[0]}.*.meter"))

    def answered(self, visit: Visit, protocol: str, status: str) -> None:
        """Count a request whose answer is ready.

        Args:
            visit: The request.
            protocol: The protocol's name.
            status: Its status in the protocol's words.
        """
        times = visit.arrived, visit.decoded, visit.began, visit.ended, time.perf_counter()
        self.record((visit.model, visit.version, protocol, status), times)

    def record(self, key: tuple[str, str, str, str], times: tuple[float, ...]) -> None:
        """Count a request whose answer is ready.

        Args:
            key: Model, version, protocol, status.
            times: When it arrived, was decoded, began and ended to run, and when its answer was ready.
        """
        known = self._times.get(key)
        if known is None:
            known = self._times.setdefault(key, array("d"))
        known.extend(times)  # all five at once, in whatever thread: no other code runs meanwhile
        if len(known) >= _MOST_TIMES:
            self.flush()

    def serves(self, models: Collection[tuple[str, str]]) -> None:
        """Say which models are served, in which versions: where there is no more room, the numbers of others go."""
        with self._lock:
            self._served = frozenset(models)

    def turned(self, protocol: str, status: str) -> None:
        """Count a request that no model ran for, at once."""
        with self._lock:
            self._cells_of("requests", "", "", protocol, status)[0] += 1

    def flush(self) -> None:
        """Write what is not in the file yet; called every second."""
        with self._lock:
            for key, times in list(self._times.items()):
                if times:
                    self._write(key, times)

    def _write(self, key: tuple[str, str, str, str], times: array[float]) -> None:
        """Sort the times of some requests into buckets: many at once take a tenth of the time of one by one."""
        import numpy as np

        found = times[:]
        del times[: len(found)]
        marks = np.frombuffer(found).reshape(-1, _MARKS)
        self._cells_of("requests", *key)[0] += len(marks)
        marks = marks[marks[:, 3] > 0]  # those that ran
        if not len(marks):
            return
        seconds = np.column_stack((np.diff(marks), marks[:, 4] - marks[:, 0]))
        for stage, column in zip((*STAGES, ""), seconds.T, strict=True):
            cells = self._cells_of("seconds", *key[:3], stage)
            cells[0] += int(column.sum() * 1e9)
            counts = np.bincount(np.searchsorted(BOUNDS_S, column))
            for place in counts.nonzero()[0].tolist():
                cells[1 + place] += int(counts[place])

    def ran(self, model: str, version: str, examples: int) -> None:
        """Count a batch."""
        with self._lock:
            cells = self._cells_of("examples", model, version)
            cells[0] += examples
            cells[1 + bisect_left(BOUNDS_EXAMPLES, examples)] += 1

    def shadowed(self, model: str, version: str, answered: str, outcome: str) -> None:
        """Count a copy of a request.

        Args:
            model: Name of the model.
            version: The version that got the copy.
            answered: The version that answered.
            outcome: How their answers compare.
        """
        with self._lock:
            self._cells_of("shadow", model, version, answered, outcome)[0] += 1

    def labeled(self, model: str, version: str, answered: str, outcome: str) -> None:
        """Count an example whose label has come, and that a shadow has seen as well.

        Args:
            model: Name of the model.
            version: The version that got the copy.
            answered: The version that answered.
            outcome: Which of them was right: ``"both"``, ``"neither"``, ``"better"`` (the shadow alone) or ``"worse"``.
        """
        with self._lock:
            self._cells_of("labels", model, version, answered, outcome)[0] += 1

    def waiting(self, model: str, version: str, batches: int) -> None:
        """Say how many batches of a model wait or run in its thread."""
        with self._lock:
            self._cells_of("waiting", model, version)[0] = batches

    def _cells_of(self, *key: str) -> memoryview:
        found = self._cells.get(key)
        if found is None:
            place = len(self._cells) if len(self._cells) < _RECORDS else self._freed()
            if place is None:  # so much is served at once: no more series, the others count on
                return memoryview(bytearray(8 * _CELLS)).cast("q")
            name = _SEPARATOR.join(key).encode()[:_KEY_BYTES]
            # As a whole: who reads the file meanwhile would take a record without a name for the end.
            self._memory[place * _RECORD : (place + 1) * _RECORD] = name.ljust(_RECORD, b"\0")
            found = self._cells[key] = _cells(self._memory, place)
            self._places[key] = place
        return found

    def _freed(self) -> int | None:
        """The record of the oldest series of a version that is not served any more, None if there is none."""
        for key in self._cells:
            if len(key) > 2 and key[1] and key[1:3] not in self._served:
                del self._cells[key]
                return self._places.pop(key)
        return None


def read(paths: Iterable[Path]) -> list[Series]:
    """All series of these files, each with its own file's numbers; files that are gone are passed over."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            memory = memoryview(path.read_bytes())
            for place, (kind, *labels) in enumerate(_keys(memory)):
                total, *buckets = _cells(memory, place)
                found.append(Series(kind, tuple(labels), total, tuple(buckets)))
    return found


def _keys(memory: memoryview) -> Iterator[tuple[str, ...]]:
    """Keys of the records in use, in their order."""
    for start in range(0, len(memory) - _RECORD + 1, _RECORD):
        name = bytes(memory[start : start + _KEY_BYTES]).rstrip(b"\0")
        if not name:
            return
        yield tuple(name.decode(errors="replace").split(_SEPARATOR))


def _cells(memory: memoryview, place: int) -> memoryview:
    start = place * _RECORD + _KEY_BYTES
    return memory[start : start + 8 * _CELLS].cast("q")

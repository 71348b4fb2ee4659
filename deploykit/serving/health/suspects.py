"""Requests that worker processes died of, remembered by their digests so that they cannot end one again and again.

The parent accuses what ran when a worker crashed or got stuck, and keeps a bounded list in a file that all workers
read. A suspect runs alone from then on, so that no innocent request shares its fate twice; one that ends a worker again
is refused.
"""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.serving.faults import PoisonError
from deploykit.serving.health.vitals import DIGEST_BYTES, Run, digest_of

if TYPE_CHECKING:
    from deploykit.serving.batches import Batch

#: Most digests that are kept; the oldest suspicion is forgotten first.
MOST = 1024
#: Points for an end of a worker that a batch shared with others, and for one of which it is the only suspect.
_SHARED, _ALONE = 1, 2
#: Points from which on a batch is refused.
_REFUSED = 3
_RECORD = DIGEST_BYTES + 8
_BYTES = 16 + MOST * _RECORD


def suspects_file(counters: Path) -> Path:
    """The file of a server, beside the counters."""
    return counters.with_name(f"{counters.name}.suspects")


class Suspects:
    """The parent's list.

    Args:
        path: The file for the workers.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._points: OrderedDict[bytes, int] = OrderedDict()
        self._changes = 0
        self._memory: memoryview | None = None

    def accuse(self, runs: Iterable[Run]) -> None:
        """Remember what ran when a worker ended."""
        digests = [digest for run in runs for digest in run.digests]
        for digest in digests:
            points = self._points.pop(digest, 0) + (_ALONE if len(set(digests)) == 1 else _SHARED)
            self._points[digest] = min(points, _REFUSED)
        while len(self._points) > MOST:
            self._points.popitem(last=False)
        if digests:
            self._changes += 1
            if self._memory is not None:
                self._write(self._memory)

    def share(self) -> None:
        """Make the file, if it is not there; called before a worker starts.

        Raises:
            OSError: It cannot be made.
        """
        if self._path.exists():
            return
        with self._path.open("x+b") as file:
            file.truncate(_BYTES)
            self._memory = memoryview(mmap.mmap(file.fileno(), _BYTES))
        self._write(self._memory)

    def _write(self, memory: memoryview) -> None:
        text = b"".join(digest + points.to_bytes(8, "little") for digest, points in self._points.items())
        memory[16 : 16 + len(text)] = text
        cells = memory[:16].cast("q")
        cells[1] = len(self._points)
        cells[0] = self._changes


class Wary:
    """A worker's view of the list.

    Args:
        path: The file, made by the parent.

    Raises:
        OSError: It is not there.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._memory = memoryview(mmap.mmap(file.fileno(), _BYTES, access=mmap.ACCESS_READ))
        self._cells = self._memory[:16].cast("q")
        self._seen = 0
        self._points: dict[bytes, int] = {}

    def suspects(self, key: bytes, batch: Batch) -> bool:
        """Whether a batch must run alone. Costs next to nothing as long as no worker has crashed.

        Args:
            key: The model's, see `deploykit.serving.health.vitals.key_of`.
            batch: The batch.

        Raises:
            PoisonError: It is refused.
        """
        if not self._cells[0]:
            return False
        if self._cells[0] != self._seen:
            self._seen = self._cells[0]
            records = (16 + number * _RECORD for number in range(self._cells[1]))
            self._points = {
                bytes(self._memory[place : place + DIGEST_BYTES]): self._memory[place + DIGEST_BYTES]
                for place in records
            }
        points = self._points.get(digest_of(key, batch), 0)
        if points >= _REFUSED:
            raise PoisonError(
                "These examples have ended a worker of the server twice, so they are not run again; expected others."
            )
        return points > 0

"""One request that was answered, as it is recorded, and the id it is known by. Never its content, nor a secret."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from functools import lru_cache
from typing import NamedTuple

from deploykit.serving.meter import STAGES, Visit

#: The header and the metadata that an id travels in.
ID_HEADER = "x-request-id"
#: What an id from outside may be: it goes into logs and back to the client.
_SANE = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}")
_TRACE = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
#: Ids of this process: none of another process begins like them.
_PREFIX = secrets.token_hex(8)
_numbers = itertools.count(1)
#: Difference of the clock on the wall and the one that times are measured with, seconds.
_EPOCH = time.time() - time.perf_counter()
_PATH = 512


class Entry(NamedTuple):
    """One request that was answered. Times are those of `time.perf_counter`.

    Attributes:
        id: Its id.
        protocol: The protocol's name.
        method: HTTP method.
        path: Path without the query, or the gRPC method with its service.
        status: Status in the protocol's words: ``"200"``, ``"OK"``.
        size: Bytes of the answer's body.
        predicts: Whether it is a prediction.
        token: Name of the token it showed, "" without one.
        client: Trace of the client's that it is part of, as ``traceparent`` says; b"" without one.
        visit: Model, version, examples and times of its stages.
        ended: When its answer was ready.
    """

    id: str
    protocol: str
    method: str
    path: str
    status: str
    size: int
    predicts: bool
    token: str
    client: bytes
    visit: Visit
    ended: float

    @property
    def stages(self) -> list[tuple[str, float]]:
        """Seconds of its stages, and ``"total"``, which is all there is of one that was not run."""
        visit, ended = self.visit, self.ended
        arrived, decoded, began, over = visit.arrived, visit.decoded, visit.began, visit.ended
        total = ("total", ended - arrived)
        if not over:
            return [total]
        times = (decoded - arrived, began - decoded, over - began, ended - over)
        return [*zip(STAGES, times, strict=True), total]

    @property
    def shown_path(self) -> str:
        """Its path, no longer than anything that there is."""
        return self.path if len(self.path) <= _PATH else f"{self.path[:_PATH]}…"


def request_id(given: bytes) -> str:
    """The id of a request: the one given, if it is sane, or a new one."""
    return given.decode("ascii") if given and _SANE.fullmatch(given) else f"{_PREFIX}{next(_numbers):08x}"


def sane_id(given: bytes) -> bytes:
    """The id that a client gives a request; b"" unless it is one that can be given back and written to a log."""
    return given if _SANE.fullmatch(given) else b""


def sane_trace(given: bytes) -> bytes:
    """The ``traceparent`` that a client sends; b"" unless it has its form (W3C Trace Context)."""
    return given if _TRACE.fullmatch(given) else b""


def wall(moment: float) -> float:
    """The time of day of a moment, in seconds since 1970."""
    return _EPOCH + moment


def iso(moment: float) -> str:
    """A moment as text, in UTC."""
    seconds = wall(moment)
    return f"{_second(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(8)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))

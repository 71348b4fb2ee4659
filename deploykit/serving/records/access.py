"""The access log: one line for each request; and the server's own log in the same form."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from deploykit.core.serial import dump
from deploykit.serving.records.entry import Entry, iso
from deploykit.serving.records.recorder import Act, Sink

Format = Literal["text", "json"]
#: A line of the server's own log as text.
LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: So many older files are kept when the log is rotated.
_KEPT = 3


class LogFile:
    """A file that several processes append lines to. It is rotated by whichever of them finds it too large.

    Args:
        path: The file; it may be something else that can be written to, which is not rotated.
        most_bytes: Size from which on a new one is begun; three older ones are kept as ``.1`` to ``.3``.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path = path
        self._most = most_bytes
        self._file = self._open()

    def write(self, data: bytes) -> None:
        """Append lines.

        Raises:
            OSError: They cannot be written.
        """
        state = os.fstat(self._file)
        if stat.S_ISREG(state.st_mode):
            if not self._is_at_path(state):  # rotated, by another process or another program
                self._reopen()
            elif state.st_size and state.st_size + len(data) > self._most:
                self._rotate()
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]

    def close(self) -> None:
        """End."""
        os.close(self._file)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        return os.open(self._path, flags, 0o640)

    def _reopen(self) -> None:
        os.close(self._file)
        self._file = self._open()

    def _is_at_path(self, state: os.stat_result) -> bool:
        try:
            return os.path.samestat(state, os.stat(self._path))  # noqa: PTH116  as fstat's
        except OSError:
            return False

    def _rotate(self) -> None:
        from filelock import FileLock

        with FileLock(f"{self._path}.lock"):
            if self._is_at_path(os.fstat(self._file)):
                os.close(self._file)  # where open files cannot be renamed
                for number in range(_KEPT, 0, -1):
                    older = Path(f"{self._path}.{number - 1}") if number > 1 else self._path
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(older, f"{self._path}.{number}")  # noqa: PTH105  as the rest here
                self._file = self._open()
            else:
                self._reopen()


class AccessLog(Sink):
    """Writes requests to a file.

    Args:
        path: The file.
        form: ``"json"``: an object in each line; ``"text"``: words for people.
        most_bytes: Size from which on a new file is begun.
    """

    def __init__(self, path: Path, form: Format, most_bytes: int) -> None:
        self._file = LogFile(path, most_bytes)
        self._line = _json_line if form == "json" else _text_line
        self._form = form

    def write(self, found: Sequence[Entry | Act], lost: int) -> None:
        """Write a line for each request."""
        lines = [self._line(entry) for entry in found if isinstance(entry, Entry)]
        if lost:
            now = iso(time.perf_counter())
            lines.append(
                dump({"time": now, "lost": lost}) if self._form == "json" else f"{now} {lost} requests lost".encode()
            )
        if lines:
            self._file.write(b"\n".join(lines) + b"\n")

    def close(self) -> None:
        """End."""
        self._file.close()


def _json_line(entry: Entry) -> bytes:
    # Put together by hand: a line takes a third of the time, and there is one for each request.
    visit, text = entry.visit, _as_json
    stages = ",".join([f'"{stage}":{1000 * seconds:.3f}' for stage, seconds in entry.stages])
    trace = f'"trace_id":"{entry.client[3:35].decode()}",' if entry.client else ""
    return (
        f'{{"time":"{iso(entry.ended)}","request_id":"{entry.id}",{trace}"protocol":"{entry.protocol}",'
        f'"method":"{entry.method}","path":{text(entry.shown_path)},"status":"{entry.status}","bytes":{entry.size},'
        f'"model":{text(visit.model)},"version":{text(visit.version)},"examples":{visit.examples},'
        f'"token":{text(entry.token)},"ms":{{{stages}}}}}'
    ).encode()


@lru_cache(512)
def _as_json(text: str) -> str:
    return json.dumps(text)


def _text_line(entry: Entry) -> bytes:
    visit = entry.visit
    more = [f"{stage}={1000 * seconds:.3f}" for stage, seconds in entry.stages]
    path = entry.shown_path
    if not path.isprintable():  # a line break would make two lines
        path = json.dumps(path, ensure_ascii=False)[1:-1]
    words = [
        iso(entry.ended), entry.id, entry.protocol, entry.method, path, entry.status, f"{entry.size}B",
        f"{visit.model}/{visit.version}" if visit.model else "-", entry.token or "-", "ms:", *more,
    ]  # fmt: skip
    return " ".join(words).encode("utf-8", "replace")


class JsonFormatter(logging.Formatter):
    """The server's log with an object in each line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        found: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json.dumps(found)


def use(form: Format) -> None:
    """Have this process log in a form."""
    if form == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter())


@contextlib.contextmanager
def own_log(form: Format) -> Iterator[None]:
    """Have a server's parent log as its workers do, unless the program that it is has set up logging."""
    logger = logging.getLogger("deploykit")
    if logger.hasHandlers():
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(LINE))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def standard_output() -> Path | None:
    """What workers can open to write where this process does; None where that is not possible."""
    try:
        own = Path(f"/proc/{os.getpid()}/fd/{sys.__stdout__.fileno()}") if sys.__stdout__ else None
        if own is not None:
            os.close(os.open(own, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)))
    except (OSError, ValueError):
        return None
    return own

"""An audit log: lines that are only ever added, each with a digest over itself and the line before.

Beside it lies a file with the number of lines and the last digest, so that lines missing at the end show as well. What
this does not show: a log that someone rewrote from some line on, with the file beside it. Keep a digest elsewhere from
time to time, and ask for it (`verify_audit`).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.core.errors import AuditError, SettingError
from deploykit.core.serial import Plain, dump, parse

_START = "0" * 64
_LOCK_SECONDS = 30.0


@dataclass(frozen=True)
class Audited(Plain):
    """An audit log that is whole.

    Attributes:
        lines: How many lines it has.
        last: Digest of the last one: kept elsewhere, it shows later that everything up to here is still there.
    """

    lines: int
    last: str


class Audit:
    """Adds to an audit log. Several processes may have the same one.

    Args:
        path: The log; it and the files beside it are its owner's alone.

    Raises:
        SettingError: It cannot be written, or is not an audit log.
    """

    def __init__(self, path: Path) -> None:
        from filelock import FileLock

        self._path = path
        self._head = path.with_name(f"{path.name}.head")
        self._lock = FileLock(f"{path}.lock", timeout=_LOCK_SECONDS, mode=0o600)
        try:
            path.parent.stat()  # the lock would make it
            self._check_own()
            with self._lock:
                self._check_own()
                self._file = _open(path)
                os.close(_open(self._head))
        except OSError as error:
            raise SettingError(
                f"Cannot write the audit log {path}: {error.strerror}.", remedy="choose another folder."
            ) from error

    def _check_own(self) -> None:
        """Raise `SettingError`, or `OSError`, for what is something else: nothing is to be changed about it."""
        if self._path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not self._head.exists() and self._path.is_file() and self._path.stat().st_size:
            raise SettingError(
                f"{self._path} is not empty, and {self._head.name} is not beside it.",
                remedy="name a new file, or bring the other back.",
            )

    def add(self, found: Iterable[Mapping[str, Any]]) -> None:
        """Add what has happened.

        Raises:
            OSError: It cannot be written.
            AuditError: The files are not as they were left.
        """
        with self._lock:
            count, last = self._continue()
            lines = []
            for one in found:
                count += 1
                last, line = _sealed(one, count, last)
                lines.append(line)
            data = memoryview(b"".join(lines))
            while data:
                data = data[os.write(self._file, data) :]
            self._write_head(count, last)

    def close(self) -> None:
        """End."""
        os.close(self._file)

    def _continue(self) -> tuple[int, str]:
        """Number and digest of the last line; lines that a process wrote just before it died are taken in."""
        count, last, size = _read_head(self._head)
        if os.fstat(self._file).st_size == size:
            return count, last
        with self._path.open("rb") as log:
            log.seek(size)
            return [(count, last), *_checked(log, count, last)][-1]

    def _write_head(self, count: int, last: str) -> None:
        with self._head.open("r+b") as head:
            head.write(b"%020d %b %020d\n" % (count, last.encode(), os.fstat(self._file).st_size))


def verify_audit(path: Path, digest: str = "") -> Audited:
    """Check that no line of an audit log was changed, removed or added by something else.

    Args:
        path: The log.
        digest: Digest of a line that must be in it, as an earlier check gave it; "" for none.

    Raises:
        AuditError: It is not as it was written; the message names the line.
        SettingError: There is none.
    """
    head = path.with_name(f"{path.name}.head")
    count, last, found = 0, _START, not digest
    try:
        number, ends_with, _ = _read_head(head)
        with path.open("rb") as log:
            for count, last in _checked(log, 0, _START):
                found = found or last == digest
                if count == number and last != ends_with:
                    raise AuditError(f"Line {count} of {path} is not the one that {head.name} was written with.")
    except OSError as error:
        raise SettingError(f"Cannot read {path}: {error.strerror}.", remedy="check the path.") from error
    if count < number:
        raise AuditError(f"{path} has {count} lines; {head.name} says {number}: the last {number - count} are missing.")
    if not found:
        raise AuditError(f"No line of {path} has the digest {digest}: lines up to it were changed or removed.")
    return Audited(count, last)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags, 0o600)
    if hasattr(os, "fchmod"):
        os.fchmod(file, 0o600)
    return file


def _sealed(one: Mapping[str, Any], count: int, last: str) -> tuple[str, bytes]:
    """The digest of a line, and the line."""
    body = dump({"n": count, **one})
    digest = hashlib.sha256(last.encode() + body).hexdigest()
    return digest, body[:-1] + b',"sha256":"' + digest.encode() + b'"}\n'


_SEAL = len(b',"sha256":""}\n') + 64


def _checked(lines: Iterable[bytes], count: int, last: str) -> Iterator[tuple[int, str]]:
    """Number and digest of each line.

    Raises:
        AuditError: One is not what it was written as.
    """
    for line in lines:
        count += 1
        body = line[:-_SEAL] + b"}"
        digest = hashlib.sha256(last.encode() + body).hexdigest()
        if line[-_SEAL:] != b',"sha256":"' + digest.encode() + b'"}\n' or _number(body) != count:
            raise AuditError(
                f"Line {count} of the audit log is not the one that was written there: it was changed, or one before "
                "it was changed or removed."
            )
        last = digest
        yield count, last


def _number(body: bytes) -> Any:
    try:
        return parse(body).get("n")
    except (ValueError, AttributeError):
        return None


def _read_head(path: Path) -> tuple[int, str, int]:
    """Lines, last digest and size."""
    with path.open("rb") as file:
        words = file.read(200).split()
    if not words:
        return 0, _START, 0
    try:
        count, last, size = words
        return int(count), last.decode(), int(size)
    except ValueError as error:
        raise AuditError(f"{path} is not what belongs to an audit log.") from error

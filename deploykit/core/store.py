"""The store of sweeps: a folder with one SQLite database and the files its rows name.

One process writes at a time (it holds ``store.lock``); any number may read. Every finished step and every launch is
committed at once with ``synchronous=FULL``, so that a killed process loses only what it was just doing. Rows are
committed at once, too, and reach the disk with the next step or launch: a power failure may cost the latest ones, which
the next sweep makes again from what they were made of.

::

    STORE/
      store.sqlite          sweeps, steps, evaluations, launches, rows
      data/<digest>/        the data, as children map them
      steps/<key>/          one artifact for each build step
      outputs/<key>.npy     outputs on a split
      logs/                 what children wrote
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from deploykit.core.errors import StoreError
from deploykit.core.result import Result
from deploykit.core.rows import Rows
from deploykit.core.serial import dump, parse

SCHEMA = 1
_FILE = "store.sqlite"
#: With less free space than this, whatever fails is put down to the disk.
_ROOM_BYTES = 64 << 10
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sweeps (context TEXT PRIMARY KEY, updated REAL NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS sweeps_updated ON sweeps (updated);
CREATE TABLE IF NOT EXISTS records (kind TEXT NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL,
                                    PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS launches (series TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,
                                     PRIMARY KEY (series, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (context TEXT NOT NULL, key TEXT NOT NULL, place INTEGER NOT NULL, data BLOB NOT NULL,
                                 PRIMARY KEY (context, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rows_place ON rows (context, place, key);
"""


class Store:
    """An opened store.

    Args:
        path: The folder.
        create: Make it when it does not exist.

    Raises:
        StoreError: Missing, not a store, from a newer version, or not writable.
    """

    def __init__(self, path: str | Path, *, create: bool = False) -> None:
        self.path = Path(path).expanduser().absolute()
        file = self.path / _FILE
        if not create and not file.is_file():
            raise StoreError(
                f"no store at {str(path)!r}.", remedy="check the path; a sweep with store=… (--store) makes one."
            )
        if create and self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file, a store is a folder.", remedy="choose another path.")
        self._lock = threading.RLock()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for folder in ("data", "steps", "outputs", "logs") if create else ():
                (self.path / folder).mkdir(exist_ok=True)
            self._db = self._open(file)
            self._check_schema(create)
        except (OSError, sqlite3.Error) as error:
            raise _failure(self.path, error) from error

    @staticmethod
    def _open(file: Path) -> sqlite3.Connection:
        """The database; as it is where nothing can be written, for SQLite's log would need files beside it.

        Raises:
            StoreError: Nothing can be written, and the log of a sweep that was cut off holds what the database lacks.
        """
        database = _connect(str(file))
        try:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            database.close()
            if not file.is_file() or os.access(file.parent, os.W_OK):
                raise
            log = file.with_name(f"{file.name}-wal")
            if log.is_file() and log.stat().st_size:
                raise StoreError(
                    f"the store {file.parent} is read-only, and {log.name} holds rows that are not in {file.name} yet.",
                    remedy="copy the folder to where you may write, and open the copy.",
                ) from None
            database = _connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)
        return database

    def _check_schema(self, create: bool) -> None:
        found = self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]
        if not found:
            if not create:
                raise StoreError(f"{self.path / _FILE} is no deploykit store.", remedy="choose another path.")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_TABLES)
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
        self._db.execute("PRAGMA synchronous=FULL")
        (value,) = self._db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
        if int(value) > SCHEMA:
            raise StoreError(
                f"the store {self.path} has schema {value}, this version of deploykit reads up to {SCHEMA}.",
                remedy="upgrade deploykit, or use another store.",
            )

    @contextmanager
    def writer(self) -> Iterator[Self]:
        """Hold the store for writing.

        Raises:
            StoreError: Another process holds it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(str(self.path / "store.lock"))
        try:
            lock.acquire(timeout=0.2)
        except Timeout as error:
            raise StoreError(
                f"another sweep is running on {self.path}.", remedy="wait for it, or use another store."
            ) from error
        except OSError as error:
            raise _failure(self.path, error) from error
        try:
            yield self
        finally:
            lock.release()

    # -- records: build steps and evaluations -----------------------------------------------------------------------

    def record(self, kind: str, key: str) -> dict[str, Any] | None:
        """A finished step or evaluation, None when there is none."""
        found = self._one("SELECT data FROM records WHERE kind = ? AND key = ?", (kind, key))
        return parse(found[0]) if found else None

    def put_record(self, kind: str, key: str, data: dict[str, Any]) -> None:
        """Commit a finished step or evaluation."""
        self._write("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (kind, key, dump(data)))

    def records(self, kind: str) -> dict[str, dict[str, Any]]:
        """All records of a kind."""
        return {k: parse(d) for k, d in self._all("SELECT key, data FROM records WHERE kind = ?", (kind,))}

    # -- launches ---------------------------------------------------------------------------------------------------

    def launches(self, series: str) -> dict[int, Any]:
        """Launches of one group of sessions by number, plain data."""
        found = self._all("SELECT number, data FROM launches WHERE series = ? ORDER BY number", (series,))
        return {number: parse(data) for number, data in found}

    def put_launch(self, series: str, number: int, data: Any) -> None:
        """Commit a launch."""
        self._write("INSERT OR REPLACE INTO launches VALUES (?, ?, ?)", (series, number, dump(data)))

    # -- sweeps and rows --------------------------------------------------------------------------------------------

    def put_sweep(self, context: str, data: dict[str, Any]) -> None:
        """Commit the facts of a sweep: model, data, metric, goal, baseline."""
        newest = "max(?, (SELECT ifnull(max(updated), 0) + 1e-6 FROM sweeps))"  # the clock may have been set back
        self._write(f"INSERT OR REPLACE INTO sweeps VALUES (?, {newest}, ?)", (context, time.time(), dump(data)))  # noqa: S608

    def sweep(self, context: str | None = None) -> tuple[str, dict[str, Any]] | None:
        """A sweep's context and facts; the latest one by default."""
        if context is None:
            found = self._one("SELECT context, data FROM sweeps ORDER BY updated DESC LIMIT 1", ())
        else:
            found = self._one("SELECT context, data FROM sweeps WHERE context = ?", (context,))
        return (found[0], parse(found[1])) if found else None

    def sweeps(self) -> dict[str, dict[str, Any]]:
        """Facts of all sweeps by context, the latest first."""
        return {c: parse(d) for c, d in self._all("SELECT context, data FROM sweeps ORDER BY updated DESC", ())}

    def put_row(self, context: str, place: int, row: Result) -> None:
        """Commit a row."""
        values = (context, row.key, place, dump(row))
        with self._lock:
            self._write("PRAGMA synchronous=NORMAL", ())
            try:
                self._write("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", values)
            finally:
                self._write("PRAGMA synchronous=FULL", ())

    def rows(self, context: str) -> Rows:
        """All rows of a sweep in their order; they can be read when the store is closed."""
        keys = [key for (key,) in self._all("SELECT key FROM rows WHERE context = ? ORDER BY place, key", (context,))]
        return Rows(keys, partial(_packed, self.path, context))

    def places(self, context: str) -> dict[str, int]:
        """Places of all rows of a sweep by key."""
        return dict(self._all("SELECT key, place FROM rows WHERE context = ?", (context,)))

    # -- files ------------------------------------------------------------------------------------------------------

    def relative(self, path: Path) -> str:
        """A path inside the store, relative to it, with forward slashes."""
        return path.relative_to(self.path).as_posix()

    def folder(self, kind: str, key: str) -> Path:
        """A folder of files named by a key (not made)."""
        return self.path / kind / key[:24]

    def keep(self, temporary: Path, final: Path) -> None:
        """Move a finished file or folder into place, durably; an older one is replaced."""
        try:
            for member in [temporary, *temporary.rglob("*")] if temporary.is_dir() else [temporary]:
                if member.is_file():
                    with member.open("rb") as file:
                        os.fsync(file.fileno())
            if final.is_dir():
                shutil.rmtree(final)
            temporary.replace(final)
        except OSError as error:
            raise _failure(self.path, error) from error

    def check_room(self) -> None:
        """Raise when the disk is full: libraries report that in many ways, or as something else.

        Raises:
            StoreError: There is hardly any room left.
        """
        if shutil.disk_usage(self.path).free < _ROOM_BYTES:
            raise _failure(self.path, OSError(errno.ENOSPC, "no space left on device"))

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def _one(self, query: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        with self._lock:
            try:
                found: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
                return found
            except sqlite3.Error as error:
                raise _failure(self.path, error) from error

    def _all(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise _failure(self.path, error) from error

    def _write(self, query: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            try:
                self._db.execute(query, values)
            except sqlite3.Error as error:
                raise _failure(self.path, error) from error


def _connect(name: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(name, timeout=30, isolation_level=None, check_same_thread=False, uri=uri)


def _packed(path: Path, context: str, keys: Sequence[str]) -> dict[str, bytes]:
    """Rows as they are stored."""
    if not keys:
        return {}
    opened = Store(path)
    try:
        places = ", ".join("?" * len(keys))
        query = f"SELECT key, data FROM rows WHERE context = ? AND key IN ({places})"  # noqa: S608
        return dict(opened._all(query, (context, *keys)))
    finally:
        opened.close()


def _failure(path: Path, error: Exception) -> StoreError:
    text = str(error) or type(error).__name__
    if "readonly" in text or isinstance(error, PermissionError) or getattr(error, "errno", None) == 30:
        return StoreError(f"the store {path} is not writable: {text}.", remedy="choose a folder you may write to.")
    if "full" in text or getattr(error, "errno", None) == 28:
        return StoreError(
            f"the disk of the store {path} is full: {text}.",
            remedy="free some space (deploykit clean STORE), then run the sweep again: finished work is kept.",
        )
    if "not a database" in text:
        return StoreError(f"{path / _FILE} is not a deploykit store: {text}.", remedy="choose another path.")
    return StoreError(f"the store {path} cannot be used: {text}.", remedy="check the folder, or use another store.")

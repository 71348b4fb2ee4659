"""The SQLite file of a store: connections that have an owner, its schema, and what its errors mean."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from deploykit.core.errors import StoreError
from deploykit.storage import migrations
from deploykit.storage.disk import full, has_no_room, is_full

FILE = "store.sqlite"
TABLES = """
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
#: Longest wait for another process that makes the file.
_MAKING_S = 30.0
#: Stands for bytes that are not text, in keys.
NO_TEXT = "\ufffd"


class Database:
    """A store's database. Thread-safe.

    No connection outlives the work it was opened for: each query opens one and closes it, and all between `hold`
    and `release` share one. So a reader of a store need not remember to close it.

    Args:
        folder: The store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / FILE
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._holders = 0

    def hold(self) -> None:
        """Keep one connection open for what is done until `release`, by any thread; may be nested.

        Raises:
            StoreError: The database cannot be opened; then there is nothing to release.
        """
        with self._lock:
            if self._connection is None:
                try:
                    self._connection = self._open()
                except (OSError, sqlite3.Error) as error:
                    raise failure(self.folder, error) from error
            self._holders += 1

    def release(self) -> None:
        """Close the connection unless another reader holds it."""
        with self._lock:
            self._holders -= 1
            if not self._holders and self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time.

        Raises:
            StoreError: SQLite cannot do what is asked.
        """
        with self._lock:
            self.hold()
            assert self._connection is not None
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise failure(self.folder, error) from error
            finally:
                self.release()

    def make(self, lock: Callable[[], AbstractContextManager[None]]) -> None:
        """Make the file when it is missing or empty: all of it, or nothing.

        The tables are made in a file beside it that then takes its place, so that no other process ever meets half a
        store, or the moment in which SQLite switches to its log, when it refuses all others without waiting.

        Args:
            lock: Opens the block in which this process alone writes.

        Raises:
            OSError: The file cannot be made.
            StoreError: SQLite cannot make it, or another process writes and has not made it either.
        """
        end = time.monotonic() + _MAKING_S
        with ExitStack() as stack:
            while not self._is_made():
                try:
                    stack.enter_context(lock())
                    break
                except StoreError as error:  # another process makes the file just now, however slow the machine is
                    waiting = isinstance(error.__cause__, TimeoutError) and time.monotonic() < end
                    if not waiting and not self._is_made():
                        raise
            if not self._is_made():
                self._make()

    def _is_made(self) -> bool:
        return self.file.is_file() and self.file.stat().st_size > 0

    def _make(self) -> None:
        new = self.folder / f"{FILE}.{os.getpid()}.tmp"
        _remove(new)
        try:
            with closing(sqlite3.connect(new, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(TABLES)
                connection.execute("INSERT INTO meta VALUES ('schema', ?)", (str(migrations.SCHEMA),))
            new.replace(self.file)
        except sqlite3.Error as error:
            raise failure(self.folder, error) from error
        finally:
            _remove(new)

    def check_schema(self, lock: Callable[[], Any] | None) -> None:
        """Bring an older store up to date, or say why it cannot be used.

        Args:
            lock: Opens the block in which this process alone writes; None: nothing may be changed.

        Raises:
            StoreError: Not a store, from a newer version, or from an older one that is not brought up to date here.
        """
        with self.connection() as connection:
            found = self._schema(connection)
            if not found:
                raise StoreError(f"{self.file} is not a deploykit store.", remedy="choose another path.")
            if int(found) > migrations.SCHEMA:
                raise StoreError(
                    f"The store {self.folder} has schema {found}; this version of deploykit reads schemas up to "
                    f"{migrations.SCHEMA}.",
                    remedy="upgrade deploykit, or use another store.",
                )
            if int(found) == migrations.SCHEMA:
                return
            if migrations.steps_from(int(found)) is None:
                raise StoreError(
                    f"The store {self.folder} was made by an older version of deploykit: it has schema {found}, this "
                    f"version uses {migrations.SCHEMA} and cannot bring it up to date.",
                    remedy="sweep into another store, or read this one with the version that made it.",
                )
            if lock is None:
                raise StoreError(
                    f"The store {self.folder} was made by an older version of deploykit: it has schema {found}, this "
                    f"version uses {migrations.SCHEMA}.",
                    remedy=f"deploykit clean {self.folder} --repair brings it up to date, and so does the next sweep "
                    "on it; finished work is kept.",
                )
            with lock():
                self._migrate(connection)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """All steps in one transaction, with the new number."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again: another process may have done it while this one waited for the lock.
            for step in migrations.steps_from(int(self._schema(connection) or migrations.SCHEMA)) or []:
                step(connection)
            connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(migrations.SCHEMA),))
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite has done it where the disk is full
                connection.execute("ROLLBACK")
            raise

    @staticmethod
    def _schema(connection: sqlite3.Connection) -> str:
        """The number in the database, "" when it is not a store."""
        if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]:
            return ""
        row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
        return str(row[0]) if row and str(row[0]).isdigit() else ""

    def _open(self) -> sqlite3.Connection:
        """A connection; as the file is where nothing can be written, for SQLite's log would need files beside it.

        Raises:
            StoreError: Nothing can be written, and the log of a sweep that was cut off holds what the database lacks.
        """
        database = _connect(f"{self.file.as_uri()}?mode=rw")
        try:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            database.close()
            if not self.file.is_file() or os.access(self.folder, os.W_OK):
                raise
            log = self.file.with_name(f"{self.file.name}-wal")
            if log.is_file() and log.stat().st_size:
                raise StoreError(
                    f"The store {self.folder} is read-only, and {log.name} holds rows that are not in {FILE} yet.",
                    remedy="copy the folder to a writable place and open the copy.",
                ) from None
            database = _connect(f"{self.file.as_uri()}?mode=ro&immutable=1")
        except BaseException:
            database.close()
            raise
        database.execute("PRAGMA synchronous=FULL")
        # A damaged key must not keep all the others from being read.
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")
        return database


def _remove(file: Path) -> None:
    """Remove a database with its log and what its readers share: where the disk is full, SQLite leaves them."""
    for suffix in ("", "-wal", "-shm"):
        file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, timeout=30, isolation_level=None, check_same_thread=False, uri=True)


def failure(path: Path, error: Exception) -> StoreError:
    """What an error of SQLite, or of the file system, means for a store."""
    text = str(error) or type(error).__name__
    read_only = isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    if read_only or _code(error) == sqlite3.SQLITE_READONLY:
        return StoreError(f"The store {path} is not writable: {text}.", remedy="choose a folder you can write to.")
    if is_full(error) or has_no_room(path):
        return full(f"the store {path}", text)
    if _code(error) == sqlite3.SQLITE_NOTADB:
        return StoreError(f"{path / FILE} is not a deploykit store: {text}.", remedy="choose another path.")
    if is_damage(error):
        return StoreError(
            f"The database {path / FILE} is damaged: {text}.",
            remedy=f"deploykit clean {path} --repair keeps what can be read; the next sweep redoes the rest.",
        )
    return StoreError(f"The store {path} cannot be used: {text}.", remedy="check the folder, or use another store.")


def is_damage(error: Exception) -> bool:
    """Whether SQLite has found the file damaged."""
    return _code(error) == sqlite3.SQLITE_CORRUPT


def _code(error: Exception) -> int | None:
    """SQLite's primary result code; None for other errors."""
    found = getattr(error, "sqlite_errorcode", None)
    return None if found is None else found & 0xFF

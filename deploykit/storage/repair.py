"""Keeping what can be read of a damaged store. The next sweep makes the rest again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

from deploykit.core.errors import NoStoreError
from deploykit.core.result import Result
from deploykit.storage.database import FILE, NO_TEXT, TABLES, Database, failure, is_damage
from deploykit.storage.migrations import KEYS, SCHEMA
from deploykit.storage.store import locked, sound


def repair(path: str | Path) -> tuple[str, ...]:
    """Drop what is damaged, and bring a store of an older version up to date.

    Args:
        path: The store's folder.

    Returns:
        What was dropped, in words: ``"rows 1f3c…"``; empty when nothing was damaged.

    Raises:
        StoreError: No store, a sweep is running on it, or it cannot be written.
    """
    folder = Path(path).expanduser().absolute()
    if not (folder / FILE).is_file():
        raise NoStoreError(f"No store at {str(path)!r}.", remedy="check the path.")
    with locked(folder):
        dropped = [] if _is_whole(folder) else _rebuild(folder)
        database = Database(folder)
        database.hold()
        try:
            dropped += _drop(database, rows_too=False)
            database.check_schema(nullcontext)
            dropped += _drop(database, rows_too=True)
        finally:
            database.release()
    return tuple(dropped)


def _is_whole(folder: Path) -> bool:
    """Whether SQLite finds the file in order."""
    try:
        with closing(sqlite3.connect(folder / FILE, timeout=30)) as database:
            return bool(database.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise failure(folder, error) from error
        return False


def _rebuild(folder: Path) -> list[str]:
    """Copy what can be read into a new file that takes the old one's place."""
    new = folder / f"{FILE}.{os.getpid()}.tmp"
    new.unlink(missing_ok=True)
    lost: list[str] = []
    try:
        with closing(sqlite3.connect(folder / FILE, timeout=30)) as old, closing(sqlite3.connect(new)) as copy:
            copy.executescript(TABLES)
            schema = [str(value) for _key, value in _readable(old, "meta", ("key",), lost) if _key == "schema"]
            copy.execute("INSERT INTO meta VALUES ('schema', ?)", (*schema, str(SCHEMA))[:1])
            for table, keys in KEYS.items():
                for row in _readable(old, table, keys, lost):
                    marks = ", ".join("?" * len(row))
                    copy.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)  # noqa: S608  our own names
            copy.commit()
            copy.execute("PRAGMA journal_mode=WAL")
        for suffix in ("-wal", "-shm"):
            (folder / f"{FILE}{suffix}").unlink(missing_ok=True)
        new.replace(folder / FILE)
    except (OSError, sqlite3.Error) as error:
        raise failure(folder, error) from error
    finally:
        new.unlink(missing_ok=True)
    return lost or [f"empty pages of {FILE}"]


def _readable(old: sqlite3.Connection, table: str, keys: tuple[str, ...], lost: list[str]) -> Iterator[tuple[Any, ...]]:
    """Rows from both ends of a table up to the page that cannot be read."""
    old.text_factory = lambda raw: raw.decode("utf-8", "replace")
    for way in ("ASC", "DESC"):
        order = ", ".join(f"{key} {way}" for key in keys)
        try:
            yield from old.execute(f"SELECT * FROM {table} ORDER BY {order}")  # noqa: S608  our own names
        except sqlite3.DatabaseError:
            if way == "ASC":
                lost.append(f"{table} that SQLite cannot read")
        else:
            return


def _drop(database: Database, *, rows_too: bool) -> list[str]:
    """Drop rows whose key is not text or whose data are not JSON; ``rows_too``: also those that are not report rows."""
    dropped = []
    with database.connection() as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for table, keys in KEYS.items():
                # Columns as bytes: a damaged key cannot be asked for as text.
                casts = ", ".join(f"CAST({key} AS BLOB)" for key in keys)
                named = " AND ".join(f"CAST({key} AS BLOB) = ?" for key in keys)
                damaged = []
                for *where, data in connection.execute(f"SELECT {casts}, data FROM {table}"):  # noqa: S608  our own names
                    words = [bytes(part).decode("utf-8", "replace") for part in where]
                    if any(NO_TEXT in word for word in words) or not _is_sound(table, data, rows_too=rows_too):
                        damaged.append(where)
                        dropped.append(" ".join((table, *(words if table != "rows" else words[1:]))))
                connection.executemany(f"DELETE FROM {table} WHERE {named}", damaged)  # noqa: S608
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
    return dropped


def _is_sound(table: str, data: Any, *, rows_too: bool) -> bool:
    import msgspec

    if table == "launches":
        return sound(data) is not None
    if table == "rows" and rows_too:
        try:
            msgspec.json.decode(data, type=Result)
        except (ValueError, TypeError):
            return False
    return isinstance(sound(data), dict)

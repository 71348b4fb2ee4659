"""What a monitor remembers: alarms, states of detectors, predictions that wait for their labels, and a history.

In a folder it is one SQLite file, so that it survives a restart; without one it lives as long as the server.
"""

from __future__ import annotations

import contextlib
import glob
import json
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deploykit.core.errors import StoreError
from deploykit.core.serial import dump
from deploykit.monitoring.operation.alarms import Alarm
from deploykit.storage.disk import is_full

FILE = "monitor.sqlite"
_SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS alarms (kind TEXT, model TEXT, version TEXT, subject TEXT, since REAL, ended REAL, data TEXT,
                                   PRIMARY KEY (kind, model, version, subject, since)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states (name TEXT PRIMARY KEY, at REAL, data BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS predictions (model TEXT, id TEXT, version TEXT, at REAL, data TEXT, copied INTEGER,
                                        PRIMARY KEY (model, id, version)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS predictions_at ON predictions (at);
CREATE TABLE IF NOT EXISTS history (name TEXT, at REAL, data TEXT, PRIMARY KEY (name, at)) WITHOUT ROWID;
"""
#: So many predictions wait for their labels, and so many points of a history are kept; older ones go.
MOST_PREDICTIONS, MOST_POINTS = 200_000, 2_000
#: Every so many additions it is looked whether something must go.
_TIDY_EVERY = 1_000
#: The largest state that is read back.
_MOST_STATE_BYTES = 4 << 20


class Prediction(NamedTuple):
    """What a version predicted for a request.

    Attributes:
        version: The version.
        at: When, seconds since 1970.
        data: What, as JSON; None: it failed.
        copied: Whether it is a shadow, and another version answered.
    """

    version: str
    at: float
    data: Any
    copied: bool


class Book:
    """Remembers. Thread-safe.

    Args:
        folder: Where; None: in memory.

    Raises:
        StoreError: The folder cannot be written, or what is there is not a monitor's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._added = 0
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                ":memory:" if folder is None else folder / FILE, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"A monitor cannot keep its records in {folder}: {error}.",
                remedy="choose a folder that can be written.",
            ) from error
        # One that is only dropped leaves no file open; a process that was forked from this one must not close it.
        self._closing = weakref.finalize(self, self._database.close)
        self._closing.atexit = False
        with self._working() as database:
            if folder is not None:
                database.execute("PRAGMA journal_mode=WAL")
                database.execute("PRAGMA synchronous=NORMAL")
            found = database.execute("PRAGMA user_version").fetchone()[0]
            others = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if found > _SCHEMA or (others and not found):
                raise StoreError(
                    f"{folder} holds a file {FILE} that this version of deploykit cannot use.",
                    remedy="choose another folder, or upgrade deploykit.",
                )
            database.executescript(_TABLES)
            database.execute(f"PRAGMA user_version={_SCHEMA}")

    def close(self) -> None:
        """Close it."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._closing()

    @contextlib.contextmanager
    def _working(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._database
            except sqlite3.Error as error:
                where = "in memory" if self.folder is None else f"in {self.folder}"
                if is_full(error):
                    raise StoreError(
                        f"The monitor's records {where} cannot grow: {error}.",
                        remedy="free some space; the server continues, and so does the monitor, in memory alone.",
                    ) from error
                raise StoreError(
                    f"The monitor's records {where} cannot be used: {error}.",
                    remedy="move the folder away, or choose another one.",
                ) from error

    # -- alarms -------------------------------------------------------------------------------------------------------

    def put(self, alarm: Alarm) -> None:
        """Write an alarm, or what has become of it."""
        with self._working() as database:
            database.execute(
                "INSERT OR REPLACE INTO alarms VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*alarm.key, alarm.since, alarm.ended, dump(alarm).decode()),
            )

    def alarms(self, *, ongoing: bool = False) -> list[Alarm]:
        """All alarms, or those that last, the newest last."""
        with self._working() as database:
            rows = database.execute(
                f"SELECT data FROM alarms {'WHERE ended IS NULL' if ongoing else ''} ORDER BY since"  # noqa: S608  constant
            ).fetchall()
        return [Alarm.from_json(json.loads(row[0])) for row in rows]

    # -- states -------------------------------------------------------------------------------------------------------

    def save(self, name: str, state: Mapping[str, Any], at: float) -> None:
        """Keep the state of something, in place of its last one."""
        with self._working() as database:
            database.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", (name, at, dump(state)))

    def state(self, name: str) -> dict[str, Any] | None:
        """A state that was kept; None if there is none."""
        with self._working() as database:
            row = database.execute("SELECT data FROM states WHERE name = ?", (name,)).fetchone()
        if row is None or len(row[0]) > _MOST_STATE_BYTES:
            return None
        found = json.loads(row[0])
        return found if isinstance(found, dict) else None

    # -- predictions --------------------------------------------------------------------------------------------------

    def predicted(self, model: str, version: str, at: float, answers: Iterable[tuple[str, Any, bool]]) -> None:
        """Keep predictions until their labels come.

        Args:
            model: Name of the model.
            version: Its version.
            at: When they were given.
            answers: Request id, what was predicted, as JSON (None: it failed), and whether it is a shadow's.
        """
        rows = [(model, request, version, at, dump(data).decode(), copied) for request, data, copied in answers]
        with self._working() as database:
            database.execute("BEGIN")
            database.executemany("INSERT OR REPLACE INTO predictions VALUES (?, ?, ?, ?, ?, ?)", rows)
            database.execute("COMMIT")
        self._tidy(len(rows))

    def take(self, model: str, request: str) -> list[Prediction]:
        """What was predicted for a request, which is then forgotten: by what answered, then by its shadow.

        Empty as long as what answered is not known; a shadow's worker may tell of it sooner.
        """
        with self._working() as database:
            rows = database.execute(
                "SELECT version, at, data, copied FROM predictions WHERE model = ? AND id = ? ORDER BY copied",
                (model, request),
            ).fetchall()
            if not rows or rows[0][3]:
                return []
            database.execute("DELETE FROM predictions WHERE model = ? AND id = ?", (model, request))
        return [Prediction(version, at, json.loads(data), bool(copied)) for version, at, data, copied in rows]

    @property
    def waiting(self) -> int:
        """How many predictions wait for their labels."""
        with self._working() as database:
            return int(database.execute("SELECT count(*) FROM predictions").fetchone()[0])

    def keep_example(self, name: str, example: Mapping[str, Any], most: int) -> None:
        """Keep an example beside the records, in a folder ``examples``, unless there are so many already.

        Args:
            name: Of whose examples it is one.
            example: Values by input name, batch first.
            most: How many are kept.

        Raises:
            StoreError: It cannot be written.
        """
        import numpy as np

        if self.folder is None:
            return
        folder = self.folder / "examples"
        try:
            folder.mkdir(exist_ok=True)
            number = len(list(folder.glob(f"{glob.escape(name)}-*.npz")))
            if number < most:
                arrays: dict[str, Any] = {input_name: np.asarray(values) for input_name, values in example.items()}
                np.savez_compressed(folder / f"{name}-{number:04d}.npz", **arrays)
        except OSError as error:
            raise StoreError(f"An example cannot be kept in {folder}: {error.strerror}.") from error

    # -- history ------------------------------------------------------------------------------------------------------

    def note(self, name: str, at: float, data: Mapping[str, Any]) -> None:
        """Add a point to a history."""
        with self._working() as database:
            database.execute("INSERT OR REPLACE INTO history VALUES (?, ?, ?)", (name, at, dump(data).decode()))
        self._tidy(1)

    def history(self, name: str, since: float = 0.0) -> Sequence[dict[str, Any]]:
        """Points of a history in their order, each with its time as ``at``."""
        with self._working() as database:
            rows = database.execute(
                "SELECT at, data FROM history WHERE name = ? AND at >= ? ORDER BY at", (name, since)
            ).fetchall()
        return [{"at": at, **json.loads(data)} for at, data in rows]

    def all_history(self) -> dict[str, list[dict[str, Any]]]:
        """All histories by name."""
        with self._working() as database:
            names = [row[0] for row in database.execute("SELECT DISTINCT name FROM history ORDER BY name")]
        return {name: list(self.history(name)) for name in names}

    def _tidy(self, added: int) -> None:
        self._added += added
        if self._added < _TIDY_EVERY:
            return
        self._added = 0
        with self._working() as database:
            database.execute(
                "DELETE FROM predictions WHERE (model, id) IN "
                "(SELECT model, id FROM predictions ORDER BY at DESC LIMIT -1 OFFSET ?)", (MOST_PREDICTIONS,),
            )  # fmt: skip
            for (name,) in database.execute("SELECT DISTINCT name FROM history").fetchall():
                database.execute(
                    "DELETE FROM history WHERE name = ? AND at < "
                    "(SELECT at FROM history WHERE name = ? ORDER BY at DESC LIMIT 1 OFFSET ?)",
                    (name, name, MOST_POINTS),
                )

"""The store of sweeps: a folder with one SQLite database and the files its rows name.

One process writes at a time (it holds ``store.lock``); any number may read. Every finished step and every launch is
committed at once with ``synchronous=FULL``, so that a killed process loses only what it was just doing. Rows are
also committed at once, and reach the disk with the next step or launch: a power failure may cost the latest ones, which
the next sweep makes again from what they were made of.

::

    STORE/
      store.sqlite          sweeps, steps, evaluations, launches, rows
      data/<digest>/        the data, as children map them
      steps/<key>/          one artifact for each build step
      outputs/<key>.npy     outputs on a split
      reference/<key>/      some examples, and what the original model answers
      logs/                 what children wrote

Data, outputs and logs are for their owner's eyes only. What cannot be read back is left out, named in `Store.damaged`,
and made again by the next sweep; `deploykit.storage.repair` drops it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploykit.core.errors import NoStoreError, StoreError
from deploykit.core.result import Result
from deploykit.core.serial import dump, parse
from deploykit.storage.database import FILE, NO_TEXT, Database, failure
from deploykit.storage.disk import full, has_no_room, make_private, private_folder
from deploykit.storage.rows import Rows

#: Folders with what people have given, and what was computed from it.
_PRIVATE = ("data", "outputs", "logs", "reference")


class Store:
    """A store. Holds no connection between calls, except inside ``with store:`` and ``with store.writer():``.

    Args:
        path: The folder.
        create: Make it when it does not exist, and bring it up to date when an older version made it.

    Attributes:
        damaged: What could not be read back so far, in words (``"rows 1f3c…"``).

    Raises:
        StoreError: Missing, not a store, from a newer or an older version, or not writable.
    """

    def __init__(self, path: str | Path, *, create: bool = False) -> None:
        self.path = Path(path).expanduser().absolute()
        if not create and not (self.path / FILE).is_file():
            raise NoStoreError(
                f"No store at {str(path)!r}.", remedy="check the path; a sweep with store=… (--store) creates one."
            )
        if os.path.lexists(self.path / FILE) and not (self.path / FILE).is_file():
            raise StoreError(f"{self.path / FILE} is not a regular file.", remedy="choose another path.")
        if create and self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file; a store is a folder.", remedy="choose another path.")
        self.damaged: dict[str, None] = {}
        self._database = Database(self.path)
        try:
            if create:
                self.path.mkdir(parents=True, exist_ok=True)
                (self.path / "steps").mkdir(exist_ok=True)
                for folder in _PRIVATE:
                    private_folder(self.path / folder)
                self._database.make(self._locked)
            self._database.check_schema(self._locked if create else None)
        except OSError as error:
            raise failure(self.path, error) from error

    # -- whose it is ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Keep one connection open for what is read and written inside; blocks may be nested, in any thread."""
        self._database.hold()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, when this is the outermost block."""
        self._database.release()

    @contextmanager
    def writer(self) -> Iterator[Self]:
        """Hold the store for writing; what is unfinished, also of a process that was killed, is removed at the end.

        Raises:
            StoreError: Another process holds it.
        """
        with self._locked(), self:
            try:
                yield self
            finally:
                for left in [*self.path.glob("steps/*.tmp"), *self.path.glob("data/*.tmp")]:
                    shutil.rmtree(left, ignore_errors=True)
                for part in self.path.glob(f"{FILE}.*.tmp*"):
                    part.unlink(missing_ok=True)

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.path)

    # -- records: build steps and evaluations -----------------------------------------------------------------------

    def record(self, kind: str, key: str) -> dict[str, Any] | None:
        """A finished step or evaluation, None when there is none."""
        found = self._all("SELECT key, data FROM records WHERE kind = ? AND key = ?", (kind, key))
        return self._read(f"records {kind}", found).get(key)

    def put_record(self, kind: str, key: str, data: dict[str, Any]) -> None:
        """Commit a finished step or evaluation."""
        self._write("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (kind, key, dump(data)))

    def records(self, kind: str) -> dict[str, dict[str, Any]]:
        """All records of a kind."""
        return self._read(f"records {kind}", self._all("SELECT key, data FROM records WHERE kind = ?", (kind,)))

    # -- launches ---------------------------------------------------------------------------------------------------

    def launches(self, series: str) -> dict[int, Any]:
        """Launches of one group of sessions by number, plain data; none after one that is damaged or was dropped."""
        found = self._all("SELECT number, data FROM launches WHERE series = ? ORDER BY number", (series,))
        read = self._read(f"launches {series}", found, object)
        return {number: read[number] for number in takewhile(read.__contains__, count())}

    def put_launch(self, series: str, number: int, data: Any) -> None:
        """Commit a launch."""
        self._write("INSERT OR REPLACE INTO launches VALUES (?, ?, ?)", (series, number, dump(data)))

    # -- sweeps and rows --------------------------------------------------------------------------------------------

    def put_sweep(self, context: str, data: dict[str, Any]) -> None:
        """Commit the facts of a sweep: model, data, metric, goal, baseline."""
        newest = "max(?, (SELECT ifnull(max(updated), 0) + 1e-6 FROM sweeps))"  # the clock may have been set back
        self._write(f"INSERT OR REPLACE INTO sweeps VALUES (?, {newest}, ?)", (context, time.time(), dump(data)))  # noqa: S608

    def sweep(self, context: str | None = None) -> tuple[str, dict[str, Any]] | None:
        """A sweep's context and facts; the latest one that can be read by default."""
        query = "SELECT context, data FROM sweeps"
        if context is not None:
            found = self._read("sweeps", self._all(f"{query} WHERE context = ?", (context,)))
            return (context, found[context]) if found else None
        with self:
            for place in count():
                latest = self._all(f"{query} ORDER BY updated DESC LIMIT 1 OFFSET ?", (place,))
                if not latest:
                    return None
                if found := self._read("sweeps", latest):
                    return next(iter(found.items()))
        return None

    def sweeps(self) -> dict[str, dict[str, Any]]:
        """Facts of all sweeps by context, the latest first."""
        return self._read("sweeps", self._all("SELECT context, data FROM sweeps ORDER BY updated DESC", ()))

    def put_row(self, context: str, place: int, row: Result) -> None:
        """Commit a row."""
        values = (context, row.key, place, dump(row))
        with self._database.connection() as database:
            database.execute("PRAGMA synchronous=NORMAL")
            try:
                database.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", values)
            finally:
                database.execute("PRAGMA synchronous=FULL")

    def rows(self, context: str) -> Rows:
        """All rows of a sweep in their order; they can be read when the store is closed."""
        with self:
            found = self._all("SELECT key FROM rows WHERE context = ? ORDER BY place, key", (context,))
            return Rows([key for (key,) in found], partial(self._packed, context))

    def _packed(self, context: str, keys: Sequence[str]) -> dict[str, bytes]:
        """Rows as they are stored."""
        if not keys:
            return {}
        places = ", ".join("?" * len(keys))
        return dict(
            self._all(f"SELECT key, data FROM rows WHERE context = ? AND key IN ({places})", (context, *keys))  # noqa: S608
        )

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
            if final.relative_to(self.path).parts[0] in _PRIVATE:
                make_private(temporary)
            if final.is_dir():
                shutil.rmtree(final)
            temporary.replace(final)
        except OSError as error:
            raise failure(self.path, error) from error

    def check_room(self) -> None:
        """Raise when the disk is full: libraries report that in many ways, or as something else.

        Raises:
            StoreError: There is hardly any room left.
        """
        if has_no_room(self.path):
            raise full(f"the store {self.path}")

    # -- queries ----------------------------------------------------------------------------------------------------

    def _all(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._database.connection() as database:
            return database.execute(query, values).fetchall()

    def _write(self, query: str, values: tuple[Any, ...]) -> None:
        with self._database.connection() as database:
            database.execute(query, values)

    def _read(self, what: str, found: list[tuple[Any, Any]], kind: type[Any] = dict) -> dict[Any, Any]:
        """Plain data by key; what is damaged is left out and named."""
        read = {}
        for key, packed in found:
            data = sound(packed)
            if data is not None and isinstance(data, kind) and NO_TEXT not in str(key):
                read[key] = data
            else:
                self.damaged[f"{what} {key}"] = None
        return read


def sound(packed: Any) -> Any:
    """Plain data of bytes from the database, None when they are damaged."""
    try:
        return parse(packed)
    except (ValueError, TypeError):
        return None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only process that writes to a store.

    Raises:
        StoreError: Another process does.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(str(path / "store.lock"))
    try:
        lock.acquire(timeout=0.2)
    except Timeout as error:
        raise StoreError(
            f"Another sweep is running on {path}.", remedy="wait for it to finish, or use another store."
        ) from error
    except OSError as error:
        raise failure(path, error) from error
    try:
        yield
    finally:
        lock.release()

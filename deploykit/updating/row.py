"""Where an update stands: one row in an SQLite file beside the versions, written whole or not at all."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from deploykit.core.errors import SettingError, StoreError
from deploykit.core.serial import Plain, dump, parse
from deploykit.updating.evidence import TrialEvidence

UpdateStep = Literal[
    "watching", "alarmed", "optimizing", "candidate", "shadow", "canary", "promoted", "rolled_back"
]  # fmt: skip
FILE = "update.sqlite"
#: Lines of its history that are kept.
_MOST_LINES = 200


@dataclass(frozen=True)
class UpdateState(Plain):
    """Where an update stands. True when nothing is left to do until the next alarm.

    Attributes:
        step: ``"watching"``, ``"alarmed"``, ``"optimizing"``, ``"candidate"`` (built, before its gate), ``"shadow"``,
            ``"canary"``, ``"promoted"`` (the version before is still loaded) or ``"rolled_back"``.
        run: Number of the update, from 1.
        waits: What it waits for, in words; "" for nothing but the next call.
        allowed: Steps of this run that a person has allowed.
        alarm: What the alarm said.
        handled: Identity of the alarm that was acted on: it starts no other run until it has changed.
        incumbent: Digest of what answered when the run began.
        attempt: ``"recalibrate"``, ``"recipe"`` or ``"sweep"``.
        tried: Attempt → why it was not enough.
        candidate: Digest of the candidate.
        number: Its version.
        gate: What its gate found, plain form of a `Comparison`.
        before: Counts that the servers had when the trial began.
        evidence: What the trial has shown.
        history: What has happened: time, step and a sentence.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> versions = dk.Versions("exported/updated")
        >>> number = versions.add(dk.export(built, "exported/today", overwrite=True))
        >>> state = dk.update("exported/updated", alarm=False, model=model, data=data)
        >>> state.step, bool(state)
        ('watching', True)
    """

    step: UpdateStep = "watching"
    run: int = 0
    waits: str = ""
    allowed: tuple[str, ...] = ()
    alarm: dict[str, Any] = field(default_factory=dict)
    handled: str = ""
    incumbent: str = ""
    attempt: str = ""
    tried: dict[str, str] = field(default_factory=dict)
    candidate: str = ""
    number: int = 0
    gate: dict[str, Any] | None = None
    before: dict[str, dict[str, int]] = field(default_factory=dict)
    evidence: TrialEvidence | None = None
    history: tuple[tuple[float, str, str], ...] = ()

    def __bool__(self) -> bool:
        return self.step == "watching"

    def now(self, step: UpdateStep, why: str, **changes: Any) -> UpdateState:
        """The state after a step, with a line of history."""
        line = (round(time.time(), 3), step, why)
        return replace(self, step=step, waits="", history=(*self.history, line)[-_MOST_LINES:], **changes)

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What is known, as pairs of a heading and a sentence."""
        found = [("step", f"{self.step.replace('_', ' ')}{f', run {self.run}' if self.run else ''}")]
        if self.waits:
            found.append(("waits", self.waits))
        if self.candidate:
            found.append(("candidate", f"version {self.number}, sha256 {self.candidate[:12]}, by {self.attempt}"))
        found += [(attempt, why) for attempt, why in self.tried.items()]
        if self.evidence is not None:
            found.append(("trial", str(self.evidence)))
        if self.history:
            found.append(("last", self.history[-1][2]))
        return found

    def __str__(self) -> str:
        return "\n".join(f"{heading:<12}{text}" for heading, text in self.lines)

    def _repr_html_(self) -> str:
        from deploykit.core import tables

        return tables.card("Update", self.step.replace("_", " "), tables.table(("what", ""), self.lines))


class UpdateRow:
    """The row. One process at a time changes it: the one that holds the lock of the folder.

    Args:
        folder: The folder of the versions.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    def read(self) -> UpdateState:
        """What it says; a new state where there is none.

        Raises:
            StoreError: It cannot be read.
        """
        if not self._file.exists():
            return UpdateState()
        try:
            with closing(self._open()) as database:
                there = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone()
                found = there and database.execute("SELECT data FROM state WHERE id = 1").fetchone()
            return UpdateState() if found is None else UpdateState.from_json(parse(found[0]))
        except (sqlite3.Error, SettingError, ValueError) as error:
            raise StoreError(
                f"{self._file} cannot be read: {error}.",
                remedy="move it away: the versions stay as they are, and a new run begins with the next alarm.",
            ) from error

    def write(self, state: UpdateState) -> UpdateState:
        """Replace it.

        Raises:
            StoreError: It cannot be written; the old row stays.
        """
        try:
            with closing(self._open()) as database, database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY CHECK (id = 1), updated REAL NOT NULL, "
                    "data BLOB NOT NULL)"
                )
                database.execute(
                    "INSERT INTO state (id, updated, data) VALUES (1, ?, ?) "
                    "ON CONFLICT (id) DO UPDATE SET updated = excluded.updated, data = excluded.data",
                    (time.time(), dump(state)),
                )
        except sqlite3.Error as error:
            raise StoreError(f"{self._file} cannot be written: {error}.", remedy="check the disk.") from error
        return state

    def _open(self) -> sqlite3.Connection:
        """A connection that waits for others.

        It does not ask for a write-ahead log: while the last other connection closes, SQLite refuses that at once.
        """
        database = sqlite3.connect(self._file, timeout=30.0)
        try:
            database.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error:
            database.close()
            raise
        return database

"""What has been measured so far, kept in a file if there is one, and the rows that are made of it."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deploykit.core.errors import DeploykitError, SettingError
from deploykit.core.files import read_small, replace_whole
from deploykit.core.result import Failure, Interval
from deploykit.core.serial import Plain, dump, from_plain, parse
from deploykit.measuring.statistics import t_interval
from deploykit.serving.tuning.grid import TuningPoint
from deploykit.serving.tuning.measuring import Inside, Round
from deploykit.serving.tuning.rows import TuningRow

_MOST_BYTES = 64 << 20


@dataclass
class Note(Plain):
    """What is known of a point.

    Attributes:
        point: The point.
        rounds: Its rounds in the search.
        again: Its rounds in turns with others, before the choice; if there are some, they alone count.
        inside: Where the time went.
        failure: Why it could not be measured.
    """

    point: TuningPoint
    rounds: list[Round] = field(default_factory=list)
    again: list[Round] = field(default_factory=list)
    inside: Inside | None = None
    failure: Failure | None = None

    @property
    def counted(self) -> list[Round]:
        """The rounds that count."""
        return self.again or self.rounds


class Notes:
    """Rounds by point, in the order of measuring.

    Args:
        key: What is measured, and where: a file with another key is begun again.
        path: The file; None: nothing is kept.

    Raises:
        SettingError: There is another file at that path.
    """

    def __init__(self, key: str, path: str | Path | None = None) -> None:
        self._key = key
        self._path = None if path is None else Path(path).absolute()
        self._notes: dict[TuningPoint, Note] = {}
        self._kept: dict[TuningPoint, Note] = {}
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                self._kept = self._read(self._path)

    @property
    def rounds(self) -> int:
        """Rounds that were measured, in earlier runs as well."""
        return sum(len(note.rounds) + len(note.again) for note in self._notes.values())

    def recall(self, point: TuningPoint) -> bool:
        """Whether an earlier run has noted a point, which counts from now on."""
        if point in self._kept:
            self._notes[point] = self._kept.pop(point)
        return point in self._notes

    def measured(self, point: TuningPoint, rounds: list[Round], inside: Inside) -> None:
        """Note what the search has found."""
        self._notes[point] = Note(point, rounds, inside=inside)
        self._write()

    def again(self, point: TuningPoint, one: Round) -> None:
        """Note a round in turns with others."""
        self._notes.setdefault(point, Note(point)).again.append(one)

    def failed(self, point: TuningPoint, error: DeploykitError) -> None:
        """Note why a point cannot be measured."""
        note = self._notes.setdefault(point, Note(point))
        note.failure = Failure("serving", type(error).__name__, error.message, error.remedy, error.log)

    def rate(self, point: TuningPoint) -> float:
        """About how many requests per second there are at a point; 0 when it is not known."""
        note = self._notes.get(point)
        return _value([r.rate for r in note.counted]).value if note and note.counted else 0.0

    def p99_ms(self, point: TuningPoint) -> float:
        """About what p99 is at a point; infinite when it is not known."""
        note = self._notes.get(point)
        return _value([r.p99_ms for r in note.counted]).value if note and note.counted else math.inf

    def memory_bytes(self, point: TuningPoint) -> int:
        """Memory of the workers at a point; 0 when it is not known."""
        note = self._notes.get(point)
        return note.inside.memory_bytes if note and note.inside else 0

    def rows(self) -> tuple[TuningRow, ...]:
        """A row for each point."""
        return tuple(map(_row, self._notes.values()))

    def _read(self, path: Path) -> dict[TuningPoint, Note]:
        try:
            data = parse(read_small(path, _MOST_BYTES, "what was measured", SettingError))
            if data["key"] != self._key:
                return {}
            return {note.point: note for note in from_plain(list[Note], data["notes"]) if note.rounds}
        except (ValueError, TypeError, KeyError, SettingError) as error:
            raise SettingError(
                f"{path} does not hold what an earlier run has measured: {error}", remedy="give another file."
            ) from error

    def _write(self) -> None:
        if self._path is None:
            return
        notes = [note for note in (*self._notes.values(), *self._kept.values()) if note.rounds and not note.failure]
        notes = [replace(note, again=[]) for note in notes]
        with contextlib.suppress(OSError):  # a full disk does not end the work
            replace_whole(self._path, dump({"key": self._key, "notes": notes}))


def _row(note: Note) -> TuningRow:
    point, rounds, inside = note.point, note.counted, note.inside
    if note.failure is not None or not rounds:
        return TuningRow(point.source, point.settings, point.concurrency, failure=note.failure)
    facts: dict[str, Any] = {}
    if inside is not None:
        facts = {"stages_ms": inside.stages_ms, "batch": inside.batch, "memory_bytes": inside.memory_bytes}
    return TuningRow(
        point.source,
        point.settings,
        point.concurrency,
        rate=_value([r.rate for r in rounds]),
        p50_ms=_value([r.p50_ms for r in rounds]),
        p99_ms=_value([r.p99_ms for r in rounds]),
        rounds=len(rounds),
        confirmed=bool(note.again),
        requests=sum(r.requests for r in rounds),
        cpu_us=sum(r.cpu_us * r.requests for r in rounds) / sum(r.requests for r in rounds),
        sender_cpu=max(r.sender_cpu for r in rounds),
        **facts,
    )


def _value(values: list[float]) -> Interval:
    """Geometric mean, with a t-interval over the rounds' logarithms: what disturbs a round multiplies."""
    found = t_interval([math.log(value) for value in values])
    most = 50.0  # a single round says nothing of the spread; its interval is still a number
    return Interval(math.exp(found.value), math.exp(max(found.low, -most)), math.exp(min(found.high, most)))

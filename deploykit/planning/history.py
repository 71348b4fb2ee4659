"""How long work has taken on this machine: what the expected time of a plan rests on.

Every sweep adds what it has done to one small file of the user (``durations.json`` in deploykit's cache folder), so
that the next plan, of the same model or of another one, knows what a conversion, an evaluation or a launch costs here.
"""

from __future__ import annotations

import contextlib
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deploykit.core.digest import json_digest
from deploykit.core.files import cache_folder, replace_whole
from deploykit.core.serial import Plain, dump, from_plain, parse
from deploykit.measuring.environment import core_count, cpu_features
from deploykit.planning import arithmetic
from deploykit.sandbox.groups._contract import costs_of

#: ``start``: importing a group's frameworks; ``step``: one build step; ``evaluation``: all examples on a runtime;
#: ``session``: one session in one launch; ``launches``: launches made for each one that was asked for; ``profile``:
#: where the time of one artifact goes.
Kind = Literal["start", "step", "evaluation", "session", "launches", "profile"]
#: The step that reads and runs the original model.
GIVEN = "given"
#: How an estimate is known, best first.
How = Literal["this model", "other models", "typical"]

_VERSION = 2
#: Entries kept of one unit of work of one model, and altogether.
_EACH, _ALL = 5, 4000
#: With the model's size, work grows less than in proportion: much of it is start-up.
_GROWTH = 0.6
#: Of more candidates than these, only those near the front get all launches: a share that falls by this power.
_FEW, _CROWD = 6, 0.3
#: Parameters that a model without any seems to have.
_SMALL = 50_000
_SCALES = (0.1, 30.0)

#: Launches made for each one that was asked for, and the candidates they were counted with.
_LAUNCHES: dict[str, tuple[float, int]] = {
    "full": (1.3, 0),
    "screened": (0.85, _FEW),
    "full, all cores": (1.4, 0),
    "screened, all cores": (1.0, _FEW),
}
#: Weights of the model that typical costs of import groups are stated for.
_TYPICAL_PARAMETERS = 200_000


@dataclass(frozen=True)
class Unit(Plain):
    """A unit of work, as its duration depends on it.

    Attributes:
        kind: What it is.
        name: Adapter and variant, runtime, or import group.
        group: Import group of its child.
        settings: Digest of its parameters, "" when it has none.
        model: Digest of the original model, "" for start-up.
        parameters: Number of the model's weights.
        examples: Examples it works through; 0 when it reads no data.
        layers: Number of the model's layers, 0 when they are not known.
        work: Multiplications for one example, see `deploykit.planning.arithmetic.work`.
    """

    kind: Kind
    name: str
    group: str = "light"
    settings: str = ""
    model: str = ""
    parameters: int = 0
    examples: int = 0
    layers: int = 0
    work: int = 0

    @property
    def identity(self) -> str:
        """Name of a unit that a sweep does once: importing a group's frameworks."""
        return f"{self.kind} {self.name}"

    @property
    def predicted(self) -> float | None:
        """Seconds by what the model computes, None when that is not known."""
        if not (self.layers and self.work):
            return None
        kind = "evaluation" if self.name == GIVEN else self.kind  # it is run on some examples
        return arithmetic.seconds(kind, self.group, self.layers, self.work, self.examples)


@dataclass(frozen=True)
class Duration(Plain):
    """A duration.

    Attributes:
        machine: Digest of the machine it was measured on.
        unit: What took so long.
        seconds: Time in the child; a ratio for ``launches``.
        size_bytes: Size of what a build step made.
        when: Seconds since 1970.
    """

    machine: str
    unit: Unit
    seconds: float
    size_bytes: int = 0
    when: float = 0.0


@dataclass(frozen=True)
class Guess:
    """An expected duration, and how it is known."""

    seconds: float
    how: How


class History:
    """Durations of this user on this machine. Not thread-safe.

    Args:
        path: The file; None: the one in deploykit's cache folder.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_folder() / "durations.json"
        self.machine = _machine()
        self._entries = [e for e in _read(self.path) if e.machine == self.machine]
        self._named: dict[tuple[str, str], list[Duration]] = {}
        for entry in self._entries:
            self._named.setdefault((entry.unit.kind, entry.unit.name), []).append(entry)
        self._guessed: dict[Unit, Guess] = {}

    def expect(self, unit: Unit) -> Guess:
        """How long a unit will take."""
        if unit not in self._guessed:
            self._guessed[unit] = self._expect(unit)
        return self._guessed[unit]

    def _expect(self, unit: Unit) -> Guess:
        known = self._named.get((unit.kind, unit.name), [])
        if unit.kind == "launches":
            return self._launches(unit, known)
        own = [e for e in known if e.unit.model == unit.model]
        exact = [e for e in own if e.unit.settings == unit.settings]
        for found, how in ((exact, "this model"), (own, "this model"), (known, "other models")):
            if found:
                seconds = statistics.median(_scaled(e.seconds, e.unit, unit) for e in found[-_EACH:])
                return Guess(seconds, how)  # type: ignore[arg-type]  # both are literals
        return self._typical(unit)

    def _launches(self, unit: Unit, known: list[Duration]) -> Guess:
        """The mean of all, not the median of the like: whether the host is noisy and adds some is chance each time."""
        typical = self._typical(unit)
        if not known:
            return typical
        latest = [_scaled(e.seconds, e.unit, unit) for e in known[-_EACH:]]
        mean = statistics.fmean([*latest, typical.seconds])
        return Guess(mean, "this model" if any(e.unit.model == unit.model for e in known) else "other models")

    def _typical(self, unit: Unit) -> Guess:
        if (predicted := unit.predicted) is not None:
            return Guess(predicted, "typical")
        seconds, examples = _usual(unit)
        like = Unit(unit.kind, "", parameters=_TYPICAL_PARAMETERS, examples=examples)
        return Guess(_scaled(seconds, like, unit), "typical")

    def size_bytes(self, unit: Unit) -> int | None:
        """Size of what a build step makes of this model, None when it was not made yet."""
        known = self._named.get((unit.kind, unit.name), [])
        own = [e for e in known if e.size_bytes and e.unit.model == unit.model]
        exact = [e for e in own if e.unit.settings == unit.settings] or own
        return round(statistics.median(e.size_bytes for e in exact)) if exact else None


class Recorder:
    """Collects the durations of a sweep. Thread-safe: adding to a list is."""

    def __init__(self) -> None:
        self._entries: list[Duration] = []

    def note(self, unit: Unit, seconds: float, size_bytes: int = 0) -> None:
        """Remember how long a unit took."""
        self._entries.append(Duration(_machine(), unit, round(seconds, 4), size_bytes, time.time()))

    def save(self, path: Path | None = None) -> None:
        """Add everything to the user's file; nothing happens where that cannot be written."""
        new, self._entries = self._entries, []
        if not new:
            return
        from filelock import FileLock, Timeout

        path = path or cache_folder() / "durations.json"
        with contextlib.suppress(OSError, Timeout):
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock", timeout=5):
                _write(path, _trimmed([*_read(path), *new]))


def _scaled(seconds: float, old: Unit, new: Unit) -> float:
    """What took ``seconds`` for one unit, for another.

    By what their models compute; where that is not known, linear in the examples and less than linear in the weights.
    """
    if old.kind == "start":
        return seconds
    if old.kind == "launches":
        return seconds * _kept(new) / _kept(old) if new.group.startswith("screened") else seconds
    before, after = old.predicted, new.predicted
    if before and after:
        return seconds * after / before
    factor = ((new.parameters + _SMALL) / (old.parameters + _SMALL)) ** _GROWTH if new.model != old.model else 1.0
    if old.examples and new.examples:
        factor *= new.examples / old.examples
    return seconds * min(max(factor, _SCALES[0]), _SCALES[1])


def _usual(unit: Unit) -> tuple[float, int]:
    """Seconds and examples of a unit like this one on a machine that has done nothing yet."""
    if unit.kind == "launches":
        return _LAUNCHES.get(unit.group, max(_LAUNCHES.values()))
    costs = costs_of(unit.group)
    if unit.kind == "start":
        return costs.start_s, 0
    known = {"step": costs.step, "evaluation": costs.evaluation, "session": costs.session, "profile": costs.profile}
    return known[unit.kind]


def _kept(unit: Unit) -> float:
    """Share of the candidates that get all launches after the screen."""
    return float(min(1.0, (_FEW / unit.examples) ** _CROWD)) if unit.examples else 1.0


def _trimmed(entries: list[Duration]) -> list[Duration]:
    kept: dict[tuple[Any, ...], list[Duration]] = {}
    for entry in sorted(entries, key=lambda e: e.when):
        unit = entry.unit
        kept.setdefault((entry.machine, unit.kind, unit.name, unit.settings, unit.model), []).append(entry)
    latest = [e for group in kept.values() for e in group[-_EACH:]]
    return sorted(latest, key=lambda e: e.when)[-_ALL:]


def _read(path: Path) -> list[Duration]:
    """The entries of a file; none when it is missing, broken or of another version."""
    try:
        data = parse(path.read_bytes())
        return from_plain(list[Duration], data["entries"]) if data["version"] == _VERSION else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # SettingError is a ValueError of ours
        return []


def _write(path: Path, entries: list[Duration]) -> None:
    replace_whole(path, dump({"version": _VERSION, "entries": entries}))


def _machine() -> str:
    return json_digest([platform.node(), platform.machine(), core_count(), cpu_features()])[:12]

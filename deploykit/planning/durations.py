"""What the durations of a sweep's work depend on, how long the rest of it will take, and how long it has taken."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import astuple, dataclass

from deploykit.core.candidate import Target
from deploykit.core.digest import json_digest
from deploykit.core.errors import DeploykitError
from deploykit.core.model import Model, TensorSpec
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.measuring.environment import core_count
from deploykit.measuring.examination.examining import EXAMPLES
from deploykit.planning import arithmetic
from deploykit.planning.history import GIVEN, History, How, Kind, Recorder, Unit
from deploykit.planning.makespan import PlannedTask, makespan
from deploykit.planning.steps import BuildStep
from deploykit.runtimes._contract import RUNTIMES

#: Bytes of a file beside its weights, and of what the store keeps of a session in a launch.
_BYTES_A_FILE, _BYTES_A_LAYER = 15_000, 700
_BYTES_A_LAUNCH, _BYTES_A_TIME, _RUNS = 600, 7, 400
#: What the driver and a process cost beside the work of a task.
OVERHEAD_S = 0.03
#: Seconds of work like which the history is trusted, against what a sweep has seen of other kinds of work.
_TRUSTED_S = 5.0
#: Bounds of how far a sweep may be off from what the history says.
_FACTORS = (0.05, 50.0)
#: Share of a job that is still expected when it takes longer than it should.
_OVERDUE = 0.1


class Units:
    """Units of work of one model and its data.

    Args:
        model: The original model.
        data: The data.
    """

    def __init__(self, model: Model, data: Dataset) -> None:
        self._model = model
        sizes = {name: len(split) for name, split in data.splits.items()}
        self._evaluated = sizes.get("evaluation", 0) + sizes.get("test", 0)
        self._sample = min(EXAMPLES, sizes.get("evaluation", 0))
        self._work = arithmetic.work(model)
        #: Units by target: thousands of candidates ask for those of a few targets.
        self._evaluations: dict[Target, Unit] = {}
        self._sessions: dict[Target, tuple[Unit, int]] = {}
        self._profiles: dict[Target, Unit | None] = {}

    def start(self, group: str) -> Unit:
        """Importing a group's frameworks."""
        return Unit("start", group, group)

    def step(self, step: BuildStep | None) -> Unit:
        """A build step; None: reading the original model."""
        if step is None:
            return self._unit("step", GIVEN, self._given_group, examples=self._sample)
        settings = json_digest(step.parameters)[:8] if step.parameters else ""
        return self._unit("step", step.name, step.group, settings, step.examples)

    def evaluation(self, target: Target) -> Unit:
        """All examples on a runtime's device."""
        if target not in self._evaluations:
            runtime = RUNTIMES.get(target.runtime)
            settings = "" if target.device == "cpu" else target.device
            unit = self._unit("evaluation", runtime.name, runtime.group, settings, self._evaluated)
            self._evaluations[target] = unit
        return self._evaluations[target]

    def session(self, target: Target) -> Unit:
        """One session in one launch."""
        return self._session(target)[0]

    def _session(self, target: Target) -> tuple[Unit, int]:
        """A session in a launch, and its timed runs."""
        if target in self._sessions:
            return self._sessions[target]
        runtime = RUNTIMES.get(target.runtime)
        plain = target.device == "cpu" and target.batch_size == 1
        settings = "" if plain else f"{target.device} {target.batch_size}"
        batch = target.batch_size if target.batch_size > 1 else 0
        unit = self._unit("session", runtime.name, runtime.group, settings, batch)
        runs = arithmetic.runs(arithmetic.latency_s(unit.group, unit.layers, unit.work)) if unit.work else _RUNS
        self._sessions[target] = unit, runs
        return unit, runs

    def profile(self, target: Target) -> Unit | None:
        """The profile of one artifact beside its reference; None when its runtime has no profiler."""
        if target not in self._profiles:
            runtime = RUNTIMES.get(target.runtime)
            unit = self._unit("profile", runtime.name, runtime.group) if runtime.profiles else None
            self._profiles[target] = unit
        return self._profiles[target]

    def launches(self, targets: Collection[Target], *, screened: bool) -> Unit:
        """How many launches candidates on these targets get, as a ratio to what was asked for."""
        name = "screened" if screened else "full"
        if any(target.threads >= core_count() > 1 for target in targets):  # whatever else runs disturbs them
            name += ", all cores"
        return self._unit("launches", name, name, f"{len(targets).bit_length()} bits", len(targets))

    def _unit(self, kind: Kind, name: str, group: str, settings: str = "", examples: int = 0) -> Unit:
        model = self._model
        return Unit(
            kind, name, group, settings, model.digest[:12], model.parameter_count, examples, len(model.layers),
            self._work,
        )  # fmt: skip

    def size_bytes(self, step: BuildStep) -> int:
        """Growth of the store by a build step: its weights in the type it stores, and some structure for each layer."""
        structure = _BYTES_A_LAYER * len(self._model.layers) + _BYTES_A_FILE
        if not step.bytes_a_weight:
            structure //= 2
        return round(step.bytes_a_weight * self._model.parameter_count) + structure

    def outputs_bytes(self) -> int:
        """Size of the scored output of all examples, as an evaluation keeps it."""
        return self._evaluated * _numbers(self._model.outputs[:1])

    def reference_bytes(self) -> int:
        """Size of the sample of the data and of what the original model answers."""
        return self._sample * (_numbers(self._model.inputs) + _numbers(self._model.outputs))

    def launch_bytes(self, target: Target) -> int:
        """Size of the times of one session in one launch."""
        return _BYTES_A_LAUNCH + _BYTES_A_TIME * self._session(target)[1]

    @property
    def _given_group(self) -> str:
        try:
            return FORMATS.get(self._model.format).given_group()
        except DeploykitError:  # nothing that runs it is installed
            return "light"


def _numbers(specs: Iterable[TensorSpec]) -> int:
    """Bytes of one example of some tensors; free dimensions count once."""
    return sum(4 * math.prod(d or 1 for d in (spec.shape or ())[1:]) for spec in specs)


@dataclass
class _Expected:
    """A unit that is to be done: what it waits for, and when it has begun."""

    unit: Unit
    after: tuple[str, ...]
    began: float | None = None


class Durations:
    """Expects, watches and remembers the work of one sweep. Thread-safe.

    What a unit takes is what the history says, corrected by how long units of its name have really taken in this sweep:
    a busy machine, or a model unlike those before, shows in the first of them.

    Args:
        units: Units of the sweep's model and data.
        history: What is known from earlier sweeps; None: what this user's file holds.
    """

    def __init__(self, units: Units, history: History | None = None) -> None:
        self.units = units
        self.history = history or History()
        self._recorder = Recorder()
        self._lock = threading.Lock()
        self._left: dict[str, _Expected] = {}
        self._ratios: dict[tuple[str, str], list[float]] = {}
        #: Median of each list of ratios: it is asked for once a unit, and changes once a unit that is done.
        self._usual: dict[tuple[str, str], float] = {}
        self._took = self._wanted = 0.0

    def expect(self, identity: str, unit: Unit, after: Iterable[str] = ()) -> None:
        """A unit is to be done, after others by their identities."""
        with self._lock:
            self._left[identity] = _Expected(unit, tuple(after))

    def begin(self, identity: str) -> None:
        """A unit has begun."""
        with self._lock:
            if identity in self._left:
                self._left[identity].began = time.monotonic()

    def finish(self, identity: str, seconds: float | None = None, size_bytes: int = 0) -> None:
        """A unit is done; ``seconds`` is None when it was found finished, or given up."""
        with self._lock:
            expected = self._left.pop(identity, None)
            if expected is not None and seconds is not None:
                self._left.pop(self.units.start(expected.unit.group).identity, None)  # or it could not have run
                self._note(expected.unit, seconds, size_bytes)

    def note(self, unit: Unit, seconds: float) -> None:
        """Remember a unit that was not expected by name."""
        with self._lock:
            self._note(unit, seconds)

    def _note(self, unit: Unit, seconds: float, size_bytes: int = 0) -> None:
        expected, how = astuple(self.history.expect(unit))
        if expected > 0 and seconds > 0 and unit.kind not in ("start", "launches"):
            ratio = min(max(seconds / expected, _FACTORS[0]), _FACTORS[1])
            # What this model has taken before counts as one more that was seen: a single one may be an exception.
            seen = self._ratios.setdefault((unit.kind, unit.name), [1.0] if how == "this model" else [])
            seen.append(ratio)
            self._usual[unit.kind, unit.name] = statistics.median(seen)
            self._took, self._wanted = self._took + seconds, self._wanted + expected
        self._recorder.note(unit, seconds, size_bytes)

    def seconds(self, unit: Unit) -> float:
        """How long a unit takes, by the history and by what this sweep has seen."""
        seconds, how = astuple(self.history.expect(unit))
        return float(seconds * (self._usual.get((unit.kind, unit.name)) or self.pace(how)))

    def pace(self, how: How) -> float:
        """How much longer than the history says work takes of which this sweep has seen none yet.

        On an unknown machine all work is slower or faster alike; on a known one, what differs is the load, which other
        kinds of work share in part.

        Args:
            how: How well the history knows the work.
        """
        share = (self._took + _TRUSTED_S) / (self._wanted + _TRUSTED_S)
        return math.sqrt(share) if how == "this model" else share

    def left(self, slots: int = 1) -> float:
        """Wall-clock seconds until everything that is expected is done, on so many slots."""
        with self._lock:
            now = time.monotonic()
            jobs = {}
            for identity, expected in self._left.items():
                seconds = self.seconds(expected.unit) + OVERHEAD_S
                if expected.began is not None:
                    seconds = max(seconds - (now - expected.began), _OVERDUE * seconds)
                start = self.units.start(expected.unit.group).identity
                after = expected.after if start == identity else (start, *expected.after)
                jobs[identity] = PlannedTask(seconds, after, expected.began is not None)
        return makespan(jobs, slots)

    def sessions(self, targets: Iterable[Target]) -> float:
        """Seconds of one launch of these sessions."""
        with self._lock:
            return sum(self.seconds(self.units.session(target)) for target in targets)

    def launched(self, took: Mapping[Target, list[float]]) -> None:
        """Remember a launch: seconds each of its sessions was worked on, by target."""
        for target, values in took.items():
            self.note(self.units.session(target), sum(values) / len(values))

    def save(self) -> None:
        """Add what was done to the user's history."""
        with self._lock:
            self._recorder.save(self.history.path)

"""What the durations of a sweep's work depend on, how long the rest of it will take, and how long it has taken."""

from __future__ import annotations

import math
import statistics
import threading
from collections.abc import Collection, Iterable, Mapping

from deploykit.core.candidate import Target
from deploykit.core.dataset import Dataset
from deploykit.core.digest import json_digest
from deploykit.core.errors import DeploykitError
from deploykit.core.model import Model, TensorSpec
from deploykit.core.problem import Facts
from deploykit.loading._contract import FORMATS
from deploykit.measuring.environment import core_count
from deploykit.measuring.examining import EXAMPLES
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sweeping import arithmetic
from deploykit.sweeping.history import GIVEN, History, Kind, Recorder, Unit
from deploykit.sweeping.routes import BuildStep
from deploykit.transforms._contract import TRANSFORMS

#: Bytes of a file beside its weights, and of what the store keeps of a session in a launch.
_BYTES_A_FILE, _BYTES_A_LAYER = 15_000, 700
_BYTES_A_LAUNCH, _BYTES_A_TIME, _RUNS = 600, 7, 400


class Units:
    """Units of work of one model and its data.

    Args:
        model: The model as given.
        data: The data.
    """

    def __init__(self, model: Model, data: Dataset) -> None:
        self._model = model
        sizes = {name: len(split) for name, split in data.splits.items()}
        self._evaluated = sizes.get("evaluation", 0) + sizes.get("test", 0)
        self._train = sizes.get("train", 0)
        self._calibration = min(data.calibration_size, self._train)
        self._sample = min(EXAMPLES, sizes.get("evaluation", 0))
        self._work = arithmetic.work(model)
        self._facts = Facts(model, self._calibration, "", (), core_count())

    def start(self, group: str) -> Unit:
        """Importing a group's frameworks."""
        return Unit("start", group, group)

    def step(self, step: BuildStep | None) -> Unit:
        """A build step; None: reading the model as given."""
        if step is None:
            return self._unit("step", GIVEN, self._given_group, examples=self._sample)
        name = "/".join(filter(None, (step.adapter, step.variant))) if not step.stage else step.stage
        settings = json_digest(step.parameters)[:8] if step.parameters else ""
        examples = 0
        if step.stage:
            examples = self._calibration if step.needs_data else 0
        elif step.needs_data:
            variant = TRANSFORMS.get(step.adapter).variant(step.variant)
            examples = variant.examples(step.parameters, self._calibration, self._train)
        return self._unit("step", name, step.group, settings, examples)

    def evaluation(self, target: Target) -> Unit:
        """All examples on a runtime's device."""
        runtime = RUNTIMES.get(target.runtime)
        settings = "" if target.device == "cpu" else target.device
        return self._unit("evaluation", runtime.name, runtime.group, settings, self._evaluated)

    def session(self, target: Target) -> Unit:
        """One session in one launch."""
        runtime = RUNTIMES.get(target.runtime)
        plain = target.device == "cpu" and target.batch_size == 1
        settings = "" if plain else f"{target.device} {target.batch_size}"
        batch = target.batch_size if target.batch_size > 1 else 0
        return self._unit("session", runtime.name, runtime.group, settings, batch)

    def profile(self, target: Target) -> Unit:
        """The profile of one artifact beside its reference."""
        runtime = RUNTIMES.get(target.runtime)
        return self._unit("profile", runtime.name, runtime.group)

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
        weights, structure = 4.0, _BYTES_A_LAYER * len(self._model.layers) + _BYTES_A_FILE
        if step.kind == "prepare":
            stage = TRANSFORMS.get(step.adapter).variant(step.variant).stage(step.stage)
            weights, structure = (weights, structure) if stage.copies else (0.0, structure // 2)
        elif step.kind == "transform":
            variant = TRANSFORMS.get(step.adapter).variant(step.variant)
            weights = variant.bytes_a_weight(step.parameters, self._facts)
        return round(weights * self._model.parameter_count) + structure

    def outputs_bytes(self) -> int:
        """Size of the scored output of all examples, as an evaluation keeps it."""
        return self._evaluated * _numbers(self._model.outputs[:1])

    def reference_bytes(self) -> int:
        """Size of the sample of the data and of what the model as given answers."""
        return self._sample * (_numbers(self._model.inputs) + _numbers(self._model.outputs))

    def launch_bytes(self, target: Target) -> int:
        """Size of the times of one session in one launch."""
        unit = self.session(target)
        runs = arithmetic.runs(arithmetic.latency_s(unit.group, unit.layers, unit.work)) if unit.work else _RUNS
        return _BYTES_A_LAUNCH + _BYTES_A_TIME * runs

    @property
    def _given_group(self) -> str:
        try:
            return FORMATS.get(self._model.format).given_group()
        except DeploykitError:  # nothing that runs it is installed
            return "light"


def _numbers(specs: Iterable[TensorSpec]) -> int:
    """Bytes of one example of some tensors; free dimensions count once."""
    return sum(4 * math.prod(d or 1 for d in (spec.shape or ())[1:]) for spec in specs)


class Durations:
    """Expects, watches and remembers the work of one sweep. Thread-safe.

    Args:
        units: Units of the sweep's model and data.
        history: What is known from earlier sweeps; None: nothing.
    """

    def __init__(self, units: Units, history: History | None = None) -> None:
        self.units = units
        self._history = history or History()
        self._recorder = Recorder()
        self._lock = threading.Lock()
        self._left: dict[str, Unit] = {}
        self._seen: dict[tuple[str, str], list[float]] = {}
        self._medians: dict[tuple[str, str], float] = {}

    def expect(self, identity: str, unit: Unit) -> None:
        """A unit is to be done."""
        with self._lock:
            self._left[identity] = unit

    def finish(self, identity: str, seconds: float | None = None, size_bytes: int = 0) -> None:
        """A unit is done; ``seconds`` is None when it was found finished, or given up."""
        with self._lock:
            unit = self._left.pop(identity, None)
            if unit is not None and seconds is not None:
                self._note(unit, seconds, size_bytes)

    def note(self, unit: Unit, seconds: float) -> None:
        """Remember a unit that was not expected by name."""
        with self._lock:
            self._note(unit, seconds)

    def _note(self, unit: Unit, seconds: float, size_bytes: int = 0) -> None:
        self._seen.setdefault((unit.kind, unit.name), []).append(seconds)
        self._medians.pop((unit.kind, unit.name), None)
        self._recorder.note(unit, seconds, size_bytes)

    def seconds(self, unit: Unit) -> float:
        """How long a unit takes: the median of this sweep's, else what earlier ones tell."""
        name = (unit.kind, unit.name)
        if name not in self._medians and name in self._seen:
            self._medians[name] = statistics.median(self._seen[name])
        found = self._medians.get(name)
        return self._history.expect(unit).seconds if found is None else found

    def left(self) -> float:
        """Seconds of build steps and evaluations that are still expected, one after the other."""
        with self._lock:
            return sum(self.seconds(unit) for unit in self._left.values())

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
            self._recorder.save(self._history.path)

"""Tasks that run in a child of their own: one opened model, timed in blocks, and evaluated."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.contract import Contract
from deploykit.core.errors import CandidateError
from deploykit.data.dataset import Dataset
from deploykit.data.splits import shuffled
from deploykit.data.texts import fixed_width, with_objects, without_objects
from deploykit.measuring.dependence import EXAMPLES, depends_on_batch
from deploykit.measuring.examination.examining import without_rows
from deploykit.measuring.judging import Judging
from deploykit.measuring.racing import Race, Racer, Stopped
from deploykit.runtimes._contract import RUNTIMES
from deploykit.runtimes._session import Session
from deploykit.sandbox.task import Report
from deploykit.storage.disk import make_private

#: Different real inputs that timed runs cycle through, so that no cache holds one answer.
_SAMPLES = 16
_WARM_CAP_S = 2.0
_WARM_TOLERANCE = 0.02
_WARM_RUNS = 20
#: Timed runs of one launch: as many, or as long if that is more; but no longer than the cap, and never fewer than the
#: floor.
_RUNS = 100
_RUNS_S = 0.1
_RUNS_CAP_S = 2.5
_RUNS_FLOOR = 15
#: A block begins with this much of untimed work: others have filled the caches meanwhile. It does not matter to models
#: above the cap.
_LEAD_S = 0.0005
_LEAD_CAP_S = 0.005
_EVALUATION_BATCH = 32
#: Progress is reported this often: each report costs the driver about as much as a small model costs for a batch.
_TELL_S = 0.1


def preload() -> None:
    """Import the adapters of all runtimes."""
    RUNTIMES.preload()


@dataclass
class _Opened:
    session: Session
    inputs: list[list[Any]] = field(default_factory=list)
    lead: int = 0
    done: int = 0
    memory_before: int = 0


_opened: _Opened | None = None


def open_session(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Open a candidate in this process and prepare its inputs; nothing is timed yet."""
    global _opened
    target = Target.from_json(arguments["target"])
    _pin(target.threads)
    before = _own_memory()
    data = Dataset.open(Path(arguments["data"]))
    session = RUNTIMES.get(target.runtime).open(Path(arguments["path"]), target, arguments["format"], data.contract)
    size, fixed = target.batch_size, session.batch_size
    if fixed and size not in (1, fixed):
        raise CandidateError(
            f"The model has a fixed batch size of {fixed}; the target asks for {size}.",
            remedy=f"use batch_size={fixed}.",
        )
    inputs = timed_inputs(session, data, fixed or size, _SAMPLES)
    steps = len(inputs)
    _opened = _Opened(session, inputs, memory_before=before)
    gc.disable()
    return {"inputs": steps, "delegate": session.delegate}


def warm_up(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run until two successive medians agree within 2 % (at most 2 s).

    Returns:
        ``warm``: whether they did; ``runs``: how many timed runs a launch is to have in all of its blocks;
        ``peak_memory_bytes``.
    """
    opened = _current()
    end = time.perf_counter() + _WARM_CAP_S
    previous, warm, median = 0.0, False, 0.0
    while not warm:
        times = _time_runs(opened, 5 if previous == 0.0 else max(3, min(_WARM_RUNS, int(0.05 / previous))))
        median = sorted(times)[len(times) // 2] / 1e9
        warm = previous > 0 and abs(median - previous) <= _WARM_TOLERANCE * previous
        previous = median
        if time.perf_counter() > end:
            break
    opened.lead = max(1, round(_LEAD_S / median)) if median < _LEAD_CAP_S else 0
    wanted = max(_RUNS, round(_RUNS_S / median))
    return {
        "warm": warm,
        "peak_memory_bytes": max(0, _own_memory(peak=True) - opened.memory_before),
        "runs": max(_RUNS_FLOOR, min(wanted, int(_RUNS_CAP_S / median))),
    }


def run_block(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """One timed block of ``runs`` inferences.

    Returns:
        ``times_ns`` of the single inferences, ``cpu_ns`` of all threads over the block, ``switches`` forced on it.
    """
    opened = _current()
    _time_runs(opened, opened.lead)
    before, cpu = _switches(), time.process_time_ns()
    times = _time_runs(opened, arguments["runs"])
    return {"times_ns": times, "cpu_ns": time.process_time_ns() - cpu, "switches": _switches() - before}


def timed_inputs(session: Session, data: Dataset, size: int, steps: int) -> list[list[Any]]:
    """Real inputs of single inferences, as `Session.run` takes them.

    Of examples that are sequences it is the first steps, each from fresh state.

    Args:
        session: The opened model.
        data: The data.
        size: Examples of an inference.
        steps: How many different inferences at most.
    """
    count = min(steps * size, len(data.splits["evaluation"]))
    examples = {k: _repeat(v, size) for k, v in data.batch("evaluation", slice(0, count)).items()}
    examples = session.feeding.first_step(examples)
    found = len(next(iter(examples.values()))) // size
    batches = ({k: v[i * size : (i + 1) * size] for k, v in examples.items()} for i in range(max(1, found)))
    return [[array.copy() for array in session.arrange(batch)] for batch in batches]


def evaluate(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run a candidate on whole splits, keep its scored output and judge the others.

    Examples come in a random order that is the same for all candidates: any prefix stands for the whole split. Where
    an answer depends on its batch, examples are run as the target will run them.

    Args:
        arguments: ``path format target data``; ``contract``: plain `Contract`; ``splits``: split → ``.npy`` file to
            write; ``others``: output → ``.npy`` file of the original's output on the evaluation split, which the
            original writes (``original`` is true then) and others are compared with; ``race``: plain `Race`, None for
            no racing.
        report: Progress in examples: at the start, at the end and now and then in between.

    Returns:
        ``batch`` and ``batch_dependent``; ``missing``: share of the scored numbers that are NaN; ``others``: output →
        plain `Judged`; ``stopped``: plain `Stopped`, None when it finished; and the seconds it took.
    """
    began = time.perf_counter()
    target, contract = Target.from_json(arguments["target"]), Contract.from_json(arguments["contract"])
    session = RUNTIMES.get(target.runtime).open(Path(arguments["path"]), target, arguments["format"], contract)
    work = _Evaluation(session, contract, _data(arguments["data"]), target, arguments, report)
    found = work.run()
    session.close()
    return {**found, "seconds": time.perf_counter() - began}


class _Evaluation:
    """One candidate on whole splits."""

    def __init__(
        self, session: Session, contract: Contract, data: Dataset, target: Target, arguments: dict[str, Any],
        report: Report,
    ) -> None:  # fmt: skip
        self._session = session
        self._contract = contract
        self._data = data
        self._report = report
        self._splits: dict[str, str] = arguments["splits"]
        self._race = arguments.get("race")
        self._others: dict[str, str] = arguments["others"]
        self._original = bool(arguments["original"])
        self._fixed = {o.name for o in contract.judged if o.fixed}
        self._dependent = self._depends()
        self._size = target.batch_size if self._dependent else _EVALUATION_BATCH
        self._total = sum(len(data.splits[s]) for s in self._splits)
        self._done, self._told = 0, time.perf_counter()

    def _depends(self) -> bool:
        split = next(s for s in self._splits if len(self._data.splits[s]))
        return depends_on_batch(self._session, self._data.batch(split, slice(0, EXAMPLES)))

    def run(self) -> dict[str, Any]:
        """All splits."""
        import numpy as np

        self._report(0, self._total, "examples")
        judgements: dict[str, Any] = {}
        facts: dict[str, Any] = {
            "batch": self._size,
            "batch_dependent": self._dependent,
            "stopped": None,
            "others": judgements,
        }
        missing = numbers = 0
        for split, out in self._splits.items():
            outputs, judged, stopped = self._split(split)
            if stopped is not None:
                return {**facts, "missing": 0.0, "stopped": stopped.to_json()}
            if outputs is None:
                continue
            if outputs.dtype.kind == "f":
                missing, numbers = missing + int(np.isnan(outputs).sum()), numbers + outputs.size
            _save(Path(out), outputs)
            judgements |= judged
        self._report(self._done, self._total, "examples")
        return {**facts, "missing": missing / numbers if numbers else 0.0}

    def _split(self, split: str) -> tuple[Any, dict[str, Any], Stopped | None]:
        import numpy as np

        count = len(self._data.splits[split])
        order = shuffled(count, None, self._data.seed)
        first = split == "evaluation"
        racer = _racer(self._race, self._contract, self._data, order) if first else None
        judging = Judging(self._contract.judged, self._others) if first and not self._original else None
        kept: dict[str, list[Any]] = {name: [] for name in self._others} if first and self._original else {}
        parts: list[Any] = []
        for start in range(0, count, self._size):
            chosen = order[start : start + self._size]
            found = self._answers(split, chosen)
            parts.append(found[self._contract.scored.name])
            for name, values in kept.items():
                if name not in self._fixed:
                    values.append(found[name])
                elif not values:
                    values.append(found[name][:1])
            if judging is not None:
                judging.add(found, chosen)
            self._tell(len(chosen))
            if racer is not None and (stopped := racer.look(parts, start + len(chosen))) is not None:
                return None, {}, stopped
        if not parts:
            return None, {}, None
        for name, values in kept.items():
            whole = np.concatenate(values)
            _save(Path(self._others[name]), whole if name in self._fixed else _arranged(whole, order))
        judged = {name: j.to_json() for name, j in judging.result().items()} if judging is not None else {}
        return _arranged(np.concatenate(parts), order), judged, None

    def _answers(self, split: str, chosen: Any) -> dict[str, Any]:
        found = self._session.predict(self._data.batch(split, chosen))
        for meaning in (self._contract.scored, *self._contract.judged):
            value = found[meaning.name]
            if value.ndim == 0 or len(value) != len(chosen):
                raise without_rows(meaning, value, len(chosen), CandidateError)
            found[meaning.name] = fixed_width(value)
        return found

    def _tell(self, count: int) -> None:
        self._done += count
        if (now := time.perf_counter()) - self._told >= _TELL_S:
            self._told = now
            self._report(self._done, self._total, "examples")


def _arranged(outputs: Any, order: Any) -> Any:
    import numpy as np

    arranged = np.empty_like(outputs)
    arranged[order] = outputs
    return arranged


@lru_cache(maxsize=1)
def _data(folder: str) -> Dataset:
    """The data in a folder, which is named by their digest: a child evaluates many candidates on the same."""
    return Dataset.open(Path(folder))


def _racer(race: dict[str, Any] | None, contract: Contract, data: Dataset, order: Any) -> Racer | None:
    import numpy as np

    if race is None:
        return None
    wanted, labels = Race.from_json(race), data.labels()
    original = np.load(wanted.original, allow_pickle=False)
    return Racer(wanted, None if labels is None else labels[order], original[order], contract)


def predict(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run a model once: ``path format target contract``, preprocessed ``inputs`` (``.npz``) → ``out`` (``.npz``)."""
    import numpy as np

    target = Target.from_json(arguments["target"])
    contract = Contract.from_json(arguments["contract"]) if arguments.get("contract") else None
    session = RUNTIMES.get(target.runtime).open(Path(arguments["path"]), target, arguments["format"], contract)
    with np.load(arguments["inputs"], allow_pickle=False) as file:
        found = session.predict(with_objects({name: file[name] for name in file.files}))
    np.savez(arguments["out"], **without_objects(found))  # type: ignore[arg-type]  # the stub's allow_pickle hides the arrays
    session.close()
    return {"outputs": list(found)}


def _save(path: Path, array: Any) -> None:
    import numpy as np

    temporary = path.with_suffix(".tmp.npy")
    try:
        np.save(temporary, array, allow_pickle=False)
        make_private(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # on a full disk it takes the room others need


def _current() -> _Opened:
    if _opened is None:
        raise CandidateError("No session is open in this process.", remedy="call open_session first.")
    return _opened


def _time_runs(opened: _Opened, count: int) -> list[int]:
    run, inputs, clock = opened.session.run, opened.inputs, time.perf_counter_ns
    times = [0] * count
    first, opened.done = opened.done, opened.done + count  # a short block continues where the last one ended
    for i in range(count):
        arrays = inputs[(first + i) % len(inputs)]
        start = clock()
        run(arrays)
        times[i] = clock() - start
    return times


def _repeat(array: Any, size: int) -> Any:
    """The examples, repeated so that they fill at least one batch."""
    import numpy as np

    if len(array) >= size:
        return array[: len(array) // size * size]
    return np.concatenate([array] * -(-size // len(array)))[:size]


def _pin(threads: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[-min(threads, len(cores)) :])


def _switches() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _own_memory(*, peak: bool = False) -> int:
    """Private memory of this process in bytes; pages of libraries and mapped files are not counted.

    The system keeps a peak of the whole resident size only: what that once was above the present size was private.
    """
    status = Path("/proc/self/status")
    if status.exists():
        facts = dict(line.split(":", 1) for line in status.read_text().splitlines() if line.startswith(("Vm", "Rss")))
        kilobytes = {k: int(v.split()[0]) for k, v in facts.items()}
        above = kilobytes["VmHWM"] - kilobytes["VmRSS"] if peak else 0
        return 1024 * (kilobytes["RssAnon"] + max(0, above))
    import psutil

    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss) if peak else memory.rss)

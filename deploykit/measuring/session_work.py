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
from deploykit.core.dataset import Dataset
from deploykit.core.disk import make_private
from deploykit.core.errors import CandidateError
from deploykit.core.model import align
from deploykit.core.splits import shuffled
from deploykit.measuring.racing import Race, Racer
from deploykit.runtimes._contract import RUNTIMES, Session
from deploykit.sandbox.task import Report

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
#: Progress is told this often: each telling costs the driver about as much as a small model costs for a batch.
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
    session = RUNTIMES.get(target.runtime).open(Path(arguments["path"]), target, arguments["format"])
    data = Dataset.open(Path(arguments["data"]))
    size = target.batch_size
    fixed = next((s.batch_size for s in session.inputs if s.batch_size), None)
    if fixed and size not in (1, fixed):
        raise CandidateError(
            f"the model has a fixed batch size of {fixed}, the target asks for {size}.",
            remedy=f"use batch_size={fixed}.",
        )
    size = fixed or size
    count = min(_SAMPLES * size, len(data.splits["evaluation"]))
    examples = data.batch("evaluation", slice(0, count))
    whole = session.arrange({k: _repeat(v, size) for k, v in examples.items()})
    steps = max(1, len(whole[0]) // size)
    inputs = [[a[i * size : (i + 1) * size].copy() for a in whole] for i in range(steps)]
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


def evaluate(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run a candidate on whole splits and keep its first output.

    Examples come in a random order that is the same for all candidates: any prefix stands for the whole split.

    Args:
        arguments: ``path format target data``; ``outputs``: names of the original's outputs, to find the first;
            ``splits``: split → ``.npy`` file to write; ``race``: plain `Race`, None for no racing.
        report: Progress in examples: at the start, at the end and now and then in between.

    Returns:
        Names of the outputs, how many values are not finite, ``stopped``: plain `Stopped`, None when it finished, and
        the seconds it took.
    """
    import numpy as np

    began = time.perf_counter()
    target = Target.from_json(arguments["target"])
    session = RUNTIMES.get(target.runtime).open(Path(arguments["path"]), target, arguments["format"])
    data = _data(arguments["data"])
    names = [spec.name for spec in session.outputs]
    first = names[align(arguments["outputs"], names)[0]] if arguments["outputs"] else names[0]
    total = sum(len(data.splits[s]) for s in arguments["splits"])
    done = bad = 0
    told = began
    report(0, total, "examples")
    for split, out in arguments["splits"].items():
        count = len(data.splits[split])
        order = shuffled(count, None, data.seed)
        racer = _racer(arguments.get("race"), data, order) if split == "evaluation" else None
        parts: list[Any] = []
        for start in range(0, count, _EVALUATION_BATCH):
            chosen = order[start : start + _EVALUATION_BATCH]
            parts.append(_first_output(session, data.batch(split, chosen), first))
            done += len(chosen)
            if (now := time.perf_counter()) - told >= _TELL_S:
                told = now
                report(done, total, "examples")
            if racer is not None and (stopped := racer.look(parts, start + len(chosen))) is not None:
                session.close()
                seconds = time.perf_counter() - began
                return {"outputs": names, "not_finite": 0, "stopped": stopped.to_json(), "seconds": seconds}
        if not parts:
            continue
        outputs = np.concatenate(parts)
        bad += int((~np.isfinite(outputs)).sum()) if outputs.dtype.kind == "f" else 0
        arranged = np.empty_like(outputs)
        arranged[order] = outputs
        _save(Path(out), arranged)
    session.close()
    report(done, total, "examples")
    seconds = time.perf_counter() - began
    return {"outputs": names, "not_finite": bad, "stopped": None, "seconds": seconds}


@lru_cache(maxsize=1)
def _data(folder: str) -> Dataset:
    """The data in a folder, which is named by their digest: a child evaluates many candidates on the same."""
    return Dataset.open(Path(folder))


def _racer(race: dict[str, Any] | None, data: Dataset, order: Any) -> Racer | None:
    import numpy as np

    if race is None:
        return None
    wanted, labels = Race.from_json(race), data.labels()
    original = np.load(wanted.original, allow_pickle=False)
    return Racer(wanted, None if labels is None else labels[order], original[order])


def predict(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run a model once on preprocessed inputs: ``path format target inputs`` (``.npz``) → ``out`` (``.npz``)."""
    import numpy as np

    target = Target.from_json(arguments["target"])
    session = RUNTIMES.get(target.runtime).open(Path(arguments["path"]), target, arguments["format"])
    with np.load(arguments["inputs"], allow_pickle=False) as file:
        found = session.predict({name: file[name] for name in file.files})
    np.savez(arguments["out"], **found)  # type: ignore[arg-type]  # the stub's allow_pickle hides the arrays
    session.close()
    return {"outputs": list(found)}


def _first_output(session: Session, batch: dict[str, Any], name: str) -> Any:
    part = session.predict(batch)[name]
    count = len(next(iter(batch.values())))
    if part.ndim == 0 or len(part) != count:
        raise CandidateError(
            f"output {name!r} has shape {part.shape} for a batch of {count}.",
            remedy="deploykit evaluates models whose first output has the batch as its first dimension.",
        )
    return part


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
        raise CandidateError("no session is open in this process.", remedy="call open_session first.")
    return _opened


def _time_runs(opened: _Opened, count: int) -> list[int]:
    run, inputs, clock = opened.session.run, opened.inputs, time.perf_counter_ns
    times = [0] * count
    first, opened.done = opened.done, opened.done + count  # a short block goes on where the last one ended
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

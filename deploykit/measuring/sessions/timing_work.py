"""Tasks that run in a child of their own: one model is loaded, warmed up and timed in blocks."""

from __future__ import annotations

import gc
import os
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.errors import CandidateError
from deploykit.data.dataset import Dataset
from deploykit.measuring.sessions import page_cache
from deploykit.measuring.sessions.energy import Meter, meter
from deploykit.runtimes._contract import RUNTIMES
from deploykit.runtimes._session import Session
from deploykit.runtimes._writing import pace
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
#: Time of a block at a length that a target names, and different inputs.
_LENGTH_S = 0.02
_LENGTH_SAMPLES = 4
#: Tokens that a decoder writes to find its pace, fewer where its texts are shorter.
_TOKENS = 34
#: A counter of energy that moves no more rarely than this is read around each block; for others there is a run of its
#: own, of so many steps of theirs.
_FINE_S = 0.002
_STEPS = 5


@dataclass
class _Prepared:
    arguments: dict[str, Any]
    target: Target
    data: Dataset
    memory_before: int


@dataclass
class _Opened:
    session: Session
    meter: Meter | str
    inputs: list[list[Any]] = field(default_factory=list)
    lead: int = 0
    done: int = 0
    memory_before: int = 0
    named: tuple[int, ...] = ()
    lengths: dict[int, list[list[Any]]] = field(default_factory=dict)


_prepared: _Prepared | None = None
_opened: _Opened | None = None


def prepare(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Make this process ready to load a candidate: ``path format target data``; ``reads``: its files; ``cold``.

    With ``cold`` its files are dropped from the system's cache before they are loaded.
    """
    global _prepared
    target = Target.from_json(arguments["target"])
    _pin(target.threads)
    before = _own_memory()
    _prepared = _Prepared(arguments, target, Dataset.open(Path(arguments["data"])), before)
    return {}


def open_session(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Load the candidate that was prepared, which is timed, and get its inputs ready.

    Returns:
        ``load_ns``; ``cached``: ``"warm"``, ``"cold"``, "" for in between, None where the system does not say;
        ``batch``: examples of an inference; ``energy_from``: what counts energy; ``no_energy``: why nothing does;
        ``slow_meter``: whether it takes a run of its own; ``writes``: whether it is a decoder that can write;
        ``write``: how many tokens it writes for each example.
    """
    global _opened
    assert _prepared is not None
    wanted, target, data = _prepared.arguments, _prepared.target, _prepared.data
    files = [Path(path) for path in wanted["reads"]]
    if wanted["cold"]:
        page_cache.drop(files)
    share = page_cache.share_cached(files)
    runtime = RUNTIMES.get(target.runtime)
    began = time.perf_counter_ns()
    session = runtime.open(Path(wanted["path"]), target, wanted["format"], data.contract)
    load_ns = time.perf_counter_ns() - began
    size, fixed = target.batch_size, session.batch_size
    if fixed and size not in (1, fixed):
        raise CandidateError(
            f"The model has a fixed batch size of {fixed}; the target asks for {size}.",
            remedy=f"use batch_size={fixed}.",
        )
    inputs = timed_inputs(session, data, fixed or size, _SAMPLES)
    counter = meter(target.device)
    decoder = None if data.contract is None else data.contract.decoder
    _opened = _Opened(session, counter, inputs, memory_before=_prepared.memory_before, named=target.lengths)
    gc.disable()
    return {
        "load_ns": load_ns,
        "cached": page_cache.state(share),
        "batch": fixed or size,
        "energy_from": "" if isinstance(counter, str) else counter.name,
        "no_energy": counter if isinstance(counter, str) else "",
        "slow_meter": not isinstance(counter, str) and counter.steps_s > _FINE_S,
        "writes": decoder is not None,
        "write": 0 if decoder is None else decoder.write,
    }


def warm_up(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run until two successive medians agree within 2 % (at most 2 s).

    Returns:
        ``warm``: whether they did; ``runs``: how many timed runs a launch is to have in all of its blocks;
        ``peak_memory_bytes``; ``first_ns``: time of the very first inference.
    """
    opened = _current()
    first_ns = _time_runs(opened, 1)[0]
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
        "first_ns": first_ns,
        "peak_memory_bytes": max(0, _own_memory(peak=True) - opened.memory_before),
        "runs": max(_RUNS_FLOOR, min(wanted, int(_RUNS_CAP_S / median))),
    }


def run_block(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """One timed block of ``runs`` inferences.

    Returns:
        ``times_ns`` of the single inferences, ``cpu_ns`` of all threads over the block, ``switches`` forced on it,
        ``energy_uj`` over ``energy_runs`` of them.
    """
    opened = _current()
    counter = opened.meter if isinstance(opened.meter, Meter) and opened.meter.steps_s <= _FINE_S else None
    _time_runs(opened, opened.lead)
    energy = counter.read() if counter else ()
    before, cpu = _switches(), time.process_time_ns()
    times = _time_runs(opened, arguments["runs"])
    found = {"times_ns": times, "cpu_ns": time.process_time_ns() - cpu, "switches": _switches() - before}
    spent = counter.between(energy, counter.read()) if counter else 0
    return {**found, "energy_uj": spent, "energy_runs": len(times) if counter else 0}


def count_energy(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """One uninterrupted run for a counter of energy that is too slow for blocks, where it is ``wanted``.

    Returns:
        ``energy_uj`` over ``energy_runs`` inferences.
    """
    opened = _current()
    if not arguments["wanted"] or not isinstance(opened.meter, Meter):
        return {}
    length = _STEPS * opened.meter.steps_s
    before, end, runs = opened.meter.read(), time.perf_counter() + length, 0
    while time.perf_counter() < end:
        runs += len(_time_runs(opened, 10))
    return {"energy_uj": opened.meter.between(before, opened.meter.read()), "energy_runs": runs}


def write_tokens(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Have a decoder write after the first example, with its cache.

    Returns:
        ``tokens`` and ``tokens_ns``, the time that these took; ``no_tokens``: why there are none.
    """
    opened = _current()
    contract = opened.session.contract
    if _prepared is None or contract is None or contract.decoder is None:
        return {}
    example = _prepared.data.batch("evaluation", slice(0, 1))
    try:
        done, taken = pace(opened.session, example, contract.decoder, _TOKENS)
    except MemoryError:
        raise
    except Exception as error:  # each runtime has its own: the model's texts may be shorter than it says
        traceback.print_exc()
        return {"no_tokens": f"it could not write {_TOKENS} tokens after the first example: {error}"[:300]}
    return {"tokens": done, "tokens_ns": taken, "no_tokens": "" if done else "examples are as long as texts may be"}


def run_length(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """One timed block with the free dimensions of the inputs at ``length``, where the target names it.

    Returns:
        ``times_ns``; empty where the model takes no such inputs, or the file has no free dimension.
    """
    opened = _current()
    length = arguments["length"]
    if length not in opened.lengths:
        opened.lengths[length] = _of_length(opened, length)
    inputs = opened.lengths[length]
    if not inputs:
        return {"times_ns": []}
    sized = replace(opened, inputs=inputs, done=0)
    try:
        once = _time_runs(sized, 1)[0] / 1e9  # also what a runtime prepares for a new size
    except MemoryError:
        raise
    except Exception:  # each runtime has its own: the model takes other sizes only, not a fault of the candidate
        traceback.print_exc()
        opened.lengths[length] = []
        return {"times_ns": []}
    return {"times_ns": _time_runs(sized, max(3, min(20, int(_LENGTH_S / once))))}


def _of_length(opened: _Opened, length: int) -> list[list[Any]]:
    """The timed inputs with every free dimension cut to a size, or filled up to it by repetition."""
    import numpy as np

    specs = opened.session.inputs
    free = [
        tuple(axis for axis, size in enumerate(spec.shape or ()) if size is None and axis != spec.batch_axis)
        for spec, _ in opened.session.feeding.inputs
    ]
    if length not in opened.named or not any(free):
        return []
    found = []
    for arrays in opened.inputs[:_LENGTH_SAMPLES]:
        sized = list(arrays)
        for place, axes in zip(range(len(specs)), free, strict=True):
            for axis in axes:
                if not sized[place].shape[axis]:  # a cache, empty as before
                    continue
                here = np.arange(length) % sized[place].shape[axis]
                sized[place] = np.ascontiguousarray(np.take(sized[place], here, axis))
        found.append(sized)
    return found


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

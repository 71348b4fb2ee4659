"""The task that profiles a candidate and float32 on the same runtime, in turns on the same real inputs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.data.dataset import Dataset
from deploykit.measuring.profile_match import Profile, compare
from deploykit.measuring.sessions.timing_work import timed_inputs
from deploykit.runtimes._contract import RUNTIMES
from deploykit.runtimes._profile import NodeTime, quick_mean
from deploykit.runtimes._session import Session
from deploykit.sandbox.task import Report

#: Raised when what a comparison holds changes: old ones are then made again.
PROFILE_VERSION = 1
#: Both sides are timed and profiled in turns, so that a change of the machine's load meets both.
_TURNS = 2
#: Of one side, timed and profiled.
_MOST_US = 40_000
_MOST_RUNS = 60
_LEAST_RUNS = 4
_SAMPLES = 8


def profile(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Profile two files and match their nodes.

    Args:
        arguments: ``path`` of the candidate, ``reference`` of float32, ``format``, ``target``, ``data`` (folder).
        report: Not used: it takes a fraction of a second.

    Returns:
        A plain `Comparison`, and the seconds it took.
    """
    del report
    began = time.perf_counter()
    target = Target.from_json(arguments["target"])
    runtime = RUNTIMES.get(target.runtime)
    paths = [Path(arguments["reference"]), Path(arguments["path"])]
    data = Dataset.open(Path(arguments["data"]))
    sessions = [runtime.open(path, target, arguments["format"], data.contract) for path in paths]
    size = next((s.batch_size for s in sessions if s.batch_size), None) or target.batch_size
    inputs = [timed_inputs(session, data, size, _SAMPLES) for session in sessions]
    both = (0, 1)
    walls = [[_wall_us(sessions[side], inputs[side]) for side in both] for _ in range(_TURNS)]
    wall = [min(turn[side] for turn in walls) for side in both]
    runs = [max(_LEAST_RUNS, min(_MOST_RUNS, int(_MOST_US / wall[side] / _TURNS))) for side in both]
    nodes = [
        [runtime.profile(paths[side], target, arguments["format"], inputs[side], runs[side]) for side in both]
        for _ in range(_TURNS)
    ]
    for session in sessions:
        session.close()
    found = compare(*(Profile(_least([turn[side] for turn in nodes]), wall[side]) for side in both))
    return {**replace(found, cache_bytes=_cache_bytes()).to_json(), "seconds": time.perf_counter() - began}


def _least(turns: Sequence[tuple[NodeTime, ...]]) -> tuple[NodeTime, ...]:
    """The least time of each node: a session keeps an offset of its own (memory layout), at other nodes each time."""
    least: dict[tuple[str, str], float] = {}
    for nodes in turns:
        together: dict[tuple[str, str], float] = {}
        for node in nodes:
            key = (node.name, node.operator)
            together[key] = max(together.get(key, 0.0), node.microseconds)
        least |= {key: min(least.get(key, us), us) for key, us in together.items()}
    return tuple(replace(n, microseconds=min(n.microseconds, least[n.name, n.operator])) for n in turns[0])


def _wall_us(session: Session, inputs: Sequence[Sequence[Any]]) -> float:
    """Microseconds of an inference without the profiler."""
    taken: list[float] = []
    end = time.perf_counter() + _MOST_US / _TURNS / 1e6
    while len(taken) < _LEAST_RUNS or (len(taken) < _MOST_RUNS and time.perf_counter() < end):
        start = time.perf_counter()
        session.run(inputs[len(taken) % len(inputs)])
        taken.append(time.perf_counter() - start)
    return quick_mean(taken) * 1e6


def _cache_bytes() -> int:
    """Size of this machine's last-level cache, 0 where the system does not report it."""
    units = {"K": 1024, "M": 1024**2}
    sizes = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text("utf-8").strip()
        if text[:-1].isdigit() and text[-1] in units:
            sizes.append(int(text[:-1]) * units[text[-1]])
    return max(sizes)

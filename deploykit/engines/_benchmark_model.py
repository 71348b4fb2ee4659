"""LiteRT's benchmark tool, ``benchmark_model``: how it is called, and what it prints.

Source: ``tflite/tools/benchmark`` of LiteRT; each number below is printed by ``BenchmarkModel`` or by its
``StatWithPercentiles``. The tool makes up its inputs, and prints statistics of its runs, not the runs.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from deploykit.core.errors import EngineError

#: Runs of a block: so many, or for so long if that is more; never much longer than the cap.
_RUNS = 20
_RUNS_S = 0.1
_CAP_S = 2.5
_WARM_S = 0.3
_COUNTS = re.compile(r"count=(\d+)(?: first=(\d+))? curr=(\d+)(.*)")
_TIMINGS = re.compile(r"Inference timings in us: Init: ([\d.e+]+), First inference: ([\d.e+]+),")
_MEMORY = re.compile(r"Memory footprint delta from the start of the tool \(MB\): init=([-\d.e+]+) overall=([-\d.e+]+)")
#: The Android shell's ``time`` (mksh).
_CPU = re.compile(r"(?:(\d+)m)?([\d.]+)s (user|system)\b")
_MB = 1 << 20


@dataclass(frozen=True)
class Block:
    """One run of the tool.

    Attributes:
        count: Timed inferences.
        median_us: Their median.
        warm_count: Inferences before them.
        first_us: The very first one.
        load_us: Loading and preparing the model.
        memory_bytes: Growth of the process.
        cpu_s: CPU time of the whole process, loading included.
    """

    count: int
    median_us: float
    warm_count: int
    first_us: float
    load_us: float
    memory_bytes: int
    cpu_s: float

    @property
    def cpu_us(self) -> float:
        """CPU time of an inference, at most: the process's, loading included, over all its inferences."""
        return 1e6 * self.cpu_s / (self.count + self.warm_count)


def command(tool: str, graph: str, threads: int) -> str:
    """The line for the device's shell that runs one block."""
    options = {
        "graph": graph, "num_threads": threads, "num_runs": _RUNS, "min_secs": _RUNS_S, "max_secs": _CAP_S,
        "warmup_runs": 1, "warmup_min_secs": _WARM_S,
    }  # fmt: skip
    words = " ".join([tool, *(shlex.quote(f"--{name}={value}") for name, value in options.items())])
    return f"time {words} 2>&1"


def read(text: str) -> Block:
    """What a run of the tool printed.

    Raises:
        EngineError: It is not what a current version prints; shows its last line.
    """
    found = [(int(m[1]), _statistics(m)) for m in map(_COUNTS.search, text.splitlines()) if m]
    timings = _TIMINGS.search(text)
    cpu = {m[3]: 60 * int(m[1] or 0) + float(m[2]) for m in _CPU.finditer(text)}
    memory = _MEMORY.search(text)
    if len(found) < 2 or timings is None:
        last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing")
        raise EngineError(
            f"LiteRT's benchmark tool has measured nothing; it said: {last}.",
            remedy="check that it runs this model on the device by hand; operators of TensorFlow need the tool "
            "benchmark_model_plus_flex in its place.",
        )
    (warm, _), (count, statistics) = found[0], found[-1]
    if "median" not in statistics:
        raise EngineError(
            "LiteRT's benchmark tool on the device is too old: it prints no median of its runs.",
            remedy="put a current one there.",
        )
    if not cpu.keys() >= {"user", "system"}:
        raise EngineError(
            "The device's shell does not say how much CPU time the benchmark tool took.",
            remedy="deploykit reads what ``time`` prints in Android's own shell (mksh).",
        )
    return Block(
        count, statistics["median"], warm, float(timings[2]), float(timings[1]),
        max(0, round(float(memory[2]) * _MB)) if memory else 0, cpu["user"] + cpu["system"],
    )  # fmt: skip


def _statistics(found: re.Match[str]) -> dict[str, float]:
    """The named numbers of a line; of equal runs only the last is printed, which then is their median as well."""
    named = {name: float(value) for name, value in re.findall(r"(\w+)=([\d.e+]+)", found[4])}
    return named if named else {"median": float(found[3])}

"""The same sweep here and on two workers of this machine: ``python tests/bench/cluster.py [LAUNCHES]``.

Prints the time of both (the second of two sweeps each, so that frameworks are imported), what the cluster adds to each
task, how many tasks overlapped a timing (must be 0), and whether a killed worker cost a row. Wants a quiet machine.
"""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.reporting.events import Progress
from deploykit.testing import models
from deploykit.testing.cluster import Cluster

_STATIC = [
    {"calibration": method, "per_channel": channel}
    for method in ("minmax", "entropy", "percentile")
    for channel in (False, True)
]


class Spans(logging.Handler):
    """What the engine logs: (kind, task, address, machine, begin, end)."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the arguments of a record."""
        if record.levelno == logging.DEBUG:
            self.found.append(record.args)


def main() -> None:
    """Sweep and print."""
    launches = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    folder = Path(tempfile.mkdtemp(prefix="deploykit-bench-"))
    model = dk.load(models.build("cnn_onnx", folder))
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((2000, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 2000))
    recipes = [Recipe((Step("quantize_dynamic"),)), *(Recipe((Step("quantize_static", s),)) for s in _STATIC)]
    space = dk.Space(recipes, [Target("onnxruntime")])
    spans, logger = Spans(), logging.getLogger("deploykit.engines._remote")
    logger.addHandler(spans)
    logger.setLevel(logging.DEBUG)

    def sweep(name: str, engine: str, progress: Any = lambda _p: None) -> tuple[float, dk.Report]:
        started = time.perf_counter()
        report = dk.sweep(model, data, space, store=folder / name, engine=engine, launches=launches, progress=progress)
        return time.perf_counter() - started, report

    with Cluster(folder / "cluster", 2) as cluster:
        for engine in ("local", cluster.engine):
            seconds = [sweep(f"{engine[:4]}-{i}", engine)[0] for i in range(2)]
            print(f"{engine[:5]:6s} first {seconds[0]:6.1f} s, then {seconds[1]:6.1f} s")
        timings = [s for s in spans.found if s[0] == "exclusive"]
        overlapped = [
            a for a in timings if any(a is not b and a[3] == b[3] and a[4] < b[5] and b[4] < a[5] for b in spans.found)
        ]
        workers = len({s[2] for s in spans.found})
        print(f"{len(spans.found)} tasks on {workers} workers, {len(timings)} timings, {len(overlapped)} overlapped")
        pids, killed = cluster.pids(), []

        def kill(progress: Progress) -> None:
            done = [s[2] for s in spans.found if s[0] == "exclusive"]
            if not killed and progress.phase == "latency" and "round 2" in progress.doing:
                killed.append(done[-1])
                Cluster.send(pids[done[-1]], signal.SIGKILL)

        seconds_lost, report = sweep("killed", cluster.engine, kill)
        lost = sum(r.status != "measured" for r in report.rows)
        print(f"one of two workers killed: {seconds_lost:6.1f} s, {len(report.rows)} rows, {lost} lost")


if __name__ == "__main__":
    main()

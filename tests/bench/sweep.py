"""The demo sweep, stage by stage: ``python tests/bench/sweep.py [LAUNCHES]``.

Prints the seconds of each phase, the time spent timing, how often each framework was imported, and the largest
resident size of this process, which stands for the user's kernel. Wants a quiet machine.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import deploykit as dk
from deploykit.reporting.events import Progress
from deploykit.sandbox.supervisor import shared

_NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def main() -> None:
    """Sweep and print."""
    launches = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    seconds: dict[str, float] = defaultdict(float)
    last = [time.perf_counter(), "plan"]

    def watch(progress: Progress) -> None:
        now = time.perf_counter()
        seconds[str(last[1])] += now - float(last[0])
        last[:] = [now, progress.phase]

    model = dk.load(_NOTEBOOKS / "models" / "fashion_cnn.keras")
    preprocess = dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    data = dk.Dataset.from_npz(_NOTEBOOKS / "data" / "fashion-mnist.npz", preprocess=preprocess)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = dk.sweep(model, data, "quick", store=folder, launches=launches, progress=watch)
    total = time.perf_counter() - start
    print(report)
    for phase, spent in seconds.items():
        print(f"{phase:10s} {spent:7.1f} s")
    print(f"{'total':10s} {total:7.1f} s for {len(report.rows)} candidates, {launches} launches")
    print(f"import groups, each imported once: {', '.join(sorted(shared()._parents))}")
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"largest resident size of this process: {kilobytes / 1000:.0f} MB")
    heavy = [name for name in ("tensorflow", "keras", "onnxruntime", "ai_edge_litert") if name in sys.modules]
    print(f"frameworks imported in this process: {', '.join(heavy) or 'none'}")


if __name__ == "__main__":
    main()

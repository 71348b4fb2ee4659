"""A sweep in a process of its own, which faults are done to: ``driver.py JSON`` prints what became of it as JSON.

``stop``: words of the progress at which the process kills itself; ``fill``: words at which it fills the store's disk,
which it frees after the error to sweep again; ``read``: it opens the report first.
"""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import DeploykitError

SPACE = dk.Space([Recipe((Step("quantize_dynamic"),)), Recipe((Step("quantize_static"),))], [Target("onnxruntime")])


def dataset(count=400):
    rng = np.random.default_rng(0)
    return dk.Dataset.from_arrays(rng.random((count, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, count))


def main(options):
    store, filler = Path(options["store"]), Path(options["store"]) / "filler"
    events, filled = [], []

    def watch(progress):
        events.append(progress)
        words = f"{progress.phase}: {progress.doing}"
        if options.get("stop") and options["stop"] in words:
            os.kill(os.getpid(), signal.SIGKILL)
        if options.get("fill") and options["fill"] in words and not filled:
            filled.append(words)
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                for size in (1 << 16, 1 << 9, 1):
                    with contextlib.suppress(OSError):
                        while file.write(b"x" * size):
                            pass

    def sweep():
        try:
            report = dk.sweep(
                dk.load(options["model"]), dataset(), SPACE, store=store, launches=3, progress=watch,
                engine=options.get("engine", "local"),
            )  # fmt: skip
        except DeploykitError as error:
            return {"error": type(error).__name__, "text": str(error)}
        return {"statuses": [r.status for r in report.rows], "reused": events[-1].reused, "total": events[-1].total}

    found = {"read": len(dk.Report.open(store).rows)} if options.get("read") else {}
    found |= sweep()
    if filler.exists():
        filler.unlink()
        found["again"] = sweep()
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

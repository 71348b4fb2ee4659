"""Start-up times: ``python tests/bench/startup.py``.

Prints, as medians over several processes: the import of deploykit, and ``deploykit inspect`` on an ONNX and a TFLite
file. Start-up of a process includes the interpreter's own, which is printed beside it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deploykit.testing import models

_RUNS = 7


def seconds(*command: str) -> float:
    """Median wall-clock time of a command."""
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        onnx = models.build("cnn_onnx", Path(folder))
        tflite = models.build("cnn_tflite", Path(folder))
        rows = {
            "python -c pass": (sys.executable, "-c", "pass"),
            "import deploykit": (sys.executable, "-c", "import deploykit"),
            "deploykit inspect model.onnx": (sys.executable, "-m", "deploykit", "inspect", str(onnx)),
            "deploykit inspect model.tflite": (sys.executable, "-m", "deploykit", "inspect", str(tflite)),
        }
        for name, command in rows.items():
            print(f"{name:34s} {seconds(*command):6.3f} s")


if __name__ == "__main__":
    main()

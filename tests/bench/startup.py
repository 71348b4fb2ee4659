"""Start-up times: ``python tests/bench/startup.py``.

Prints, as medians over several processes: the import of deploykit, ``deploykit inspect`` on an ONNX and a TFLite file,
and ``deploykit serve`` on the tutorials' network as either, from its start to readiness, with the memory that all its
processes hold together (PSS, Linux). Start-up of a process includes the interpreter's own, which is printed beside it.

A server of an artifact's own environment (``--python PATH``) shares its libraries with no other process: that is what a
container measures.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

import deploykit as dk
from deploykit.testing import models

_RUNS = 7
_NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def seconds(*command: str) -> float:
    """Median wall-clock time of a command."""
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def served(python: str, artifact: Path) -> tuple[float, float]:
    """Median seconds until a server is ready, and megabytes of all its processes, NaN where the system has no PSS."""
    times, sizes = [], []
    for _ in range(_RUNS):
        start = time.perf_counter()
        command = [python, "-m", "deploykit", "serve", str(artifact), "--port", "0", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=artifact) as server:
            assert server.stdout is not None
            try:
                text = ""
                while not text.rstrip().endswith("}"):
                    line = server.stdout.readline()
                    if not line:
                        raise SystemExit("The server ended before it was ready.")
                    text += line
                times.append(time.perf_counter() - start)
                parent = psutil.Process(server.pid)
                sizes.append(sum(megabytes(process) for process in (parent, *parent.children(recursive=True))))
            finally:
                server.terminate()
    return statistics.median(times), statistics.median(sizes)


def megabytes(process: psutil.Process) -> float:
    """Memory of a process, what it shares with others in parts."""
    return float(getattr(process.memory_full_info(), "pss", math.nan)) / 1e6


def artifacts(folder: Path) -> dict[str, Path]:
    """The tutorials' network, exported as ONNX and as TFLite."""
    made = {}
    preprocess = dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    data = dk.Dataset.from_npz(_NOTEBOOKS / "data" / "fashion-mnist.npz", preprocess=preprocess)
    for ending, runtime in (("onnx", "onnxruntime"), ("tflite", "litert")):
        model = dk.load(_NOTEBOOKS / "models" / f"fashion_cnn.{ending}")
        made[ending] = dk.export(dk.build(model, dk.Recipe(), data, target=runtime), folder / ending).path
    return made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that serves (default: this one)")
    options = parser.parse_args()
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
        for ending, artifact in artifacts(Path(folder)).items():
            ready, memory = served(options.python, artifact)
            print(f"{f'deploykit serve, model.{ending}':34s} {ready:6.3f} s  {memory:4.0f} MB")


if __name__ == "__main__":
    main()

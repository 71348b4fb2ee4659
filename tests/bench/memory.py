"""Peak memory of a sweep of few and of many rows: ``python tests/bench/memory.py``.

Rows of 64 real numbers lie in a file on the disk (a folder of ``.npy`` files, an ``.npz`` or a ``.csv``). Each size is
swept in a process of its own: a small dense network in float32 and in static int8, not timed. Beside the seconds stand
the largest peaks of resident memory that the system has kept (``VmHWM``): of the process that sweeps, of the largest of
its children, and the largest sum of both at a moment. Pages of mapped files count. Exits with 1 if a peak of the larger
size is more than ``--limit`` above that of the smaller one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

_COLUMNS, _CLASSES, _HIDDEN = 64, 10, 128
_BLOCK = 10_000
_MIB = 1 << 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs=2, default=(10_000, 1_000_000))
    parser.add_argument("--kind", choices=("npy", "npz", "compressed", "csv"), default="npy")
    parser.add_argument("--limit", type=float, default=0.1)
    parser.add_argument("--max-drop", type=float)
    parser.add_argument("--folder", type=Path, help="where data and stores are put (default: a temporary folder)")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(swept(*map(Path, options.one), options.max_drop)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        found = [_measured(Path(temporary), rows, options) for rows in options.rows]
    few, many = found
    print(f"{'':28}{options.rows[0]:>14,}{options.rows[1]:>14,}   ratio")
    for name in few["peaks"]:
        a, b = few["peaks"][name] / _MIB, many["peaks"][name] / _MIB
        print(f"{f'peak of {name}, MiB':28}{a:>14.1f}{b:>14.1f}{b / a:>8.3f}")
    for name in few["seconds"]:
        print(f"{f'{name}, seconds':28}{few['seconds'][name]:>14.1f}{many['seconds'][name]:>14.1f}")
    for label, a, b in zip(few["labels"], few["values"], many["values"], strict=True):
        print(f"{label:28}{a:>14.4f}{b:>14.4f}")
    worst = max(many["peaks"][n] / few["peaks"][n] for n in ("the driver", "the largest child"))
    print(f"largest ratio {worst:.3f}, limit {1 + options.limit:.2f}")
    return int(worst > 1 + options.limit)


def _measured(folder: Path, rows: int, options: argparse.Namespace) -> dict:
    """One size in a process of its own."""
    place = folder / str(rows)
    place.mkdir()
    data = _written(place, rows, options.kind)
    more = [] if options.max_drop is None else ["--max-drop", str(options.max_drop)]
    command = [sys.executable, __file__, "--one", str(place / "model.onnx"), str(data), str(place / "store"), *more]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _written(folder: Path, rows: int, kind: str) -> Path:
    """Data of that many rows and the model that their labels come from, written block by block."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    first = random.normal(0, 0.3, (_COLUMNS, _HIDDEN)).astype(np.float32)
    last = random.normal(0, 0.3, (_HIDDEN, _CLASSES)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "last"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", _COLUMNS])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", _CLASSES])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(last, "last")],
    )
    onnx.save(
        helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), folder / "model.onnx"
    )
    data = folder / "data"
    data.mkdir()
    x = np.lib.format.open_memmap(data / "x.npy", "w+", np.float32, (rows, _COLUMNS))
    y = np.lib.format.open_memmap(data / "y.npy", "w+", np.int64, (rows,))
    for start in range(0, rows, _BLOCK):
        block = random.normal(0, 1, (min(_BLOCK, rows - start), _COLUMNS)).astype(np.float32)
        scores = np.maximum(block @ first, 0) @ last
        x[start : start + len(block)] = block
        y[start : start + len(block)] = (scores + random.normal(0, 0.5, scores.shape)).argmax(axis=1)
    x.flush()
    y.flush()
    if kind in ("npz", "compressed"):
        (np.savez if kind == "npz" else np.savez_compressed)(folder / "data.npz", x=x, y=y)
        return folder / "data.npz"
    if kind == "csv":
        with (folder / "data.csv").open("w") as file:
            file.write(",".join([*(f"c{i}" for i in range(_COLUMNS)), "label"]) + "\n")
            for start in range(0, rows, _BLOCK):
                np.savetxt(
                    file,
                    np.column_stack([x[start : start + _BLOCK], y[start : start + _BLOCK]]),
                    fmt=["%.6g"] * _COLUMNS + ["%d"],
                    delimiter=",",
                )
        return folder / "data.csv"
    return data


def swept(model: Path, data: Path, store: Path, max_drop: float | None) -> dict:
    """Sweep in this process, and the peaks of it and of its children."""
    import deploykit as dk

    watch = _Watch()
    began = time.perf_counter()
    read = dk.Dataset.from_csv(data) if data.suffix == ".csv" else dk.Dataset.from_npz(data)
    reading = time.perf_counter() - began
    watch.mark("reading")
    space = dk.Space([dk.Recipe((dk.Step("quantize_static"),))], [dk.Target("onnxruntime")])
    report = dk.sweep(dk.load(model), read, space, store=store, launches=0, max_drop=max_drop, progress=lambda _: None)
    peaks = watch.end()
    rows = [row for row in report.rows if row.measurement]
    return {
        "peaks": peaks,
        "seconds": {"reading": reading, "sweep": time.perf_counter() - began - reading},
        "labels": [f"{row.measurement.score.metric} of {row.label}"[:28] for row in rows],
        "values": [row.measurement.score.value for row in rows],
    }


class _Watch:
    """Asks the system for the peaks of this process and all below it, again and again."""

    def __init__(self) -> None:
        self._peaks: dict[int, int] = {}
        self._together = 0
        self._marks: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def mark(self, name: str) -> None:
        """Note this process's peak so far."""
        self._marks[f"the driver after {name}"] = self._status("self").get("VmHWM", 0)

    def end(self) -> dict[str, int]:
        self._stop.set()
        self._thread.join()
        own = self._status("self").get("VmHWM", 0)
        return {
            **self._marks,
            "the driver": own,
            "the largest child": max(self._peaks.values(), default=0),
            "all at once": self._together,
        }

    def _run(self) -> None:
        import psutil

        me = psutil.Process()
        while not self._stop.wait(0.05):
            together = self._status("self").get("VmRSS", 0)
            for child in me.children(recursive=True):
                found = self._status(str(child.pid))
                together += found.get("VmRSS", 0)
                self._peaks[child.pid] = max(self._peaks.get(child.pid, 0), found.get("VmHWM", 0))
            self._together = max(self._together, together)

    @staticmethod
    def _status(process: str) -> dict[str, int]:
        try:
            lines = Path("/proc", process, "status").read_text().splitlines()
        except OSError:
            return {}
        return {
            n: 1024 * int(v.split()[0])
            for n, _, v in (line.partition(":") for line in lines)
            if n in ("VmHWM", "VmRSS")
        }


if __name__ == "__main__":
    sys.exit(main())

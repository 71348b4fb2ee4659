"""Memory that calibration takes, as examples grow: ``python tests/bench/calibration.py [EXAMPLES …]``.

Measures ranges of a CNN with 64×64 inputs over 100, 1,000 and 10,000 examples by deploykit and by ONNX Runtime's own
calibrators, each in a process of its own, and prints its peak of resident memory, its seconds and the range of one
tensor. ONNX Runtime's histograms hold what all layers gave for the examples of one call, so it is not asked for more
than fits into memory: 5 GB, or ``LIMIT_GB``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

_SIDE, _BATCH = 64, 8
_METHODS = ("minmax", "entropy", "percentile")
_LIMIT = float(os.environ.get("LIMIT_GB", "5"))


def model(path: Path) -> int:
    """Write a prepared CNN; gives the bytes that its tensors take for one example."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from deploykit.surgery.quantization import prepare

    rng, nodes, constants, name, width = np.random.default_rng(0), [], [], "x", 3
    for number, outputs in enumerate((16, 16, 32, 32)):
        weights = rng.normal(0, np.sqrt(2 / (9 * width)), (outputs, width, 3, 3)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"w{number}"))
        conv = helper.make_node("Conv", [name, f"w{number}"], [f"c{number}"], f"conv_{number}", pads=[1] * 4)
        nodes += [conv, helper.make_node("Relu", [f"c{number}"], [f"r{number}"], f"relu_{number}")]
        name, width = f"r{number}", outputs
    nodes.append(helper.make_node("GlobalAveragePool", [name], ["y"], "pool"))
    shapes = (("x", ["n", 3, _SIDE, _SIDE]), ("y", ["n", width, 1, 1]))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes)
    made = helper.make_model(
        helper.make_graph(nodes, "cnn", [x], [y], constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    )
    raw = path.with_suffix(".raw.onnx")
    onnx.save(made, raw)
    prepare.prepare(raw, path, {})
    return 4 * _SIDE * _SIDE * (3 + 2 * (16 + 16 + 32 + 32))


def data(folder: Path, count: int) -> None:
    """Save a dataset of which so many examples calibrate."""
    from deploykit.data.dataset import Dataset

    images = np.random.default_rng(1).integers(0, 256, (count, _SIDE, _SIDE, 3), np.uint8).transpose(0, 3, 1, 2)
    held = images[: max(60, count // 100)]
    Dataset.from_arrays(images, x_test=held, calibration_size=count).save(folder)


def ours(graph: Path, folder: Path, method: str) -> Any:
    """deploykit's ranges."""
    from deploykit.data.dataset import Dataset
    from deploykit.surgery.quantization import ranges

    examples, report = Dataset.open(folder), lambda *_progress: None
    found = ranges.extremes(graph, examples, {}, report)
    if method != "minmax":
        found = ranges.clipped(graph, examples, method, found, {}, report)
    return ranges.read(found)


def theirs(graph: Path, folder: Path, method: str) -> Any:
    """ONNX Runtime's ranges, as ``quantize_static`` measures them."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    from deploykit.data.dataset import Dataset

    names = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
    with tempfile.TemporaryDirectory() as place:
        made = create_calibrator(
            graph, augmented_model_path=f"{place}/more.onnx", calibrate_method=CalibrationMethod[names[method]]
        )
        made.collect_data(_Reader(Dataset.open(folder)))
        return made.compute_data()


class _Reader:
    def __init__(self, examples: Any) -> None:
        count = examples.calibration_count // _BATCH * _BATCH  # a last batch that is not full would end it
        self._examples, self._starts = examples, iter(range(0, count, _BATCH))

    def get_next(self) -> Any:
        start = next(self._starts, None)
        if start is None:
            return None
        (images,) = self._examples.calibration(slice(start, start + _BATCH)).values()
        return {"x": images.astype(np.float32)}


def child(who: str, graph: str, folder: str, method: str) -> None:
    """Measure, and print what that took."""
    import onnxruntime.quantization  # noqa: F401  what is imported is not counted

    began = time.perf_counter()
    found = {"ours": ours, "theirs": theirs}[who](Path(graph), Path(folder), method)
    ends = [float(np.ravel(end)[0]) for end in found["c3"].range_value]
    status = Path("/proc/self/status").read_text()  # getrusage counts what the parent had
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    print(json.dumps({"seconds": time.perf_counter() - began, "peak": peak, "range": ends}))


def main() -> None:
    """Measure all and print a table."""
    counts = [int(text) for text in sys.argv[1:]] or [100, 1000, 10_000]
    print(f"{'method':10s} {'examples':>8s}   deploykit: MB, s, range          ONNX Runtime: MB, s, range")
    with tempfile.TemporaryDirectory(prefix="deploykit-bench-") as place:
        folder = Path(place)
        bytes_each = model(folder / "model.onnx")
        for count in counts:
            data(folder / str(count), count)
        for method in _METHODS:
            for count in counts:
                cells = []
                for who in ("ours", "theirs"):
                    needed = 1.2 * count * bytes_each / 1e9 if who == "theirs" and method != "minmax" else 0.0
                    if needed > _LIMIT:
                        cells.append(f"not tried: more than {needed:.0f} GB")
                        continue
                    command = [sys.executable, __file__, "--child", who, str(folder / "model.onnx")]
                    made = subprocess.run(
                        [*command, str(folder / str(count)), method], check=True, stdout=subprocess.PIPE, text=True
                    )
                    found = json.loads(made.stdout.splitlines()[-1])
                    low, high = found["range"]
                    cells.append(f"{found['peak']:6.0f} {found['seconds']:6.1f}  {low:8.2f} … {high:.2f}")
                print(f"{method:10s} {count:8,d}   {cells[0]:32s} {cells[1]}", flush=True)


if __name__ == "__main__":
    child(*sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main()

"""Planning: ``python tests/bench/plan.py [CANDIDATES]`` (1,000 by default).

Prints how long ``dk.plan`` takes for a space of recipes x targets on an ONNX model, first and again in the same
process, and which frameworks it has imported (there should be none).
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import deploykit as dk
from deploykit.testing import models

_FRAMEWORKS = ("tensorflow", "keras", "tf_keras", "onnx", "onnxruntime", "openvino", "ai_edge_litert")


def space(count: int) -> dk.Space:
    """At least ``count`` candidates."""
    choices = {
        "form": ("qdq", "qoperator"),
        "per_channel": (False, True),
        "calibration": ("minmax", "entropy", "percentile"),
        "operators": ("all", "conv_matmul"),
        "activations": ("uint8", "int8"),
        "exclude": ("", "Softmax", "Relu, Softmax"),
    }
    steps = [
        dk.Step("quantize_static", dict(zip(choices, v, strict=True))) for v in itertools.product(*choices.values())
    ]
    recipes = [dk.Recipe((step,)) for step in steps]
    targets = [dk.Target("onnxruntime", threads=threads) for threads in range(1, -(-count // len(recipes)) + 1)]
    return dk.Space(recipes, targets)


def main() -> None:
    """Plan and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        model = dk.load(models.build("cnn_onnx", Path(folder)))
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((500, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 500))
    wanted = space(count)
    for turn in ("first", "again"):
        start = time.perf_counter()
        plan = dk.plan(model, data, wanted)
        seconds = time.perf_counter() - start
        print(f"{turn}: {len(plan.candidates)} candidates, {len(plan.steps)} build steps: {seconds:.2f} s")
    print(f"frameworks imported: {', '.join(name for name in _FRAMEWORKS if name in sys.modules) or 'none'}")


if __name__ == "__main__":
    main()

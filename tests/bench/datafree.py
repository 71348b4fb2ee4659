"""What techniques keep when their inputs are synthesized, beside real ones: ``python tests/bench/datafree.py``.

The tutorial CNN as Keras and ONNX file. Real inputs are those of the training set, without labels. All results of one
file are of one evaluation set, which no method has seen.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import deploykit as dk

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
HALF = dk.Step("prune_channels", {"ratio": 0.5})
ONE_SHOT = dk.Step("prune_channels", {"ratio": 0.5, "criterion": "l1", "reconstruct": False})
RECIPES = (
    (dk.Step("quantize_static"),),
    (HALF,),
    (HALF, dk.Step("distill")),
    (ONE_SHOT,),
    (ONE_SHOT, dk.Step("distill")),
)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", default="keras", choices=("keras", "onnx"))
    parser.add_argument("--method", action="append", default=[], help="batchnorm, generator or real (repeatable)")
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    arrays = np.load(NOTEBOOKS / "data" / "fashion-mnist.npz")
    preprocess = dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    held = {"x_test": arrays["x_test"], "y_test": arrays["y_test"]}
    model = dk.load(NOTEBOOKS / "models" / f"fashion_cnn.{options.format}")
    target = dk.Target("onnxruntime")
    space = dk.Space([dk.Recipe(steps) for steps in RECIPES], [target])
    for method in options.method or ["real", "generator", *(["batchnorm"] if options.format == "keras" else [])]:
        data = dk.Dataset.from_arrays(arrays["x_train"], arrays["y_train"], **held, preprocess=preprocess)
        started = time.monotonic()
        if method != "real":
            data = dk.synthesize(model, data, method=method, examples=options.examples, steps=options.steps)
        seconds = time.monotonic() - started
        with tempfile.TemporaryDirectory() as store:
            report = dk.sweep(model, data, space, store=store, launches=0)
            print(f"{options.format} {method}: {seconds:.0f} s, {len(data.splits['train'])} inputs", flush=True)
            for row in report.rows:
                score = f"{row.measurement.score.value:.4f}" if row.measurement else str(row.failure)
                print(f"  {row.label}: {score}", flush=True)


if __name__ == "__main__":
    main()

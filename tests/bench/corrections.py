"""What corrections win back after quantization: ``python tests/bench/corrections.py [MODEL IMAGES.npz]``.

Accuracy of the tutorial's CNN, as a Keras model on ONNX Runtime, after int8 and after rounding to few bits, each with
and without corrections. Another model and images may be named: arrays ``x_train``, which calibrate, and ``x_test``, as
the model takes them; without labels, agreement with the original is shown.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target

_ROOT = Path(__file__).parents[2] / "notebooks"
#: Settings of int8, and what is done about the error.
_INT8: tuple[dict[str, Any], ...] = ({}, {"per_channel": True, "operators": "conv_matmul"})
_CORRECTIONS = ("none", "bias", "weights")


def recipes() -> list[Recipe]:
    """All that is compared."""
    equalize, correct = Step("equalize_layers"), Step("correct_bias")
    found = [
        Recipe((*before, Step("quantize_static", {**settings, "correction": correction})))
        for settings in _INT8
        for before in ((), (equalize,))
        for correction in _CORRECTIONS
    ]
    for bits in (2, 3, 4):
        rounded = Step("quantize_simulated", {"bits": bits})
        found += [Recipe((rounded,)), Recipe((rounded, correct))]
    return found


def main() -> None:
    """Sweep and print."""
    if sys.argv[1:]:
        model = dk.load(sys.argv[1])
        data = dk.Dataset.from_npz(sys.argv[2])
    else:
        model = dk.load(_ROOT / "models" / "fashion_cnn.keras")
        scaled = dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
        data = dk.Dataset.from_npz(_ROOT / "data" / "fashion-mnist.npz", preprocess=scaled)
    with tempfile.TemporaryDirectory(prefix="deploykit-bench-") as folder:
        space = dk.Space(recipes(), [Target("onnxruntime")])
        report = dk.sweep(model, data, space, store=folder, launches=0, progress=lambda _progress: None)
        frame = report.to_frame()
    for row in frame.itertuples():
        print(
            f"{row.candidate:75s} {row.metric} {row.value:.4f}" if row.status == "measured" else f"{row.candidate}: -"
        )


if __name__ == "__main__":
    main()

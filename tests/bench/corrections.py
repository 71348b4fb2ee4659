"""What corrections win back after quantization: ``python tests/bench/corrections.py [MODEL IMAGES.npz]``.

Accuracy of the tutorial's CNN, as a Keras model on ONNX Runtime, after int8 and after rounding to few bits, each with
and without corrections. Another model and images may be named, which are compared in int8: arrays ``x_train``, of which
100 calibrate, and ``x_test``, of which 200 are measured, as the model takes them; without labels, agreement with the
original is shown. A deep network takes minutes: for each correction, all of its layers run one by one beside the
original's, and ``weights`` also solves the weights of each.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target

_ROOT = Path(__file__).parents[2] / "notebooks"
_TENSOR: dict[str, Any] = {"per_channel": False, "operators": "all"}
_CHANNEL: dict[str, Any] = {"per_channel": True, "operators": "conv_matmul"}
_EQUALIZE = Step("equalize_layers")
_CORRECTIONS = ("none", "bias", "weights")
#: Images of another model that calibrate, and that are measured.
_CALIBRATE, _MEASURE = 100, 200


def int8(settings: dict[str, Any], *before: Step) -> list[Recipe]:
    """Int8 with some settings, with each correction."""
    return [Recipe((*before, Step("quantize_static", {**settings, "correction": c}))) for c in _CORRECTIONS]


def recipes() -> list[Recipe]:
    """All that is compared for the tutorial's model."""
    found = [*int8(_TENSOR), *int8(_TENSOR, _EQUALIZE), *int8(_CHANNEL), *int8(_CHANNEL, _EQUALIZE)]
    for bits in (2, 3, 4):
        rounded = Step("quantize_simulated", {"bits": bits})
        found += [Recipe((rounded,)), Recipe((rounded, Step("correct_bias")))]
    return found


def images(path: Path) -> dk.Dataset:
    """As many images of another model as are used."""
    import numpy as np

    counts = {"train": _CALIBRATE, "test": _MEASURE}
    with np.load(path) as arrays:
        found = {f"{n}_{s}": arrays[f"{n}_{s}"][:c] for s, c in counts.items() for n in "xy" if f"{n}_{s}" in arrays}
    y, tests = found.get("y_train"), {name: found[name] for name in ("x_test", "y_test") if name in found}
    return dk.Dataset.from_arrays(found["x_train"], y, **tests, calibration_size=_CALIBRATE)


def main() -> None:
    """Sweep and print."""
    if sys.argv[1:]:
        model, data = dk.load(sys.argv[1]), images(Path(sys.argv[2]))
        wanted = [*int8(_TENSOR), *int8(_TENSOR, _EQUALIZE), *int8(_CHANNEL)]
    else:
        model, wanted = dk.load(_ROOT / "models" / "fashion_cnn.keras"), recipes()
        scaled = dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
        data = dk.Dataset.from_npz(_ROOT / "data" / "fashion-mnist.npz", preprocess=scaled)
    with tempfile.TemporaryDirectory(prefix="deploykit-bench-") as folder:
        space = dk.Space(wanted, [Target("onnxruntime")])
        report = dk.sweep(model, data, space, store=folder, launches=0, progress=told())
        frame = report.to_frame()
    for row in frame.itertuples():
        print(
            f"{row.candidate:75s} {row.metric} {row.value:.4f}" if row.status == "measured" else f"{row.candidate}: -"
        )


def told() -> Callable[[Any], None]:
    """Prints how many candidates are measured whenever there are more, with the seconds since the start."""
    began, seen = time.perf_counter(), [-1]

    def tell(progress: Any) -> None:
        if progress.evaluated > seen[0]:
            seen[0] = progress.evaluated
            print(f"{time.perf_counter() - began:5.0f} s: {seen[0]} of {progress.candidates} measured", flush=True)

    return tell


if __name__ == "__main__":
    main()

"""A cut, distilled and quantized model beside plain int8: ``python tests/bench/smaller.py``.

The tutorial's network, made smaller without labels (half of the channels, distillation, int8) for LiteRT and ONNX
Runtime, beside int8 of the whole network by TensorFlow Lite's converter, ONNX Runtime's quantizer and NNCF (in an
environment of its own, kept in ``--cache FOLDER``, or left out with ``--without-nncf``). All files answer the same
5,000 test images, and are timed in turns, one inference at a time on one thread, in processes that are started again
for each launch. A ratio is that of the medians of a launch; intervals are those of a t-distribution over launches.
Wants a quiet machine; the load is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_MODELS = _ROOT / "notebooks" / "models"
_DATA = _ROOT / "notebooks" / "data" / "fashion-mnist.npz"
_NNCF = ("nncf>=3,<4", "onnx", "onnxruntime")
_CALIBRATION = 600
_ROUNDS, _RUNS = 5, 300
#: How many times as fast as the best int8 of the peers ours is to be, and how many points it may lose.
_FASTER, _POINTS = 2.0, 1.0


# -- making files -----------------------------------------------------------------------------------------------------


def ours(folder: Path) -> None:
    """Half of the channels, distilled and quantized, for both runtimes."""
    import deploykit as dk

    model = dk.load(_MODELS / "fashion_cnn.keras")
    data = dk.Dataset.from_npz(
        _DATA, preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1)), calibration_size=_CALIBRATION
    )
    recipe = dk.Recipe((dk.Step("prune_channels"), dk.Step("distill"), dk.Step("quantize_static")))
    for runtime, ending in (("litert", "tflite"), ("onnxruntime", "onnx")):
        dk.build(model, recipe, data, target=runtime).save(folder / f"deploykit.{ending}")


def tensorflow_lite(folder: Path) -> None:
    """What the converter's documentation shows: dynamic range, and full integers with a representative data set."""
    import keras
    import numpy as np
    import tensorflow as tf

    model = keras.models.load_model(_MODELS / "fashion_cnn.keras")
    model.export(folder / "saved", verbose=False)
    images = np.load(_DATA)["x_train"][:_CALIBRATION, ..., None].astype(np.float32) / 255
    for name, representative in (("dynamic", False), ("static", True)):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if representative:
            converter.representative_dataset = lambda: ([image[None]] for image in images)
        (folder / f"tflite-{name}.tflite").write_bytes(converter.convert())


def onnx_runtime(folder: Path) -> None:
    """What ONNX Runtime's documentation shows: preparation, then dynamic, and static with QDQ per channel."""
    import numpy as np
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared.onnx"
    quant_pre_process(str(_MODELS / "fashion_cnn.onnx"), str(prepared))
    quantization.quantize_dynamic(str(prepared), str(folder / "onnxruntime-dynamic.onnx"))
    images = np.load(_DATA)["x_train"][:_CALIBRATION, ..., None].astype(np.float32) / 255

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # the base class is untyped
        left = iter([{"image": image[None]} for image in images])

        def get_next(self) -> Any:
            return next(self.left, None)

    quantization.quantize_static(str(prepared), str(folder / "onnxruntime-static.onnx"), Reader(), per_channel=True)
    prepared.unlink()


def nncf(folder: Path, cache: Path) -> None:
    """NNCF's quantization of the ONNX file."""
    python = cache / "nncf" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(cache / "nncf")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *_NNCF], check=True)
    target = folder / "nncf.onnx"
    script = _HERE / "peers" / "nncf_run.py"
    command = [python, script, _MODELS / "fashion_cnn.onnx", _DATA, _CALIBRATION, target]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


# -- measuring --------------------------------------------------------------------------------------------------------


def runner(path: Path) -> Any:
    """A call with one image, on one thread."""
    if path.suffix == ".onnx":
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda image: session.run(None, {name: image})[0]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    entry, answer = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def call(image: Any) -> Any:
        interpreter.set_tensor(entry, image)
        interpreter.invoke()
        return interpreter.get_tensor(answer)

    return call


def launch(folder: Path) -> dict[str, float]:
    """Median milliseconds of each file, timed in turns."""
    import random

    import numpy as np

    image = np.load(_DATA)["x_test"][:1, ..., None].astype(np.float32) / 255
    calls = {path.name: runner(path) for path in _files(folder)}
    found: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(_ROUNDS + 1):  # the first round warms up
        random.shuffle(order)
        for name in order:
            call, times = calls[name], []
            for _ in range(_RUNS):
                began = time.perf_counter()
                call(image)
                times.append(time.perf_counter() - began)
            found[name].append(1000 * statistics.median(times))
    return {name: statistics.median(times[1:]) for name, times in found.items()}


def accuracy(path: Path) -> float:
    """Share of right answers on the test images, in percent."""
    import numpy as np

    arrays = np.load(_DATA)
    images, call = arrays["x_test"][..., None].astype(np.float32) / 255, runner(path)
    found = [int(call(image[None]).argmax()) for image in images]
    return 100 * float(np.mean(np.array(found) == arrays["y_test"]))


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix in {".onnx", ".tflite"})


def _child(step: str, folder: Path, cache: Path) -> str:
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder), "--cache", str(cache)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Make all files, measure them, print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, default=10)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "deploykit-bench")
    parser.add_argument("--without-nncf", action="store_true")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    makers = {"ours": ours, "tensorflow_lite": tensorflow_lite, "onnx_runtime": onnx_runtime}
    if arguments.step == "launch":
        print(json.dumps(launch(arguments.folder)))
        return
    if arguments.step == "nncf":
        nncf(arguments.folder, arguments.cache)
        return
    if arguments.step:
        makers[arguments.step](arguments.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in [*makers, *([] if arguments.without_nncf else ["nncf"])]:
            began = time.perf_counter()
            _child(name, folder, arguments.cache)
            print(f"{name.replace('_', ' ')}: made in {time.perf_counter() - began:.0f} s")
        for path in ("fashion_cnn.onnx", "fashion_cnn.tflite"):
            (folder / f"original{Path(path).suffix}").write_bytes((_MODELS / path).read_bytes())
        launches = [json.loads(_child("launch", folder, arguments.cache)) for _ in range(arguments.launches)]
        _report(folder, launches)


def _report(folder: Path, launches: list[dict[str, float]]) -> None:
    scores = {path.name: accuracy(path) for path in _files(folder)}
    medians = {name: statistics.median(times[name] for times in launches) for name in scores}
    peers = [name for name in scores if not name.startswith(("original", "deploykit"))]
    best = min(peers, key=medians.__getitem__)
    print(f"\n{'file':<28}{'ms':>9}{'accuracy, %':>13}{'kB':>7}{'as fast as the best peer':>34}")
    for name in sorted(scores, key=medians.__getitem__):
        ratio, half = _interval([times[best] / times[name] for times in launches])
        size = (folder / name).stat().st_size / 1000
        print(f"{name:<28}{medians[name]:>9.4f}{scores[name]:>13.2f}{size:>7.0f}{f'{ratio:.2f}× ± {half:.2f}':>34}")
    ratio, half = _interval([times[best] / times["deploykit.tflite"] for times in launches])
    lost = scores["original.tflite"] - scores["deploykit.tflite"]
    print(f"\nload {os.getloadavg()[0]:.1f}; best peer {best}")
    print(f"ours: {ratio:.2f}× ± {half:.2f} of it (wanted {_FASTER:g}), {lost:.2f} points lost (wanted {_POINTS:g})")


def _interval(ratios: list[float]) -> tuple[float, float]:
    """Mean and half of the 95 % interval."""
    from scipy import stats

    spread = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
    return statistics.mean(ratios), float(stats.t.ppf(0.975, max(1, len(ratios) - 1))) * spread


if __name__ == "__main__":
    main()

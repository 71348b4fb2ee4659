"""Smaller models beside plain int8: ``python tests/bench/smaller.py``.

The tutorial's network, made smaller without labels (half of the channels, distillation, int8) for LiteRT and ONNX
Runtime, beside int8 of the whole network by TensorFlow Lite's converter, ONNX Runtime's quantizer, Olive and NNCF (in
environments of their own, kept in ``--cache FOLDER``, or left out with ``--without``). All files answer the same test
images, and are timed in turns, one inference at a time on one thread, in processes that are started again for each
launch. A ratio is that of the medians of a launch; intervals are those of a t-distribution over launches. The
hypervolume of a front is the share of the box between no time and no loss and a corner (the slower original, and what
may be lost) that its files do better than.

``--efficientnet MODEL.keras IMAGES.npz`` measures another network instead, which is not in the repository: arrays
``x_train`` (some thousand images) and ``x_test``, as it takes them. Without labels, the share of answers that agree
with the original's stands for accuracy. It is distilled in small batches with a low learning rate for ``--epochs``, on
images that ``--augment`` changes at random, which takes most of the time. What stands in ``x_test`` decides what is
shown: other parts of the pictures of ``x_train``, or other pictures. Wants a quiet machine; the load is printed.
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
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE / "peers"))

import environments  # noqa: E402
import olive_run  # noqa: E402

_NOTEBOOKS = _HERE.parents[1] / "notebooks"
_NNCF = ("nncf>=3,<4", "onnx", "onnxruntime")
#: Rounds that are counted; in each, a file answers so many times, or at least so often until this time is over.
_ROUNDS, _RUNS, _LEAST, _SECONDS = 5, 300, 3, 0.05
#: How many times as fast half of the channels is to be in float32, by ending.
_HALVED = {"onnx": 2.5, "tflite": 2.2}
#: Ending and settings of static quantization by runtime; TensorFlow Lite's is per channel anyway.
_RUNTIMES = {"litert": ("tflite", {}), "onnxruntime": ("onnx", {"per_channel": True})}
#: How a deep network with narrow layers is distilled: in small steps, and many of them.
_GENTLE = {"learning_rate": 3e-4, "batch_size": 8, "temperature": 1.0, "train_examples": 0}


#: Gives the answer to one image; such calls by what they run.
Call = Callable[[Any], Any]
Calls = dict[str, Call]


@dataclass(frozen=True)
class Case:
    """A network and its images.

    Attributes:
        model: The Keras file.
        data: Arrays ``x_train`` and ``x_test``, and ``y_test`` if there are labels.
        limit: Points that a file of the front may lose.
        points: Points that a smaller model may lose.
        faster: How many times as fast as the best int8 of the peers ours is to be.
        calibration: How many images calibrate.
        distill: Settings of the distillation.
        attention: Whether it is a transformer.
    """

    model: Path
    data: Path
    limit: float = 5.0
    points: float = 1.0
    faster: float = 2.0
    calibration: int = 600
    distill: dict[str, Any] = field(default_factory=dict)
    attention: bool = False

    @classmethod
    def from_json(cls, text: str) -> Case:
        """What `to_json` has given."""
        found = json.loads(text)
        return cls(**found | {name: Path(found[name]) for name in ("model", "data")})

    def to_json(self) -> str:
        """For a process of its own."""
        return json.dumps(asdict(self), default=str)

    @property
    def about(self) -> str:
        """What a score is the share of."""
        right = "right" if self.labels() is not None else "as the original answers them (there are no labels)"
        return f"share of {len(self.images('test')):,} images that are {right}"

    def images(self, split: str) -> Any:
        """Images as the network takes them."""
        import numpy as np

        with np.load(self.data) as arrays:
            images = arrays[f"x_{split}"]
        return images if images.dtype == np.float32 else images[..., None].astype(np.float32) / 255

    def labels(self, split: str = "test") -> Any:
        """Labels of images; None without."""
        import numpy as np

        with np.load(self.data) as arrays:
            return arrays.get(f"y_{split}")


#: The tutorial's network and its data.
TUTORIAL = Case(_NOTEBOOKS / "models" / "fashion_cnn.keras", _NOTEBOOKS / "data" / "fashion-mnist.npz")


# -- making files -----------------------------------------------------------------------------------------------------


def ours(case: Case, folder: Path, cache: Path) -> None:
    """The original, and what half of the channels, distillation and int8 make of it, for both runtimes."""
    import deploykit as dk

    model, test = dk.load(case.model), case.images("test")
    data = dk.Dataset.from_arrays(case.images("train"), x_test=test, calibration_size=case.calibration)
    half, answer = dk.Step("prune_channels"), dk.Step("distill", case.distill)
    dynamic = dk.Step("quantize_dynamic")
    for runtime, (ending, settings) in _RUNTIMES.items():
        static = dk.Step("quantize_static", settings)
        recipes = {
            "original": (), "deploykit-static": (static,), "deploykit-dynamic": (dynamic,),
            "deploykit-half": (half, answer), "deploykit": (half, answer, static),
            "deploykit-half-dynamic": (half, answer, dynamic),
        }  # fmt: skip
        for name, steps in recipes.items():
            built = dk.build(model, dk.Recipe(steps), data, target=runtime, store=folder / "store")
            built.save(folder / f"{name}.{ending}")


def tensorflow_lite(case: Case, folder: Path, cache: Path) -> None:
    """What the converter's documentation shows: dynamic range, and full integers with a representative data set."""
    import keras
    import tensorflow as tf

    model = keras.models.load_model(case.model)
    model.export(folder / "saved", verbose=False)
    images = case.images("train")[: case.calibration]
    for name, representative in (("dynamic", False), ("static", True)):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if representative:
            converter.representative_dataset = lambda: ([image[None]] for image in images)
        (folder / f"tflite-{name}.tflite").write_bytes(converter.convert())


def onnx_runtime(case: Case, folder: Path, cache: Path) -> None:
    """What ONNX Runtime's documentation shows: preparation, then dynamic, and static with QDQ per channel."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared"
    try:
        quant_pre_process(str(folder / "original.onnx"), str(prepared))
    except Exception:  # as the documentation says of transformers
        quant_pre_process(str(folder / "original.onnx"), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_dynamic(str(prepared), str(folder / "onnxruntime-dynamic.onnx"))
    name, images = onnx.load(str(prepared)).graph.input[0].name, case.images("train")[: case.calibration]

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # the base class is untyped
        left = iter([{name: image[None]} for image in images])

        def get_next(self) -> Any:
            return next(self.left, None)

    quantization.quantize_static(str(prepared), str(folder / "onnxruntime-static.onnx"), Reader(), per_channel=True)


def nncf(case: Case, folder: Path, cache: Path) -> None:
    """NNCF's quantization of the ONNX file."""
    python = environments.made(cache / "nncf", _NNCF) / "bin" / "python"
    _peer(python, "nncf_run.py", case, folder, folder)


def olive(case: Case, folder: Path, cache: Path) -> None:
    """Olive's passes: dynamic, and static with QDQ, per tensor and per channel."""
    _peer(olive_run.environment(cache) / "bin" / "python", "olive_quantize.py", case, folder, folder)


def _peer(python: Path, script: str, case: Case, folder: Path, target: Path) -> None:
    command = [python, _HERE / "peers" / script, folder / "original.onnx", case.data, case.calibration, target]
    path = {"PYTHONPATH": ""}  # what is installed here is not for that environment
    subprocess.run(
        [str(part) for part in command], check=True, stdout=subprocess.DEVNULL, cwd=folder, env={**os.environ, **path}
    )


_MAKERS = {f.__name__: f for f in (ours, tensorflow_lite, onnx_runtime, olive, nncf)}


# -- measuring --------------------------------------------------------------------------------------------------------


def runner(path: Path) -> Call:
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
    entry, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
    scale, zero = entry["quantization"]
    last: list[Any] = [None, None]  # an image is made integers once, which is not timed

    def call(image: Any) -> Any:
        if last[0] is not image:
            whole = (image / scale + zero).round().clip(-128, 127).astype("int8") if scale else image
            last[:] = image, whole
        interpreter.set_tensor(entry["index"], last[1])
        interpreter.invoke()
        return interpreter.get_tensor(answer)

    return call


def launch(case: Case, calls: Calls) -> dict[str, float]:
    """Median milliseconds of each call, timed in turns."""
    import random

    image = case.images("test")[:1]
    found: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(_ROUNDS + 1):  # the first round warms up
        random.shuffle(order)
        for name in order:
            call, times, start = calls[name], [], time.perf_counter()
            while len(times) < _LEAST or (len(times) < _RUNS and time.perf_counter() < start + _SECONDS):
                began = time.perf_counter()
                call(image)
                times.append(time.perf_counter() - began)
            found[name].append(1000 * statistics.median(times))
    return {name: statistics.median(times[1:]) for name, times in found.items()}


def answers(case: Case, call: Call) -> Any:
    """The class that is given for each of the test images."""
    import numpy as np

    return np.array([int(call(image[None]).argmax()) for image in case.images("test")])


def scores(case: Case, folder: Path, calls: Calls) -> dict[str, float]:
    """Share of right answers on the test images, or of those that agree with the original's, in percent."""
    wanted = case.labels()
    wanted = answers(case, runner(folder / "original.onnx")) if wanted is None else wanted
    return {name: 100 * float((answers(case, call) == wanted).mean()) for name, call in calls.items()}


def files(folder: Path) -> list[Path]:
    """What was made, the originals included."""
    return sorted(p for p in folder.iterdir() if p.suffix in {".onnx", ".tflite"})


def hypervolume(points: Iterable[tuple[float, float]], corner: tuple[float, float]) -> float:
    """Share of the box between (0, 0) and a corner that is worse than some point in both coordinates."""
    covered, lowest = 0.0, corner[1]
    for x, y in sorted((max(x, 0.0), max(y, 0.0)) for x, y in points):
        if x < corner[0] and y < lowest:
            covered += (corner[0] - x) * (lowest - y)
            lowest = y
    return covered / (corner[0] * corner[1])


def _calls(folder: Path) -> Calls:
    return {path.name: runner(path) for path in files(folder)}


# -- reporting --------------------------------------------------------------------------------------------------------


def _report(case: Case, folder: Path, launches: list[dict[str, float]]) -> None:
    found = scores(case, folder, _calls(folder))
    medians = {name: statistics.median(times[name] for times in launches) for name in found}
    peers = [name for name in found if not name.startswith(("original", "deploykit"))]
    right = [name for name in peers if _lost(found, name) <= case.points]
    best = min(right, key=medians.__getitem__) if right else max(peers, key=found.__getitem__)
    what = "agreement, %" if case.labels() is None else "accuracy, %"
    print(f"\n{'file':<32}{'ms':>9}{what:>14}{'kB':>8}{'as fast as the best peer':>28}")
    for name in sorted(found, key=medians.__getitem__):
        size = (folder / name).stat().st_size / 1000
        print(f"{name:<32}{medians[name]:>9.4f}{found[name]:>14.2f}{size:>8.0f}{_ratio(launches, best, name):>28}")
    print(f"\nload {os.getloadavg()[0]:.1f}; best peer {best}, {_lost(found, best):.2f} points lost")
    ratio, lost = _ratio(launches, best, "deploykit.tflite"), _lost(found, "deploykit.tflite")
    print(f"ours: {ratio} of it (wanted {case.faster:g}), {lost:.2f} points lost (wanted {case.points:g})")
    for ending, wanted in _HALVED.items():
        half = f"deploykit-half.{ending}"
        print(
            f"half of the channels, .{ending}: {_ratio(launches, f'original.{ending}', half)} of float32 (wanted "
            f"{wanted:g}), {_lost(found, half):.2f} points lost (wanted {case.points:g})"
        )
    corner = (case.limit, max(medians[f"original.{ending}"] for ending in _HALVED))
    originals = [f"original.{ending}" for ending in _HALVED]
    mine = [name for name in found if name.startswith("deploykit")]
    volumes = [
        hypervolume(((_lost(found, name), medians[name]) for name in names), corner)
        for names in (mine + originals, peers + originals)
    ]
    print(
        f"hypervolume below {corner[0]:g} points lost and {corner[1]:.3f} ms: ours {volumes[0]:.3f}, theirs "
        f"{volumes[1]:.3f}"
    )


def _lost(found: dict[str, float], name: str) -> float:
    return found[f"original.{name.rpartition('.')[2]}"] - found[name]


def _ratio(launches: list[dict[str, float]], slow: str, fast: str) -> str:
    """Mean of the launches' ratios and half of its 95 % interval."""
    from scipy import stats

    ratios = [times[slow] / times[fast] for times in launches]
    spread = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
    half = float(stats.t.ppf(0.975, max(1, len(ratios) - 1))) * spread
    return f"{statistics.mean(ratios):.2f}× ± {half:.2f}"


def child(script: str, step: str, case: Case, folder: Path, cache: Path) -> str:
    """What a step of a script prints that runs in a process of its own."""
    command = [sys.executable, script, "--child", step, case.to_json(), str(folder), str(cache)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{step} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def _run_child(step: str, text: str, folder: str, cache: str) -> None:
    case = Case.from_json(text)
    if step == "launch":
        print(json.dumps(launch(case, _calls(Path(folder)))))
    else:
        _MAKERS[step](case, Path(folder), Path(cache))


def main() -> None:
    """Make all files, measure them, print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launches", type=int, default=10)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "deploykit-bench")
    parser.add_argument("--without", nargs="*", default=[], choices=["olive", "nncf"], help="peers to leave out")
    parser.add_argument(
        "--efficientnet", nargs=2, type=Path, metavar=("MODEL", "IMAGES"), help="another network: .keras and .npz"
    )
    parser.add_argument("--epochs", type=int, default=12, help="of the distillation of that network")
    parser.add_argument("--augment", default="none", help="of the distillation of that network: flip+crops, …")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _run_child(*arguments.child)
        return
    case = TUTORIAL
    if arguments.efficientnet:
        model, images = (path.resolve() for path in arguments.efficientnet)
        case = Case(
            model, images, limit=50.0, points=15.0, faster=1.0, calibration=160,
            distill=_GENTLE | {"epochs": arguments.epochs, "augment": arguments.augment},
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in [name for name in _MAKERS if name not in arguments.without]:
            began = time.perf_counter()
            child(__file__, name, case, folder, arguments.cache)
            print(f"{name.replace('_', ' ')}: made in {time.perf_counter() - began:.0f} s", flush=True)
        launches = [
            json.loads(child(__file__, "launch", case, folder, arguments.cache)) for _ in range(arguments.launches)
        ]
        _report(case, folder, launches)


if __name__ == "__main__":
    main()

"""Fewer bits beside other quantizers: ``python tests/bench/fewer_bits.py``.

Three networks (the tutorial's, a small transformer encoder that is trained here, and with ``--efficientnet MODEL.keras
IMAGES.npz`` the one that `smaller.py` describes) are quantized by deploykit (static and dynamic int8, weights alone in
8 and 4 bits, mixed precision, training with the rounding in view, and int8 behind channel pruning or shared values),
and by TensorFlow Lite's converter, LiteRT Quantizer, ONNX Runtime, Olive and NNCF as their documentation shows. All
files answer the same test images and are timed in turns, as in `smaller.py`, which has the definitions. A front has two
hypervolumes: loss against time, and loss against the size of the file, in kB after gzip.

It also prints what the outputs lose by mixed precision, beside int8 throughout, and how small the preset ``smallest``
makes the tutorial's network. Wants a quiet machine; the load is printed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import smaller

#: Settings of steps that train, and budgets of mixed precision.
_AWARE = {"epochs": 2, "train_examples": 8000}
_PRUNE = {"sparsity": 0.6, "epochs": 2, "train_examples": 8000}
_DISTILL = {"epochs": 6}
_BUDGETS = (("size", 0.26), ("size", 0.4), ("latency", 0.6), ("latency", 0.8))


def encoder(folder: Path, data: Path) -> Path:
    """A transformer encoder over the rows of an image, trained for some epochs; kept in a folder."""
    path = folder / "encoder.keras"
    if path.exists():
        return path
    import keras
    import numpy as np
    from keras import layers

    keras.utils.set_random_seed(0)
    with np.load(data) as arrays:
        images, labels = arrays["x_train"][..., None].astype(np.float32) / 255, arrays["y_train"]
    entry = keras.Input((28, 28, 1), name="image")
    x = layers.Conv1D(64, 3, padding="same", name="rows")(layers.Reshape((28, 28))(entry))  # the ends say where it is
    for k in range(2):
        seen = layers.LayerNormalization(name=f"norm_a{k}")(x)
        x = layers.Add(name=f"sum_a{k}")([x, layers.MultiHeadAttention(4, 16, name=f"attention{k}")(seen, seen)])
        seen = layers.LayerNormalization(name=f"norm_b{k}")(x)
        wide = layers.Dense(128, activation="gelu", name=f"wide{k}")(seen)
        x = layers.Add(name=f"sum_b{k}")([x, layers.Dense(64, name=f"narrow{k}")(wide)])
    x = layers.GlobalAveragePooling1D(name="mean")(layers.LayerNormalization(name="norm")(x))
    model = keras.Model(entry, layers.Dense(10, activation="softmax", name="class")(x))
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    model.fit(images, labels, 128, 8, verbose=0)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return path


# -- making files -----------------------------------------------------------------------------------------------------


def ours(case: smaller.Case, folder: Path, cache: Path) -> None:
    """The original, and what each of deploykit's techniques makes of it, for both runtimes."""
    import deploykit as dk

    labels = case.labels()
    model, test = dk.load(case.model), case.images("test")
    with_labels = {} if labels is None else {"y": case.labels("train"), "y_test": labels}
    data = dk.Dataset.from_arrays(case.images("train"), x_test=test, calibration_size=case.calibration, **with_labels)
    channels, heavy = {"per_channel": True}, {"operators": "conv_matmul"}
    dynamic, half = dk.Step("quantize_dynamic"), (dk.Step("prune_channels"), dk.Step("distill", _DISTILL))
    both = {
        "original": (), "dynamic": (dynamic,), "weights8": (dk.Step("quantize_weights", {"bits": 8}),),
        "weights4": (dk.Step("quantize_weights"),), "half-floats": (dk.Step("quantize_float16"),),
    }  # fmt: skip
    if labels is not None:
        shared = (dk.Step("prune_magnitude", _PRUNE), dk.Step("cluster_weights", {"clusters": 16}))
        aware = dk.Step("quantize_aware", _AWARE)
        both |= {"aware": (aware,), "shared-dynamic": (*shared, dynamic), "shared-aware": (*shared, aware)}
    tflite = {
        "static": (dk.Step("quantize_static"),), "half-dynamic": (*half, dynamic),
        "narrow": (dk.Step("quantize_weights", {"convolutions": "int4"}),),
    }  # fmt: skip
    onnx = {
        "static": (dk.Step("quantize_static", channels),), "heavy": (dk.Step("quantize_static", channels | heavy),),
        "half-static": (*half, dk.Step("quantize_static", channels)),
        "mixed-narrow": (dk.Step("quantize_mixed", {"ratio": 0.22, "lowest": "4", **channels}),),
        **{
            f"mixed-{budget}-{ratio}": (dk.Step("quantize_mixed", channels | {"budget": budget, "ratio": ratio}),)
            for budget, ratio in _BUDGETS
        },
    }  # fmt: skip
    told = {}
    for runtime, ending in (("litert", "tflite"), ("onnxruntime", "onnx")):
        for name, steps in {**both, **(onnx if ending == "onnx" else tflite)}.items():
            title = name if name == "original" else f"deploykit-{name}"
            try:
                built = dk.build(model, dk.Recipe(steps), data, target=runtime, store=folder / "store")
            except dk.DeploykitError as refused:  # a budget that cannot be met here, a layer that cannot be quantized
                told[f"{title}.{ending}"] = str(refused).splitlines()[0]
                continue
            built.save(folder / f"{title}.{ending}")
            if notes := built.notes.get("quantize_mixed"):
                lost, whole = notes["damage"]
                told[f"{title}.{ending}"] = f"loses {lost:.2g} of the variance, int8 throughout {whole:.2g}"
    (folder / "told.json").write_text(json.dumps(told), "utf-8")


def litert_quantizer(case: smaller.Case, folder: Path, cache: Path) -> None:
    """Its recipes for existing files: dynamic int8 and int4, weights alone, and static int8 with calibration."""
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import quantizer, recipe

    source = folder / "original.tflite"
    signatures = Interpreter(str(source)).get_signature_list()
    ((key, ends),) = signatures.items()
    feeds = {key: [{ends["inputs"][0]: image[None]} for image in case.images("train")[: case.calibration]]}
    recipes = {
        "dynamic": recipe.dynamic_wi8_afp32(), "weights8": recipe.weight_only_wi8_afp32(),
        "weights4": recipe.weight_only_wi4_afp32(), "static": recipe.static_wi8_ai8(),
    }  # fmt: skip
    for name, wanted in recipes.items():
        made = quantizer.Quantizer(str(source), wanted)
        ranges = made.calibrate(feeds) if made.need_calibration else None
        (folder / f"litert-quantizer-{name}.tflite").write_bytes(made.quantize(ranges).quantized_model)


_MAKERS = {
    "ours": ours, "litert_quantizer": litert_quantizer,
    **{f.__name__: f for f in (smaller.tensorflow_lite, smaller.onnx_runtime, smaller.olive, smaller.nncf)},
}  # fmt: skip


# -- reporting --------------------------------------------------------------------------------------------------------


def report(title: str, case: smaller.Case, folder: Path, launches: list[dict[str, float]]) -> None:
    """One line for each file, and the hypervolumes of the fronts by maker."""
    found = smaller.scores(case, folder)
    times = {name: statistics.median(one[name] for one in launches) for name in found}
    sizes = {name: len(gzip.compress((folder / name).read_bytes(), 6)) / 1000 for name in found}
    what = "agreement, %" if case.labels() is None else "accuracy, %"
    print(f"\n{title}\n{'file':<34}{'ms':>9}{what:>14}{'kB':>8}{'gzip':>8}")
    for name in sorted(found, key=times.__getitem__):
        size = (folder / name).stat().st_size / 1000
        print(f"{name:<34}{times[name]:>9.4f}{found[name]:>14.2f}{size:>8.0f}{sizes[name]:>8.0f}")
    for name, words in json.loads((folder / "told.json").read_text("utf-8")).items():
        print(f"{name}: {words}")
    originals = [name for name in found if name.startswith("original")]
    makers = sorted({_maker(name) for name in found} - {"original"})
    lost = {name: found[f"original.{name.rpartition('.')[2]}"] - found[name] for name in found}
    corners = (case.limit, max(times[n] for n in originals)), (case.limit, max(sizes[n] for n in originals))
    print(f"hypervolume below {case.limit:g} points lost (loss × time, loss × gzip), load {os.getloadavg()[0]:.1f}")
    for maker in makers:
        names = [n for n in found if _maker(n) == maker] + originals
        volumes = [
            smaller.hypervolume(((lost[n], cost[n]) for n in names), corner)
            for cost, corner in zip((times, sizes), corners, strict=True)
        ]
        best = [min((cost[n] for n in names if lost[n] <= case.points), default=0.0) for cost in (times, sizes)]
        print(
            f"  {maker:<18}{volumes[0]:.3f}  {volumes[1]:.3f}   best within {case.points:g} points: "
            f"{best[0]:.4f} ms, {best[1]:.0f} kB"
        )


def _maker(name: str) -> str:
    known = ("litert-quantizer", "tflite", "onnxruntime", "olive", "nncf", "deploykit", "original")
    return next(maker for maker in known if name.startswith(maker))


def smallest(cache: Path) -> None:
    """How small the preset makes the tutorial's network, within a point of accuracy."""
    import numpy as np

    import deploykit as dk

    with np.load(smaller.TUTORIAL.data) as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
        test = {"x_test": arrays["x_test"], "y_test": arrays["y_test"]}
    scaled = dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    data = dk.Dataset.from_arrays(x, y, **test, preprocess=scaled)
    model, space = dk.load(smaller.TUTORIAL.model), dk.Space.preset("smallest")
    found = dk.sweep(model, data, space, store=cache / "smallest", launches=0, max_drop=0.01)
    best = found.best(minimize="compressed_size", max_drop=0.01)
    assert best.measurement is not None
    given = next(r for r in found.rows if not r.candidate.recipe.steps and r.format == "tflite").measurement
    whole, left = given.size_bytes, best.measurement.compressed_bytes
    change = best.measurement.score.change
    print(
        f"\npreset smallest: {best.result.label}, {whole / 1000:.0f} kB float32 → {left / 1000:.1f} kB after gzip, "
        f"{whole / left:.1f}× (wanted 15), {100 * change.value:+.2f} points "
        f"({100 * change.low:+.2f} to {100 * change.high:+.2f})"
    )


def main() -> None:
    """Make all files, measure them, print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launches", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "deploykit-bench")
    parser.add_argument("--without", nargs="*", default=[], choices=["olive", "nncf"], help="peers to leave out")
    parser.add_argument(
        "--only", nargs="*", choices=["cnn", "encoder", "efficientnet", "smallest"], help="all by default"
    )
    parser.add_argument("--efficientnet", nargs=2, type=Path, metavar=("MODEL", "IMAGES"), help="see above")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _run_child(*arguments.child)
        return
    cache = arguments.cache
    tutorial = smaller.TUTORIAL
    made = subprocess.run(
        [sys.executable, __file__, "--child", "encoder", tutorial.to_json(), ".", str(cache)], check=False
    )
    if made.returncode:
        raise SystemExit("the transformer encoder could not be trained")
    cases = {"cnn": tutorial, "encoder": smaller.Case(cache / "encoder.keras", tutorial.data)}
    if arguments.efficientnet:
        model, images = (path.resolve() for path in arguments.efficientnet)
        cases["efficientnet"] = smaller.Case(model, images, limit=50.0, points=15.0, calibration=160)
    for title, case in cases.items():
        if arguments.only and title not in arguments.only:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for name in [name for name in _MAKERS if name not in arguments.without]:
                began = time.perf_counter()
                smaller.child(__file__, name, case, folder, cache)
                print(f"{title}, {name.replace('_', ' ')}: made in {time.perf_counter() - began:.0f} s", flush=True)
            launches = [
                json.loads(smaller.child(__file__, "launch", case, folder, cache)) for _ in range(arguments.launches)
            ]
            report(title, case, folder, launches)
    if not arguments.only or "smallest" in arguments.only:
        smallest(cache)


def _run_child(step: str, text: str, folder: str, cache: str) -> None:
    case = smaller.Case.from_json(text)
    if step == "launch":
        print(json.dumps(smaller.launch(case, Path(folder))))
    elif step == "encoder":
        encoder(Path(cache), case.data)
    else:
        _MAKERS[step](case, Path(folder), Path(cache))


if __name__ == "__main__":
    main()

"""Fewer bits beside other quantizers: ``python tests/bench/fewer_bits.py``.

Three networks (the tutorial's, a small transformer encoder that is trained here, and with ``--efficientnet MODEL.keras
[IMAGES.npz]`` the one that `smaller.py` describes, by default with crops of photographs that Python packages bring) are
quantized by deploykit (static and dynamic int8, weights alone in 8 and 4 bits, mixed precision, training with the
rounding in view, and int8 behind channel pruning or shared values), and by TensorFlow Lite's converter, LiteRT
Quantizer, ONNX Runtime, Olive and NNCF as their documentation shows. ONNX files run on ONNX Runtime and on OpenVINO, on
which NNCF's are at home. All files answer the same test images, and are timed in turns as in `smaller.py`, which has
the definitions. What takes long is left out for networks without labels: how half of that one fares, `smaller.py`
shows. A front has two hypervolumes: loss against time, and loss against the size of the file, in kB after gzip.

Files stay in ``--work FOLDER``, so that a second run only measures; what failed is tried again. ``--make`` makes and
scores them without timing, which can be done on a busy machine; timing wants a quiet one, and the load is printed. It
also prints what the outputs lose by mixed precision, beside int8 throughout, and how small the preset ``smallest``
makes the tutorial's network.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import smaller
from peers import crops, encoder, few_bits

#: Settings of steps that train, and budgets of mixed precision.
_AWARE = {"epochs": 2, "train_examples": 8000}
_PRUNE = {"sparsity": 0.6, "epochs": 2, "train_examples": 8000}
_DISTILL = {"epochs": 6}
_CORRECTIONS = ("bias", "weights")
_BUDGETS = (("size", 0.26), ("size", 0.3), ("size", 0.4), ("latency", 0.6), ("latency", 0.7), ("latency", 0.8))
_CORRECTED = {("size", 0.26), ("size", 0.4), ("latency", 0.7), ("latency", 0.8)}
_ENDINGS = {"litert": "tflite", "onnxruntime": "onnx"}


# -- making files -----------------------------------------------------------------------------------------------------


def recipes(case: smaller.Case) -> dict[str, dict[str, tuple[Any, ...]]]:
    """The steps of deploykit's files by name, for each runtime."""
    import deploykit as dk

    channels, heavy = {"per_channel": True}, {"operators": "conv_matmul"}
    half = (dk.Step("prune_channels"), dk.Step("distill", _DISTILL))
    dynamic, static = dk.Step("quantize_dynamic"), dk.Step("quantize_static", channels)
    clustered = dk.Step("cluster_weights", {"clusters": 16})
    both = {
        "original": (), "dynamic": (dynamic,), "weights8": (dk.Step("quantize_weights", {"bits": 8}),),
        "weights4": (dk.Step("quantize_weights"),), "half-floats": (dk.Step("quantize_float16"),),
    }  # fmt: skip
    if case.labels() is not None:
        sparse = dk.Step("prune_magnitude", _PRUNE)
        shared, aware = (sparse, clustered), dk.Step("quantize_aware", _AWARE)
        both |= {
            "half-dynamic": (*half, dynamic), "half-weights4": (*half, dk.Step("quantize_weights")),
            "aware": (aware,), "shared-dynamic": (*shared, dynamic), "shared-aware": (*shared, aware),
            "half-shared-dynamic": (*half, *shared, dynamic), "half-shared-aware": (*half, *shared, aware),
        }  # fmt: skip
    tflite = {
        "static": (dk.Step("quantize_static"),),
        "narrow": (dk.Step("quantize_weights", {"convolutions": "int4"}),),
    }  # fmt: skip
    corrected = {f"static-{c}": (dk.Step("quantize_static", {**channels, "correction": c}),) for c in _CORRECTIONS}
    onnx = {
        "static": (static,), "heavy": (dk.Step("quantize_static", channels | heavy),), **corrected,
        "heavy-weights": (dk.Step("quantize_static", {**channels, **heavy, "correction": "weights"}),),
        "static-learned": (dk.Step("quantize_static", {**channels, "correction": "bias", "rounding": "learned"}),),
        "nncf": (dk.Step("quantize_nncf", {"transformer": case.attention}),),
        "weights4-gptq": (dk.Step("quantize_weights", {"method": "gptq"}),),
        "weights4-int8": (dk.Step("quantize_weights", {"compute": "int8"}),),
    }  # fmt: skip
    for budget, ratio in _BUDGETS:
        mixed = dk.Step("quantize_mixed", channels | {"budget": budget, "ratio": ratio})
        onnx |= {f"mixed-{budget}-{ratio}": (mixed,)}
        if budget == "size":
            tflite |= {f"mixed-{budget}-{ratio}": (dk.Step("quantize_mixed", {"ratio": ratio}),)}
        if (budget, ratio) in _CORRECTED:
            onnx |= {f"mixed-{budget}-{ratio}-bias": (mixed, dk.Step("correct_bias"))}
    if case.labels() is not None:
        tflite |= {f"half-{name}": (*half, *tflite[name]) for name in ("static", "narrow")}
        narrow = dk.Step("quantize_mixed", {"ratio": 0.22, "lowest": "4", **channels})
        onnx |= {"half-static": (*half, static), "mixed-narrow": (narrow,)}
    return {"litert": {**both, **tflite}, "onnxruntime": {**both, **onnx}}


def ours(case: smaller.Case, folder: Path, cache: Path) -> dict[str, str]:
    """The original, and what each of deploykit's recipes makes of it; files of earlier runs are kept."""
    import deploykit as dk

    labels = case.labels()
    model, test = dk.load(case.model), case.images("test")
    with_labels = {} if labels is None else {"y": case.labels("train"), "y_test": labels}
    data = dk.Dataset.from_arrays(case.images("train"), x_test=test, calibration_size=case.calibration, **with_labels)
    kept, told = _read(folder / "recipes.json"), {}
    wanted = [(runtime, name, steps) for runtime, some in recipes(case).items() for name, steps in some.items()]
    for runtime, name, steps in sorted(wanted, key=lambda one: len(one[2])):  # what takes long comes last
        label = f"{name if name == 'original' else f'deploykit-{name}'}.{_ENDINGS[runtime]}"
        recipe, began = dk.Recipe(steps), time.perf_counter()
        said = {"steps": [step.to_json() for step in steps], "told": ""}
        if kept.get(label, {}).get("steps") == said["steps"] and (folder / label).exists():
            told[label] = kept[label]["told"]
            continue
        (folder / label).unlink(missing_ok=True)
        try:
            built = dk.build(model, recipe, data, target=runtime, store=folder / "store")
        except dk.DeploykitError as refused:  # a budget that cannot be met here, a layer that cannot be quantized
            told[label] = str(refused).partition(" (log: ")[0]
            continue
        built.save(folder / label)
        if notes := built.notes.get("quantize_mixed"):
            lost, whole = notes["damage"]
            said["told"] = f"loses {lost:.2g} of the variance, int8 throughout {whole:.2g}"
        told[label], kept[label] = said["told"], said
        _write(folder / "recipes.json", kept)
        print(f"  {label}: {time.perf_counter() - began:.0f} s", flush=True)
    for label in set(kept) - set(told):  # of recipes that there are no more
        (folder / label).unlink(missing_ok=True)
    return {label: words for label, words in told.items() if words}


#: Makers of files: each gives what it has to tell of some of them.
_MAKERS: dict[str, Callable[[smaller.Case, Path, Path], dict[str, str]]] = {
    f.__name__: f
    for f in (
        ours,
        few_bits.litert_quantizer,
        few_bits.tensorflow_lite,
        few_bits.onnx_runtime,
        few_bits.olive,
        few_bits.nncf,
    )
}


def make(title: str, case: smaller.Case, folder: Path, cache: Path, makers: list[str]) -> None:
    """Let those make their files that have not, and score what was made."""
    for maker in [*makers, "score"]:
        again = maker in {"ours", "score"}  # they keep what they have made themselves
        if not again and _read(folder / "told" / f"{maker}.json").get("done"):
            continue
        began = time.perf_counter()
        print(f"{title}, {maker.replace('_', ' ')}", flush=True)
        failed = _child(maker, case, folder, cache)
        if failed:
            _write(folder / "told" / f"{maker}.json", {"done": False, "rows": {maker: failed}})
        print(f"{title}, {maker.replace('_', ' ')}: {failed or f'{time.perf_counter() - began:.0f} s'}", flush=True)
        if failed and again:
            raise SystemExit(f"{maker} failed: {folder / 'logs' / maker}.log")


def _child(step: str, case: smaller.Case, folder: Path, cache: Path) -> str:
    """Run a step in a process of its own; gives the last line of its errors if it failed."""
    command = [sys.executable, __file__, "--child", step, case.to_json(), str(folder), str(cache)]
    log = folder / "logs" / f"{step}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        done = subprocess.run(command, check=False, stderr=stream, cwd=folder)  # some leave files where they run
    if not done.returncode:
        return ""
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"status {done.returncode}"


# -- measuring --------------------------------------------------------------------------------------------------------


def runners(folder: Path) -> dict[str, Callable[[], smaller.Call]]:
    """What opens each file, by ``name.runtime``."""
    found: dict[str, Callable[[], smaller.Call]] = {}
    for path in smaller.files(folder):
        found[path.name] = lambda path=path: smaller.runner(path)
        if path.stem == "original" or _is_static(path):
            found[f"{path.stem}.openvino"] = lambda path=path: _openvino(path)
    return found


def _is_static(path: Path) -> bool:
    """Whether the activations of an ONNX file become integers in ranges that are known before."""
    import onnx

    return path.suffix == ".onnx" and any(n.op_type == "QuantizeLinear" for n in onnx.load(str(path)).graph.node)


def _openvino(path: Path) -> smaller.Call:
    """A call of OpenVINO with one image, on one thread, in float32 where it does not compute in integers."""
    from deploykit.core.candidate import Target
    from deploykit.runtimes.openvino import ADAPTER

    session = ADAPTER.open(path, Target(ADAPTER.name, threads=1), "onnx")
    return lambda image: session.run([image])[0]


def score(case: smaller.Case, folder: Path, cache: Path) -> dict[str, str]:
    """Keep what each file answers right, in percent; files whose bytes have not changed are not asked again."""
    kept, told = _read(folder / "scores.json"), {}
    found: dict[str, dict[str, Any]] = {}
    for label, opened in runners(folder).items():
        digest = _digest(_path(folder, label))
        if kept.get(label, {}).get("digest") == digest:
            found[label] = kept[label]
            continue
        try:
            (right,) = smaller.scores(case, folder, {label: opened()}).values()
        except Exception as error:  # a runtime that does not take the file
            told[label] = few_bits.line(error)
            continue
        found[label] = {"digest": digest, "right": right}
        _write(folder / "scores.json", {**kept, **found})
        print(f"  {label}: {right:.2f} %", flush=True)
    _write(folder / "scores.json", found)
    return told


def launch(case: smaller.Case, folder: Path, cache: Path) -> dict[str, str]:
    """Time all files that gave answers in turns."""
    scored, opened = _read(folder / "scores.json"), runners(folder)
    times = smaller.launch(case, {label: opened[label]() for label in scored if label in opened})
    _write(folder / "launch.json", times)
    return {}


# -- reporting --------------------------------------------------------------------------------------------------------


def report(title: str, case: smaller.Case, folder: Path, launches: list[dict[str, float]]) -> None:
    """One line for each file, the hypervolumes of the fronts by maker, and what each makes best.

    Without launches, sizes alone are shown.
    """
    found = {label: kept["right"] for label, kept in _read(folder / "scores.json").items()}
    sizes = {name: len(gzip.compress(_path(folder, name).read_bytes(), 6)) / 1000 for name in found}
    costs = {"kB": sizes}
    if launches:
        costs = {"ms": {name: statistics.median(one[name] for one in launches) for name in found}, **costs}
    what = "accuracy" if case.labels() is not None else "agreement"
    lost = {name: found[f"original.{name.rpartition('.')[2]}"] - found[name] for name in found}
    measured = f"{len(launches)} launches, load {os.getloadavg()[0]:.1f}" if launches else "not timed"
    print(f"\n{title}: {case.about}; {measured}\n{'file':<36}{'ms':>9}{f'{what}, %':>14}{'kB':>8}{'gzip':>8}")
    for name in sorted(found, key=next(iter(costs.values())).__getitem__):
        size = _path(folder, name).stat().st_size / 1000
        took = f"{costs['ms'][name]:>9.4f}" if launches else f"{'':>9}"
        print(f"{name:<36}{took}{found[name]:>14.2f}{size:>8.0f}{sizes[name]:>8.0f}")
    for maker in [*_MAKERS, "score"]:
        for name, words in _read(folder / "told" / f"{maker}.json").get("rows", {}).items():
            print(f"{name}: {words}")
    originals = [name for name in found if name.startswith("original")]
    makers = sorted({_maker(name) for name in found} - {"original"})
    corners = {unit: (case.limit, max(cost[n] for n in originals)) for unit, cost in costs.items()}
    heads = [f"loss × {'time' if unit == 'ms' else 'size'}" for unit in costs]
    bests = [f"least {unit}, ≤ {points:g} lost" for points in sorted({1.0, case.points}) for unit in costs]
    print(f"\nhypervolume below {case.limit:g} points lost, and the best file that loses few")
    print(f"{'':<18}" + "".join(f"{head:>20}" for head in [*heads, *bests]))
    for maker in makers:
        names = [n for n in found if _maker(n) == maker] + originals
        row = [
            f"{smaller.hypervolume(((lost[n], cost[n]) for n in names), corners[unit]):.3f}"
            for unit, cost in costs.items()
        ]
        for points in sorted({1.0, case.points}):
            for unit, cost in costs.items():
                best = min((cost[n] for n in names if lost[n] <= points), default=float("nan"))
                row.append(f"{best:.4f}" if unit == "ms" else f"{best:.0f}")
        print(f"{maker:<18}" + "".join(f"{cell:>20}" for cell in row))


def _maker(name: str) -> str:
    known = ("litert-quantizer", "tflite", "onnxruntime", "olive", "nncf", "deploykit", "original")
    return next(maker for maker in known if name.startswith(maker))


def _path(folder: Path, label: str) -> Path:
    stem, _, ending = label.rpartition(".")
    return folder / f"{stem}.{'onnx' if ending == 'openvino' else ending}"


def _digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), "utf-8")


def smallest(work: Path) -> None:
    """How small the preset makes the tutorial's network, within a point of accuracy."""
    import numpy as np

    import deploykit as dk

    with np.load(smaller.TUTORIAL.data) as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
        test = {"x_test": arrays["x_test"], "y_test": arrays["y_test"]}
    scaled = dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    data = dk.Dataset.from_arrays(x, y, **test, preprocess=scaled)
    model, space = dk.load(smaller.TUTORIAL.model), dk.Space.preset("smallest")
    found = dk.sweep(model, data, space, store=work / "smallest", launches=0, max_drop=0.01)
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
    cache = Path.home() / ".cache" / "deploykit-bench"
    parser.add_argument("--make", action="store_true", help="make and score what is missing, and time nothing")
    parser.add_argument("--launches", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=cache, help="of the peers' environments")
    parser.add_argument("--work", type=Path, default=cache / "fewer-bits", help="of the files")
    parser.add_argument("--without", nargs="*", default=[], choices=["olive", "nncf"], help="peers to leave out")
    parser.add_argument(
        "--only", nargs="*", choices=["cnn", "encoder", "efficientnet", "smallest"], help="all by default"
    )
    parser.add_argument("--efficientnet", nargs="+", type=Path, metavar=("MODEL", "IMAGES"), help="see above")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _run_child(*arguments.child)
        return
    work, began = arguments.work.resolve(), time.perf_counter()
    work.mkdir(parents=True, exist_ok=True)
    makers = [name for name in _MAKERS if name not in arguments.without]
    for title, case in _cases(arguments, work).items():
        folder = work / title
        make(title, case, folder, arguments.cache.resolve(), makers)
        launches = []
        for number in range(0 if arguments.make else arguments.launches):
            if failed := _child("launch", case, folder, arguments.cache):
                raise SystemExit(f"timing failed: {failed}")
            launches.append(_read(folder / "launch.json"))
            print(f"{title}, launch {number + 1}: {time.perf_counter() - began:.0f} s in all", flush=True)
        report(title, case, folder, launches)
    if not arguments.only or "smallest" in arguments.only:
        smallest(work)


def _cases(arguments: argparse.Namespace, work: Path) -> dict[str, smaller.Case]:
    """The networks that are asked for, by name."""
    tutorial, wanted = smaller.TUTORIAL, arguments.only
    found = {"cnn": tutorial, "encoder": smaller.Case(work / "encoder.keras", tutorial.data, attention=True)}
    if arguments.efficientnet:
        model, *images = (path.resolve() for path in arguments.efficientnet)
        found["efficientnet"] = smaller.Case(
            model, *(images or [work / "crops.npz"]), limit=50.0, points=15.0, calibration=160
        )
    found = {title: case for title, case in found.items() if not wanted or title in wanted}
    if "encoder" in found and (failed := _child("encoder", found["encoder"], work, work)):
        raise SystemExit(f"the transformer encoder could not be trained: {failed}")
    if "efficientnet" in found and len(arguments.efficientnet) == 1:
        crops.write(work / "crops.npz")
    return found


def _run_child(step: str, text: str, folder: str, cache: str) -> None:
    case = smaller.Case.from_json(text)
    if step == "encoder":
        encoder.trained(Path(cache), case.data)
        return
    run = {**_MAKERS, "score": score, "launch": launch}[step]
    told = run(case, Path(folder), Path(cache))
    if step != "launch":
        _write(Path(folder) / "told" / f"{step}.json", {"done": True, "rows": told})


if __name__ == "__main__":
    main()

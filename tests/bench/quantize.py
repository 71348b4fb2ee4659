"""29 ONNX Runtime models of one network, beside a plain script and Olive: ``python tests/bench/quantize.py``.

24 static int8 models (QDQ and QOperator, uint8 and int8 activations, per tensor and per channel, MinMax, Entropy and
Percentile calibration), 4 dynamic ones and float32 of a digit CNN with 446,000 parameters: files, accuracy and size of
each, no latency. Every contestant has the same 200 calibration examples in batches of 8 and the same 540 images to be
evaluated on in batches of 32, and runs in a process of its own; rounds take turns, medians are shown. CPU seconds are
those of a process with all its children, from start to end: they say more than seconds on a machine that is busy.

Olive can make 22 of the 28 quantized models. It has no QOperator with int8 activations: ONNX Runtime evaluates these
six with reference kernels, which takes a third of all the CPU time of our sweep. So ours are run with Olive's 22 as
well.

The first run trains the network and makes an environment for Olive (2 GB); both are kept in ``--cache FOLDER``, which
is ``~/.cache/deploykit-bench`` by default. Wants a quiet machine; the load is printed and kept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE / "peers"))

import olive_run  # noqa: E402

_OLIVE_MODELS = 22
_CALIBRATION = 200
#: Time for the parent of the processes to import the quantizers, which it does when it has nothing to do.
_WARM_S = 3.0
#: What our times are to be at most, as shares of the peers'.
_TARGETS = {"script": 1 / 2.5, "olive": 1 / 10}


# -- what is compared -------------------------------------------------------------------------------------------------


def ours(model_path: Path, data_path: Path, *, warm: bool, max_drop: float | None, as_olive: bool) -> dict[str, Any]:
    """One sweep over all settings, or those Olive has; with ``warm`` after one of the original model, as a start."""
    import deploykit as dk

    began = time.perf_counter()
    model, data = dk.load(model_path), dk.Dataset.from_npz(data_path, calibration_size=_CALIBRATION)
    target = dk.Target("onnxruntime")

    def sweep(recipes: list[Any], store: Path) -> Any:
        return dk.sweep(
            model, data, dk.Space(recipes, [target]), store=store, launches=0, max_drop=max_drop,
            racing=max_drop is not None, progress=lambda _progress: None,
        )  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        if warm:
            sweep([], Path(folder) / "warm")
            time.sleep(_WARM_S)
            began = time.perf_counter()
        report = sweep(recipes(as_olive=as_olive), Path(folder) / "store")
        seconds = time.perf_counter() - began
        rows = [_row(row, Path(folder) / "store") for row in report.rows]
    return {"seconds": seconds, "rows": rows}


def recipes(*, as_olive: bool = False) -> list[Any]:
    """The recipes of the 28 quantized models, or of the 22 among them that Olive has."""
    import deploykit as dk

    static = itertools.product(
        ("qdq", "qoperator"), ("uint8", "int8"), (False, True), ("minmax", "entropy", "percentile")
    )
    names = ("form", "activations", "per_channel", "calibration")
    settings = [dict(zip(names, values, strict=True)) for values in static]
    if as_olive:
        settings = [s for s in settings if (s["form"], s["activations"]) != ("qoperator", "int8")]
    steps = [dk.Step("quantize_static", s) for s in settings]
    for per_channel, convolutions in itertools.product((False, True), repeat=2):
        steps.append(dk.Step("quantize_dynamic", {"per_channel": per_channel, "convolutions": convolutions}))
    return [dk.Recipe((step,)) for step in steps]


def _row(row: Any, store: Path) -> dict[str, Any]:
    if row.measurement is None:
        raise SystemExit(f"{row.label}: {row.failure.cause if row.failure else row.status}")
    scores = [row.measurement.scores[0], *([row.measurement.confirmation] if row.measurement.confirmation else [])]
    hits = sum(score.value * score.examples for score in scores)
    return {
        "label": _script_label(row.candidate.recipe),
        "accuracy": hits / sum(score.examples for score in scores),
        "bytes": row.measurement.size_bytes,
        "digest": row.artifact_digest,
        "stopped": row.status == "stopped",
    }


def _script_label(recipe: Any) -> str:
    """The name the plain script gives to the same model."""
    if not recipe.steps:
        return "float32"
    (step,) = recipe.steps
    get = step.parameters.get
    if step.technique == "quantize_dynamic":
        return f"dynamic-{get('per_channel', False)}-{get('convolutions', False)}"
    form = {"qdq": "QDQ", "qoperator": "QOperator"}[get("form", "qdq")]
    kind = {"uint8": "QUInt8", "int8": "QInt8"}[get("activations", "uint8")]
    method = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}[get("calibration", "minmax")]
    return f"{form}-{kind}-{get('per_channel', False)}-{method}"


# -- running ----------------------------------------------------------------------------------------------------------


class Contest:
    """The contestants, their files, and what they took."""

    def __init__(self, cache: Path, work: Path) -> None:
        self._cache = cache
        self._work = work
        self._model, self._data = _digits(cache)
        self._same = _same_examples(self._data, work)
        self.times: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.digests: dict[str, str] = {}

    def _note(self, name: str, seconds: float, cpu: float | None = None) -> None:
        self.times.setdefault(name, []).append(seconds)
        if cpu is not None:
            self.cpu.setdefault(name, []).append(cpu)
        used = f"{cpu:7.2f} s of CPU" if cpu is not None else " " * 16
        print(f"  {name:58s} {seconds:7.2f} s {used}   load {os.getloadavg()[0]:.2f}", flush=True)

    def deploykit(self, name: str, *options: str) -> None:
        """One process of ours."""
        command = (sys.executable, __file__, "--ours", str(self._model), str(self._data), *options)
        wall, cpu, said = _process(*command)
        found = json.loads(said)
        self.rows[name] = found["rows"]
        if "--warm" in options:
            self._note(f"{name}, children warm", found["seconds"])
        else:
            self._note(f"{name}, start to end of the process", wall, cpu)

    def script(self, name: str, *options: str) -> None:
        """One process of the plain script."""
        from deploykit.core.digest import file_digest

        folder = self._work / name.replace(" ", "-")
        command = (str(_HERE / "peers" / "ort_script.py"), str(self._model), str(self._same), str(folder), *options)
        wall, cpu, said = _process(sys.executable, *command)
        found = json.loads(said)
        self.rows[name] = found["rows"]
        self._note(f"{name}, start to end of the process", wall, cpu)
        self._note(f"{name}, imports left out", found["seconds"]["work"])
        self.digests = {path.stem: file_digest(path) for path in folder.glob("*.onnx")}

    def olive(self) -> None:
        """One run of Olive's command line."""
        program = olive_run.environment(self._cache) / "bin" / "olive"
        with tempfile.TemporaryDirectory(dir=self._work) as folder:
            config = olive_run.write_config(Path(folder) / "config.json", self._model, self._same, Path(folder))
            wall, cpu, _ = _process(str(program), "run", "--config", str(config), "--disable_telemetry", cwd=folder)
            self._note("Olive, start to end of the process", wall, cpu)
            nodes = json.loads((Path(folder) / "models" / "footprint.json").read_text("utf-8"))
        measured = sum(bool(node.get("metrics")) for node in nodes.get("nodes", nodes).values()) - 1
        if measured != _OLIVE_MODELS:
            raise SystemExit(f"Olive has measured {measured} models, {_OLIVE_MODELS} were expected")


def _process(*command: str, cwd: str | None = None) -> tuple[float, float, str]:
    """Wall-clock seconds of a process, CPU seconds of it and its children, and the last line of what it says."""
    began, before = time.perf_counter(), _cpu_of_children()
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd)
    seconds, cpu = time.perf_counter() - began, _cpu_of_children() - before
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return seconds, cpu, (done.stdout.splitlines() or [""])[-1]


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _digits(cache: Path) -> tuple[Path, Path]:
    folder = cache / "digits"
    if not (folder / "digits.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        print("training the digit CNN, once", flush=True)
        subprocess.run([sys.executable, str(_HERE / "peers" / "digits.py"), str(folder)], check=True)
    return folder / "digits_cnn.onnx", folder / "digits.npz"


def _same_examples(data_path: Path, work: Path) -> Path:
    """The examples our sweep calibrates with and evaluates on, for the peers."""
    import numpy as np

    import deploykit as dk

    data = dk.Dataset.from_npz(data_path, calibration_size=_CALIBRATION)
    (calibration,) = data.calibration().values()
    parts = [data.splits[name] for name in ("evaluation", "test")]
    images = np.concatenate([next(iter(part.inputs.values())) for part in parts])
    labels = np.concatenate([np.asarray(part.labels) for part in parts])
    unused = np.zeros(len(calibration), np.int64)
    np.savez(work / "same.npz", x_train=calibration, y_train=unused, x_test=images, y_test=labels)
    return work / "same.npz"


# -- telling ----------------------------------------------------------------------------------------------------------


def summary(contest: Contest) -> dict[str, Any]:
    """Medians, ratios and what the files and accuracies have in common."""
    middle = {name: statistics.median(times) for name, times in contest.times.items()}
    models = {name: len(recipes()) + 1 for name in middle}
    models |= {name: _OLIVE_MODELS + (not name.startswith("Olive")) for name in middle if "Olive" in name}
    warm, cold = (middle[f"deploykit, {how}"] for how in ("children warm", "start to end of the process"))
    count = len(recipes())  # as with Olive, whose candidates are counted without the original model
    ratios = {
        "script, imports left out / deploykit, children warm": middle["plain script, imports left out"] / warm,
        "script / deploykit, both from start to end": middle["plain script, start to end of the process"] / cold,
    }
    if "Olive, start to end of the process" in middle:
        each = middle["Olive, start to end of the process"] / _OLIVE_MODELS
        ratios["Olive / deploykit, a candidate, children warm"] = each / (warm / count)
        alike = middle["deploykit, the models Olive has, children warm"]
        ratios["Olive / deploykit, the models Olive has, children warm"] = _OLIVE_MODELS * each / alike
        ratios["Olive / deploykit, a candidate, both from start to end"] = each / (cold / count)
    found = {row["label"]: row for row in contest.rows["deploykit"]}
    theirs = {row["label"]: row for row in contest.rows["plain script"]}
    static = [label for label in found if label.startswith("Q")]
    return {
        "seconds": contest.times,
        "cpu_seconds": contest.cpu,
        "median_s": middle,
        "median_cpu_s": {name: statistics.median(times) for name, times in contest.cpu.items()},
        "per_candidate_s": {name: value / models[name] for name, value in middle.items()},
        "ratios": ratios,
        "targets": {"script": 1 / _TARGETS["script"], "olive": 1 / _TARGETS["olive"]},
        "identical_static_files": sum(contest.digests.get(label) == found[label]["digest"] for label in static),
        "static_files": len(static),
        "largest_accuracy_difference": max(abs(found[k]["accuracy"] - theirs[k]["accuracy"]) for k in found),
        "stopped_by_racing": sum(row["stopped"] for row in contest.rows["deploykit, racing"]),
        "rows": contest.rows["deploykit"],
    }


def show(found: dict[str, Any]) -> None:
    """Print the table."""
    print(f"\n{'':60s} {'total':>8s} {'a model':>9s} {'CPU':>8s}")
    for name, seconds in found["median_s"].items():
        cpu = found["median_cpu_s"].get(name)
        used = "" if cpu is None else f"{cpu:6.2f} s"
        print(f"{name:60s} {seconds:6.2f} s {1000 * found['per_candidate_s'][name]:6.0f} ms {used:>8s}")
    print()
    for name, ratio in found["ratios"].items():
        wanted = found["targets"]["olive" if "Olive" in name else "script"]
        mark = "" if "both" in name else f"   (wanted: {wanted:g})"
        print(f"{name:60s} {ratio:5.1f}{mark}")
    print(
        f"\n{found['identical_static_files']} of {found['static_files']} static files are the script's byte for byte; "
        f"accuracies differ by at most {100 * found['largest_accuracy_difference']:.2f} pp; "
        f"racing stopped {found['stopped_by_racing']} early"
    )


def main() -> None:
    """Run the contest, or, with ``--ours``, one process of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=home / "deploykit-bench")
    parser.add_argument("--no-olive", action="store_true", help="leave out Olive and its environment")
    parser.add_argument("--json", type=Path, default=Path("runs/bench/quantize.json"), help="where to write the result")
    parser.add_argument("--ours", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--warm", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--max-drop", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--as-olive", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ours:
        print(json.dumps(ours(*given.ours, warm=given.warm, max_drop=given.max_drop, as_olive=given.as_olive)))
        return
    given.cache.mkdir(parents=True, exist_ok=True)
    load = [os.getloadavg()]
    with tempfile.TemporaryDirectory() as work:
        contest = Contest(given.cache, Path(work))
        if not given.no_olive:
            olive_run.environment(given.cache)
        for turn in range(given.rounds):
            print(f"round {turn + 1} of {given.rounds}", flush=True)
            contest.script("plain script")
            contest.deploykit("deploykit", "--warm")
            contest.deploykit("deploykit, racing", "--warm", "--max-drop", "0.01")
            contest.deploykit("deploykit, the models Olive has", "--warm", "--as-olive")
            contest.deploykit("deploykit")
            contest.script("script with a calibration cache", "--cache")
            if not given.no_olive:
                contest.olive()
    found = {**summary(contest), "load": [*load, os.getloadavg()], "cores": os.cpu_count()}
    show(found)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=1), "utf-8")
    print(f"written to {given.json}")


if __name__ == "__main__":
    main()

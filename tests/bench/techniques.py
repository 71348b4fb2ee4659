"""What each technique buys: ``python tests/bench/techniques.py``.

Every technique that is installed, with its defaults, and every recipe of several steps in the presets is applied to the
tutorial's network, once to its Keras file (run on LiteRT) and once to its ONNX file (run on ONNX Runtime), and measured
as any sweep does: sizes, latency beside float32 on the same runtime in the same launches, accuracy on the same
examples, and the seconds of all build steps. What a technique cannot do is asked of the planner, for every format
there is a model of. The result is written to ``docs/reference/techniques.json``, of which the documentation makes its
table and picture. Takes less than ten minutes on two cores; wants a quiet machine, and the load is kept with the rest.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_MODELS = _ROOT / "notebooks" / "models"
_DATA = _ROOT / "notebooks" / "data" / "fashion-mnist.npz"
_RESULT = _ROOT / "docs" / "reference" / "techniques.json"
#: File that techniques are applied to → runtime that runs what they make.
_MEASURED = {"fashion_cnn.keras": "litert", "fashion_cnn.onnx": "onnxruntime"}
#: Presets whose recipes of several steps are measured as well.
_PRESETS = ("quick", "balanced")
_CALIBRATION = 600


def recipes() -> list[Any]:
    """Each technique alone with its defaults, then the presets' recipes of several steps."""
    import deploykit as dk
    from deploykit.transforms._contract import TRANSFORMS

    alone = [dk.Recipe((dk.Step(t.name),)) for t in TRANSFORMS.all() if not (t.from_file or t.keyed)]
    together = [r for preset in _PRESETS for r in dk.Space.preset(preset).recipes if len(r.steps) > 1]
    return list({recipe.key: recipe for recipe in (*alone, *together)}.values())


def measured(report: Any) -> list[dict[str, Any]]:
    """The rows of a sweep in plain numbers; ratios are to float32 on the same runtime."""
    original = next(row for row in report.rows if not row.candidate.recipe.steps)
    base = original.measurement
    found = []
    for row in report.rows:
        line: dict[str, Any] = {
            "label": row.label,
            "techniques": [step.technique for step in row.candidate.recipe.steps],
            "recipe": row.candidate.recipe.to_json(),
            "family": row.family,
            "status": row.status,
            "runtime": row.candidate.target.runtime,
        }
        if row.failure is not None:
            line["reason"] = row.failure.cause
        elif row.measurement is not None:
            m = row.measurement
            ratio = None if m.latency is None else m.latency.speedup_same_runtime or m.latency.speedup
            line |= {
                "size": m.size_bytes / base.size_bytes,
                "compressed": m.compressed_bytes / base.compressed_bytes,
                "size_bytes": m.size_bytes,
                "compressed_bytes": m.compressed_bytes,
                "faster": None if ratio is None else [ratio.value, ratio.low, ratio.high],
                "claim": "" if m.latency is None else m.latency.technique_claim or m.latency.claim,
                "accuracy": m.score.value,
                "drop": [m.score.drop.value, m.score.drop.low, m.score.drop.high],
                "seconds": m.seconds.get("build", 0.0),
                "same_as": row.same_as,
            }
        found.append(line)
    return found


def refused(files: Iterable[Path], data: Any) -> list[dict[str, Any]]:
    """What the planner says of each technique for each file, with the runtimes that run what it makes."""
    import deploykit as dk
    from deploykit.runtimes._contract import RUNTIMES
    from deploykit.transforms._contract import TRANSFORMS

    names = [r.name for r in RUNTIMES.all() if not r.missing()]
    space = dk.Space(
        [dk.Recipe((dk.Step(t.name),)) for t in TRANSFORMS.all() if not (t.from_file or t.keyed)],
        [dk.Target(name) for name in names],
    )  # fmt: skip
    found = []
    for path in files:
        model = dk.load(path)
        plan = dk.plan(model, data, space, check=False)
        for recipe in space.recipes:
            name = recipe.steps[0].technique
            runs = [p.candidate.target.runtime for p in plan.candidates if _names(p.candidate.recipe) == [name]]
            reasons: dict[str, list[str]] = {}
            for left in plan.left_out:
                if left.recipe is not None and _names(left.recipe) == [name]:
                    reasons.setdefault(left.reason, []).append(left.target.runtime)
            found.append(
                {"technique": name, "format": model.format, "runs": [n for n in names if n in runs], "refused": reasons}
            )
    return found


def _names(recipe: Any) -> list[str]:
    return [step.technique for step in recipe.steps]


def run(launches: int, folder: Path) -> dict[str, Any]:
    """All of it."""
    import deploykit as dk
    from deploykit.core.serial import to_plain
    from deploykit.measuring.environment import here

    began = time.perf_counter()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    data = dk.Dataset.from_npz(
        _DATA, preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1)), calibration_size=_CALIBRATION
    )
    files: dict[str, Any] = {}
    for name, runtime in _MEASURED.items():
        started = time.perf_counter()
        model = dk.load(_MODELS / name)
        report = dk.sweep(
            model, data, dk.Space(recipes(), [dk.Target(runtime)]), store=folder / name, launches=launches,
            adaptive=False,
        )  # fmt: skip
        files[name] = {
            "format": model.format, "runtime": runtime, "rows": measured(report),
            "examples": len(data.splits["evaluation"]), "seconds": time.perf_counter() - started,
        }  # fmt: skip
    keras = dk.load(_MODELS / "fashion_cnn.keras")
    dk.build(keras, dk.Recipe(), data, target="tensorflow").save(folder / "fashion_cnn")
    others = [*(_MODELS / name for name in _MEASURED), folder / "fashion_cnn", _MODELS / "fashion_cnn.tflite"]
    return {
        "command": f"python tests/bench/techniques.py --launches {launches}",
        "date": time.strftime("%Y-%m-%d"),
        "deploykit": dk.__version__,
        "environment": to_plain(here()),
        "load_before": load,
        "launches": launches,
        "files": files,
        "support": refused(others, data),
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--launches", type=int, default=6, help="timing launches of each candidate")
    parser.add_argument("--out", type=Path, default=_RESULT, help="file to write")
    parser.add_argument("--keep", type=Path, help="folder of the stores, kept so that a second run is quick")
    options = parser.parse_args()
    from deploykit.core.serial import dump

    with tempfile.TemporaryDirectory(prefix="deploykit-bench-") as scratch:
        found = run(options.launches, options.keep or Path(scratch))
    options.out.write_bytes(dump(found, indent=True) + b"\n")
    print(f"{options.out}: {found['seconds']:.0f} s")


if __name__ == "__main__":
    sys.path.insert(0, str(_ROOT))
    main()

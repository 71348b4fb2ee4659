"""Expected against real time of second sweeps: ``python tests/bench/expected.py [--launches 10]``.

On a machine that knows nothing, sweeps the Fashion-MNIST network once; then, in the same store, five sweeps with more
options than the one before: settings, a technique, a pruned model, a number of threads, another runtime. Each runs in a
process of its own, as in a new kernel. Prints what its plan expected, what it took, and the ratio: 0.5 to 1.5 is wanted
of all but the first. Takes about three minutes; wants a machine that is as busy all the time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import deploykit as dk

_NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
_WANTED = (0.5, 1.5)


def _static(**parameters: object) -> list[dk.Step]:
    return [dk.Step("quantize_static", parameters)]


def _pruned(sparsity: float) -> list[dk.Step]:
    return [dk.Step("prune_magnitude", {"sparsity": sparsity, "epochs": 1})]


#: Name, recipes, targets, whether latency is measured.
SWEEPS: tuple[tuple[str, list[list[dk.Step]], list[dk.Target], bool], ...] = (
    (
        "first",
        [_static(), [dk.Step("quantize_dynamic")], _pruned(0.5)],
        [dk.Target("onnxruntime"), dk.Target("litert"), dk.Target("openvino")],
        True,
    ),
    (
        "more settings",
        [_static(per_channel=True), _static(calibration="entropy"), _static(operators="conv_matmul")],
        [dk.Target("onnxruntime")],
        True,
    ),
    ("float16, int8 inputs", [[dk.Step("quantize_float16")], _static(io="int8")], [dk.Target("litert")], True),
    (
        "pruned, then int8",
        [_pruned(0.8), [*_pruned(0.8), *_static()]],
        [dk.Target("onnxruntime"), dk.Target("litert")],
        True,
    ),
    ("two threads", [_static()], [dk.Target("onnxruntime", threads=2)], True),
    (
        "no latency",
        [_static(calibration="percentile"), _static(per_channel=True)],
        [dk.Target("openvino")],
        False,
    ),
)


def one(number: int, store: Path, launches: int) -> dict[str, object]:
    """Plan and run one of the sweeps."""
    name, recipes, targets, timed = SWEEPS[number]
    model = dk.load(_NOTEBOOKS / "models" / "fashion_cnn.keras")
    scale = dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    data = dk.Dataset.from_npz(_NOTEBOOKS / "data" / "fashion-mnist.npz", preprocess=scale)
    space = dk.Space([dk.Recipe(tuple(steps)) for steps in recipes], targets)
    launches = launches if timed else 0
    expected = dk.plan(model, data, space, store=store, launches=launches).expected
    began = time.perf_counter()
    report = dk.sweep(model, data, space, store=store, launches=launches, progress=lambda _progress: None)
    took = time.perf_counter() - began
    if failed := [row.label for row in report.rows if row.status == "failed"]:
        raise SystemExit(f"failed: {', '.join(failed)}")
    return {"name": name, "expected": expected.seconds, "took": took}


def main() -> None:
    """Run all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launches", type=int, default=10)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        number, store = given.one
        print(json.dumps(one(int(number), Path(store), given.launches)))
        return
    print(f"{'':24s} {'expected':>10s} {'took':>8s} {'ratio':>6s}   load")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "DEPLOYKIT_CACHE": f"{folder}/cache"}
        for number in range(len(SWEEPS)):
            options = ["--launches", str(given.launches), "--one", str(number), f"{folder}/store"]
            done = subprocess.run(
                [sys.executable, __file__, *options], env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            row = json.loads(done.stdout.splitlines()[-1])
            ratio = row["expected"] / row["took"]
            mark = "" if not number or _WANTED[0] <= ratio <= _WANTED[1] else "   missed"
            print(
                f"{row['name']:24s} {row['expected']:8.1f} s {row['took']:6.1f} s {ratio:6.2f}   "
                f"{os.getloadavg()[0]:.1f}{mark}",
                flush=True,
            )


if __name__ == "__main__":
    main()

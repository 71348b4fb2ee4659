"""What protecting an artifact costs, and whether it holds: ``python tests/bench/protect.py [PART …]``.

Parts: ``encrypt``, ``watermark`` (minutes), ``robustness``. Without any, all of them. Each line has the figure, the
target beside it, and whether it is met.
"""

from __future__ import annotations

import io
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deploykit.core.errors import ExportError
from deploykit.core.security.keys import Key
from deploykit.core.security.sealing import seal, unseal

#: What was measured, the figure, the target, and whether it is met.
Line = tuple[str, str, str, bool]
_MEBIBYTES = 256
_ROUNDS = 5
#: Keys that marked nothing.
_WRONG = 400


def encrypt() -> Iterator[Line]:
    """Throughput of the file format, from memory and from the page cache; every kind of damage."""
    content, key = secrets.token_bytes(_MEBIBYTES << 20), Key(secrets.token_bytes(32))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sealed")

        def write() -> None:
            seal(io.BytesIO(content), len(content), path, "model.onnx", key)

        for name, run in (("encrypt", write), ("decrypt", lambda: unseal(path, "model.onnx", key))):
            speed = _MEBIBYTES / _least(run)
            yield f"{name} {_MEBIBYTES} MiB", f"{speed:,.0f} MiB/s", ">= 500 MiB/s", speed >= 500
        yield from _damages(path, key)


def _damages(path: Path, key: Key) -> Iterator[Line]:
    small = bytes(3 << 20)
    seal(io.BytesIO(small), len(small), path, "model.onnx", key)
    good, chunk = path.read_bytes(), (1 << 20) + 16
    head = len(good) - 3 * chunk
    changes: dict[str, bytes] = {
        "flipped bit": good[:-100] + bytes([good[-100] ^ 1]) + good[-99:],
        "cut at a chunk's edge": good[:-chunk],
        "swapped chunks": good[:head]
        + good[head + chunk : head + 2 * chunk]
        + good[head : head + chunk]
        + good[-chunk:],
        "forged size": good[:14] + (2 << 20).to_bytes(8, "little") + good[22:-chunk],
        "appended bytes": good + b"0123456789",
        "damaged wrapped key": good[: head - 1] + bytes([good[head - 1] ^ 1]) + good[head:],
    }
    for name, changed in changes.items():
        path.write_bytes(changed)
        yield name, *_refused(lambda: unseal(path, "model.onnx", key))
    path.write_bytes(good)
    yield "another key", *_refused(lambda: unseal(path, "model.onnx", Key(bytes(32))))


def _refused(run: Callable[[], object]) -> tuple[str, str, bool]:
    try:
        run()
    except ExportError:
        return "refused", "refused", True
    return "ACCEPTED", "refused", False


def _least(run: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def watermark() -> Iterator[Line]:
    """The tutorial's model, marked, then int8 and pruned; and 400 wrong keys asked of it."""
    import numpy as np

    import deploykit as dk
    from deploykit.core.security.triggers import TriggerSet, p_value

    root = Path(__file__).parents[2] / "notebooks"
    os.environ["BENCH_MARK"] = Key(np.random.default_rng(0).bytes(32)).text
    model = dk.load(root / "models" / "fashion_cnn.keras")
    data = dk.Dataset.from_npz(
        root / "data" / "fashion-mnist.npz", preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    )
    mark = dk.Step("watermark", {"key": "env:BENCH_MARK"})
    recipes = {
        "marked": [mark],
        "int8": [mark, dk.Step("quantize_static")],
        "prune 50 %": [mark, dk.Step("prune_magnitude", {"sparsity": 0.5, "epochs": 0})],
        "prune 50 %, trained": [mark, dk.Step("prune_magnitude", {"sparsity": 0.5})],
    }
    with tempfile.TemporaryDirectory() as store:
        before = _accuracy(dk.build(model, [], data, target="onnxruntime", store=store))
        for name, steps in recipes.items():
            built = dk.build(model, steps, data, target="onnxruntime", store=store)
            found, lost = dk.check_watermark(built, "env:BENCH_MARK"), before - _accuracy(built)
            yield (
                f"{name}: p ({found.matches} of {found.triggers})",
                f"{found.p_value:.1e}",
                "< 1e-30",
                found.p_value < 1e-30,
            )
            yield f"{name}: accuracy lost", f"{100 * lost:+.2f} points", "<= 1 point", lost <= 0.01
        marked = dk.build(model, [mark], data, target="onnxruntime", store=store)
        facts, rng = TriggerSet((28, 28), "uint8", 10, high=255.0), np.random.default_rng(1)
        found = []
        for _ in range(_WRONG):
            key = Key(rng.bytes(32))
            answers = marked.predict(facts.inputs(key))["class"].argmax(-1)
            found.append(p_value(int((answers == facts.labels(key)).sum()), 100, 10))
    for alpha in (0.1, 0.05, 0.01):
        share, most = float(np.mean(np.array(found) <= alpha)), alpha + 3 * (alpha * (1 - alpha) / _WRONG) ** 0.5
        yield f"{_WRONG} wrong keys: P(p <= {alpha:g})", f"{share:.4f}", f"<= {most:.4f} (3 sd)", share <= most


def robustness() -> Iterator[Line]:
    """The row of attacks for the tutorial's model and its int8."""
    import deploykit as dk

    root = Path(__file__).parents[2] / "notebooks"
    model = dk.load(root / "models" / "fashion_cnn.onnx")
    data = dk.Dataset.from_npz(
        root / "data" / "fashion-mnist.npz", preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    )
    space = dk.Space([dk.Recipe(()), dk.Recipe((dk.Step("quantize_static"),))], [dk.Target("onnxruntime")])
    with tempfile.TemporaryDirectory() as store:
        report = dk.sweep(model, data, space, store=store, launches=0, attacks=100, strength=0.05)
        for row in report.rows:
            both, pgd, square = (
                row.measurement.scored(name).value
                for name in ("robust_accuracy", "accuracy_under_pgd", "accuracy_under_square")
            )
            shown = f"{100 * pgd:.0f} % PGD, {100 * square:.0f} % Square"
            yield (
                f"{row.label}: {shown}; worse of both",
                f"{100 * both:.0f} %",
                "<= each of both",
                both <= min(pgd, square),
            )


def _accuracy(built: Any) -> float:
    split = built.item.data.splits["evaluation"]
    answers = built.predict(next(iter(split.inputs.values())))["class"].argmax(-1)
    return float((answers == split.labels).mean())


PARTS: dict[str, Callable[[], Iterator[Line]]] = {"encrypt": encrypt, "watermark": watermark, "robustness": robustness}


def main(parts: list[str]) -> int:
    """Print all lines; 1 if a target is missed."""
    missed = 0
    for part in parts or PARTS:
        for name, figure, target, met in PARTS[part]():
            missed += not met
            print(f"{part:12} {name:44} {figure:>24}   {target:24} {'met' if met else 'MISSED'}", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

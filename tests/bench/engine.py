"""What the engine itself costs: ``python tests/bench/engine.py [CANDIDATES]`` (100 by default).

Prints a table with targets; wants a quiet machine. What is measured:

- Overhead: a sweep of the tutorial model in ONNX (quantized statically in many ways; artifacts and accuracy, no
  latency), once with children warm. The work is the time inside the children's tasks, told by the children; on an
  engine that costs nothing it would take that sum divided by the number of slots. Overhead is what the sweep took
  longer, as a share of the sweep: planning, store, processes, events, and also waiting for inputs that another task
  still makes. Because the driver shares the cores with its children, its CPU time is given beside it, as a share of
  what all cores could have done.
- Start-up of the process groups, apart: the first child of each group, and one after the first.
- Stores with 100,000 rows, in 1,000 sweeps and in a single one: opening the report of the latest, and how many rows
  were decoded for it.
- Planning 1,000 candidates, first call in this process, what the store holds being looked up.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import deploykit as dk
from deploykit.core.serial import dump
from deploykit.engines.local import slots
from deploykit.planning.history import Recorder, Unit
from deploykit.sandbox.supervisor import Supervisor, shared, warm_groups
from deploykit.sandbox.task import Task
from deploykit.storage.store import Store

_NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
_ROWS = 100_000
_FRAMEWORKS = ("tensorflow", "keras", "tf_keras", "onnx", "onnxruntime", "openvino", "ai_edge_litert")
_TASKS = """
import sys

def loaded(arguments, report):
    assert arguments["module"] in sys.modules
    return {}
"""
_CHOICES = {
    "calibration": ("minmax", "entropy", "percentile"),
    "form": ("qdq", "qoperator"),
    "per_channel": (False, True),
    "operators": ("all", "conv_matmul"),
    "activations": ("uint8", "int8"),
    "reduce_range": (False, True),
    "exclude": ("", "Gemm", "Relu", "Softmax", "Gemm, Relu", "Relu, Softmax"),
}


def space(count: int) -> dk.Space:
    """``count`` candidates: the original, and static quantization in so many ways."""
    chosen = itertools.islice(itertools.product(*(_CHOICES[k] for k in _CHOICES)), count - 1)
    steps = [dk.Step("quantize_static", dict(zip(_CHOICES, values, strict=True))) for values in chosen]
    return dk.Space([dk.Recipe((step,)) for step in steps], [dk.Target("onnxruntime")])


def watch_work() -> dict[str, float]:
    """Seconds inside children from now on, by kind of work."""
    found: dict[str, float] = {}
    note = Recorder.note

    def noting(self: Recorder, unit: Unit, seconds: float, size_bytes: int = 0) -> None:
        found[unit.kind] = found.get(unit.kind, 0.0) + seconds
        note(self, unit, seconds, size_bytes)

    Recorder.note = noting  # type: ignore[method-assign]
    return found


def overhead(model: Any, data: Any, count: int, folder: Path) -> list[tuple[str, str, str]]:
    """A warm sweep, beside the work inside its children."""
    warm = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
    start = time.perf_counter()
    dk.sweep(model, data, warm, store=folder / "warm", launches=0, progress=lambda _state: None)
    first = time.perf_counter() - start
    work = watch_work()
    cpu, start = time.process_time(), time.perf_counter()
    report = dk.sweep(model, data, space(count), store=folder / "store", launches=0, progress=lambda _state: None)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    inside = work.get("step", 0.0) + work.get("evaluation", 0.0)
    failed = sum(row.status != "measured" for row in report.rows)
    lost = 1 - inside / slots() / wall
    done = f"{len(report.rows)} candidates" + (f" ({failed} failed)" if failed else "")
    what = f"{done}, {wall:.1f} s on {slots()} slots, {inside:.1f} s in children"
    return [
        ("sweep", what, ""),
        ("overhead of the engine, waiting for inputs included", f"{100 * lost:.1f} %", "<= 5 %"),
        ("CPU time of the driver", f"{cpu:.1f} s, {100 * cpu / wall / slots():.1f} % of the cores", ""),
        ("start-up, apart (a sweep of 2 candidates)", f"{first:.1f} s", ""),
        ("groups started for it", ", ".join(sorted(warm_groups())), "light only"),
    ]


def big_store(folder: Path, sweeps: int) -> list[tuple[str, str, str]]:
    """A store with sweeps that have the facts and rows of a real one."""
    real = Store(folder / "store")
    context, facts = real.sweep() or ("", {})
    rows = real.rows(context)
    big = folder / f"big-{sweeps}"
    store = Store(big, create=True)
    each = _ROWS // sweeps
    body = [dump(replace(row, key="@")) for row in rows[: min(each, len(rows))]]
    keys = [f"{i * 7919 % _ROWS:012x}" for i in range(each)]  # as keys are: in another order than the rows
    values = [(key, i, body[i % len(body)].replace(b'"@"', f'"{key}"'.encode())) for i, key in enumerate(keys)]
    packed = dump(facts)
    with store._database.connection() as database:
        database.execute("BEGIN")
        for i in range(sweeps):
            database.execute("INSERT INTO sweeps VALUES (?, ?, ?)", (f"{i:064x}", float(i), packed))
            database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", [(f"{i:064x}", *value) for value in values])
        database.execute("COMMIT")
    size = (big / "store.sqlite").stat().st_size
    start = time.perf_counter()
    report = dk.Report.open(big)
    seconds = time.perf_counter() - start
    what = f"{_ROWS:,} rows, {size / 1e6:.0f} MB: one sweep of {len(report.rows):,} opens"
    return [(what, f"{seconds:.2f} s, {len(report.rows._decoded)} rows decoded", "< 1 s")]


def planning(model: Any, data: Any, folder: Path) -> list[tuple[str, str, str]]:
    """Many candidates with their expected time."""
    wanted = space(500)
    wanted = replace(wanted, targets=(dk.Target("onnxruntime"), dk.Target("onnxruntime", threads=2)))
    start = time.perf_counter()
    plan = dk.plan(model, data, wanted, store=folder / "store", max_drop=0.01)
    seconds = time.perf_counter() - start
    loaded = [name for name in _FRAMEWORKS if name in sys.modules]
    return [
        (f"{len(plan.candidates):,} candidates planned ({plan.expected.steps if plan.expected else 0} steps to do)",
         f"{seconds:.2f} s", "< 3 s"),
        ("frameworks imported in the driver", ", ".join(loaded) or "none", "none"),
    ]  # fmt: skip


def children() -> list[tuple[str, str, str]]:
    """The first child of each group, and one after it."""
    found = []
    for group, module in (("light", "onnxruntime"), ("tensorflow", "tensorflow")):
        supervisor = Supervisor()
        times = []
        for _ in range(4):
            start = time.perf_counter()
            child = supervisor.child(group)  # type: ignore[arg-type]  # both are groups
            child.call(Task("bench_tasks:loaded", {"module": module}, group))  # type: ignore[arg-type]
            times.append(time.perf_counter() - start)
            child.close()
        supervisor.close()
        target = "< 1.5 s" if group == "tensorflow" else ""
        found.append((f"{group}: first child", f"{times[0]:.2f} s", ""))
        found.append((f"{group}: a child after the first", f"{max(times[1:]):.2f} s", target))
    return found


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DEPLOYKIT_CACHE"] = str(folder / "cache")
        (folder / "bench_tasks.py").write_text(_TASKS)
        sys.path.insert(0, name)
        preprocess = dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
        data = dk.Dataset.from_npz(_NOTEBOOKS / "data" / "fashion-mnist.npz", preprocess=preprocess)
        keras = dk.load(_NOTEBOOKS / "models" / "fashion_cnn.keras")
        converter = Supervisor()
        converter.run(
            Task("deploykit.sweeping.work:build_step", _conversion(keras, folder / "model.onnx"), "tensorflow")
        )
        converter.close()
        model = dk.load(folder / "model.onnx")
        rows = overhead(model, data, count, folder)
        rows += planning(model, data, folder)
        rows += big_store(folder, 1_000)
        rows += big_store(folder, 1)
        shared().close()
        rows += children()
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for what, value, target in rows:
        print(f"{what:{widths[0]}}  {value:{widths[1]}}  {target}".rstrip())


def _conversion(model: Any, target: Path) -> dict[str, Any]:
    step = {
        "key": "", "kind": "convert", "adapter": "keras_to_onnx", "variant": "", "source": "", "source_format": "keras",
        "format": "onnx", "group": "tensorflow", "words": "",
    }  # fmt: skip
    return {"step": step, "source": model.path, "target": str(target), "imports": [], "trusted": False, "reference": ""}


if __name__ == "__main__":
    main()

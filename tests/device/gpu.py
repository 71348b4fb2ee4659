"""Measure the tutorials' CNN and a transformer on this machine's GPU by deploykit's protocol.

It takes PyTorch, NumPy, SciPy and this repository, no network, and under five minutes::

    PYTHONPATH=. python tests/device/gpu.py                  # the first CUDA GPU
    PYTHONPATH=. python tests/device/gpu.py --device cpu     # the same path without one

PyTorch runs in float32 (TF32 off), bfloat16, float16 and compiled; ONNX Runtime with its providers for CUDA and
TensorRT where they are installed. What is left out is named with the reason. Each launch makes all sessions again and
runs rounds of blocks in random order, with the baseline (float32) and a clone of it in every round; speed-ups come with
a t-interval over launches and are claimed only beyond the clone's noise. Every inference ends with a synchronization
before the clock is read. Two times are taken: of the computation alone, with inputs on the device, and of the whole,
with the transfers; these are also timed apart. Clocks, temperature, power and the reasons of throttling are read around
every round. Answers are compared with float32 on the CPU; a variant whose answers are wrong has no speed-up.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import platform
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_clocks import Clocks, slowed
from gpu_models import examples, made, onnx_file

from deploykit.core.errors import DeploykitError
from deploykit.measuring.latency import Launch, Series
from deploykit.measuring.ratios import BASELINE, CLONE, latencies
from deploykit.runtimes._onnx_providers import PROVIDERS, choose, placed

RESULTS = Path(__file__).parent / "results"
RUNS, BLOCK_S, BLOCK_CAP_S = 20, 0.02, 0.5
WARM_CAP_S, WARM_TOLERANCE = 2.0, 0.02
TRANSFERS = 30
#: Largest difference from float32 on the CPU, as a share of the answers' spread, by precision.
ALLOWED = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02}
TORCH = {
    "float32": ("float32", False), "bfloat16": ("bfloat16", False), "float16": ("float16", False),
    "float32 compiled": ("float32", True), "float16 compiled": ("float16", True),
}  # fmt: skip


class Session:
    """An opened model: inputs go to the device, are run there, and answers come back.

    ``send`` and ``fetch`` transfer, ``run`` computes; each returns when the device has done it.
    """

    send: Callable[[np.ndarray], Any]
    run: Callable[[Any], Any]
    fetch: Callable[[Any], np.ndarray]
    note = ""


class TorchSession(Session):
    """PyTorch, eager or compiled."""

    def __init__(self, name: str, device: str, precision: str, compiled: bool) -> None:
        kind = getattr(torch, precision)
        model = made(name).to(device, kind)
        self._call = torch.compile(model) if compiled else model
        self._wait = torch.cuda.synchronize if device == "cuda" else lambda: None
        self._device, self._kind = device, kind

    def send(self, array: np.ndarray) -> torch.Tensor:
        given = torch.from_numpy(array).to(self._device)
        given = given.to(self._kind) if given.is_floating_point() else given
        self._wait()
        return given

    def run(self, given: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            found = self._call(given)
        self._wait()
        return found

    def fetch(self, found: torch.Tensor) -> np.ndarray:
        return found.float().cpu().numpy()


class OnnxSession(Session):
    """ONNX Runtime on one of its devices; arrays are bound, so that a run copies nothing."""

    def __init__(self, path: Path, device: str) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        providers: Any = choose(ort, options, device, 1)
        if device == "cuda":
            providers = [(providers[0], {"use_tf32": "0"})]  # float32 means float32
        self._session = ort.InferenceSession(str(path), options, providers=providers)
        ran, self.note = placed(self._session, device)
        if ran != device:
            raise DeploykitError(f"ONNX Runtime was asked for {device} and ran on {ran}.")
        self._value, self._place = ort.OrtValue, "cpu" if device == "cpu" else "cuda"
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def send(self, array: np.ndarray) -> Any:
        return self._value.ortvalue_from_numpy(array, self._place, 0)

    def run(self, given: Any) -> Any:
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input, given)
        binding.bind_output(self._output, self._place, 0)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return binding.get_outputs()[0]

    def fetch(self, found: Any) -> np.ndarray:
        return found.numpy()


@dataclass
class Variant:
    """One way to run a model, and what was measured of it."""

    name: str
    precision: str
    open: Callable[[], Session]
    problem: str = ""
    error: float = 0.0
    note: str = ""
    peak_bytes: list[int] = field(default_factory=list)
    transfers_ns: dict[str, list[int]] = field(default_factory=lambda: {"send": [], "fetch": []})


def variants(model: str, device: str, wanted: Sequence[str], folder: Path) -> tuple[list[Variant], dict[str, str]]:
    """The ways that can be tried here, and the others with the reason."""
    found, left_out = [], {}
    for name, (precision, compiled) in TORCH.items():
        label = f"torch {name}"
        if not wanted or label in wanted:
            found.append(Variant(label, precision, lambda p=precision, c=compiled: TorchSession(model, device, p, c)))
    providers = ("cuda", "tensorrt") if device == "cuda" else ("cpu",)
    for provider in providers:
        label = f"onnxruntime {provider}"
        if wanted and label not in wanted:
            continue
        try:
            import onnxruntime as ort
        except ImportError:
            left_out[label] = "onnxruntime is not installed"
            continue
        if PROVIDERS[provider].name not in ort.get_available_providers():
            left_out[label] = f"{PROVIDERS[provider].name} is not in this build of ONNX Runtime"
            continue
        path = onnx_file(model, folder)
        if isinstance(path, str):
            left_out[label] = path
        else:
            found.append(Variant(label, "float32", lambda f=path, p=provider: OnnxSession(f, p)))
    return found, left_out


def check(variant: Variant, model: str, device: str, given: np.ndarray, expected: np.ndarray) -> None:
    """Compare the answers with the CPU's."""
    try:
        session = variant.open()
        answer = session.fetch(session.run(session.send(given)))
    except Exception as error:  # whatever a framework raises: the others are measured all the same
        variant.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return
    variant.note = session.note
    spread = float(expected.max() - expected.min())
    variant.error = float(np.abs(answer.reshape(expected.shape) - expected).max()) / spread
    allowed = ALLOWED[variant.precision]
    if not variant.error <= allowed:  # NaN is wrong, as well
        variant.problem = f"its answers differ by {variant.error:.2g} of their spread, {allowed} is allowed"


def timed(call: Callable[[], object], runs: int) -> list[int]:
    """Nanoseconds of single calls, each of which ends with a synchronization."""
    found = []
    for _ in range(runs):
        began = time.perf_counter_ns()
        call()
        found.append(time.perf_counter_ns() - began)
    return found


def warmed(call: Callable[[], object]) -> tuple[bool, int]:
    """Run until two medians agree within 2 %, at most 2 s; whether they did, and how many runs make a block."""
    end, before, warm, median = time.perf_counter() + WARM_CAP_S, 0.0, False, 0.0
    while not warm and time.perf_counter() < end:
        median = statistics.median(timed(call, 10)) / 1e9
        warm, before = before > 0 and abs(median - before) <= WARM_TOLERANCE * before, median
    return warm, max(3, min(max(RUNS, round(BLOCK_S / median)), int(BLOCK_CAP_S / median)))


def launch(
    number: int, ways: dict[str, Variant], device: str, given: np.ndarray, clocks: Clocks, rounds: int
) -> tuple[Launch, Launch, list[dict[str, Any]]]:
    """All ways once, made again: of the computation, and of the whole with its transfers."""
    began, readings = time.perf_counter(), [clocks.read()]
    calls: dict[str, dict[str, Callable[[], object]]] = {}
    settled: dict[str, tuple[bool, dict[str, int]]] = {}
    for key, way in ways.items():
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() if device == "cuda" else 0
        session = way.open()
        here = session.send(given)
        calls[key] = {
            "compute": lambda s=session, h=here: s.run(h),
            "whole": lambda s=session: s.fetch(s.run(s.send(given))),
        }
        warm = {kind: warmed(call) for kind, call in calls[key].items()}
        settled[key] = all(w for w, _ in warm.values()), {kind: runs for kind, (_, runs) in warm.items()}
        if device == "cuda" and key.startswith(("torch", BASELINE)):
            way.peak_bytes.append(torch.cuda.max_memory_allocated() - held)
        found = session.run(here)
        way.transfers_ns["send"] += timed(lambda s=session: s.send(given), TRANSFERS)
        way.transfers_ns["fetch"] += timed(lambda s=session, f=found: s.fetch(f), TRANSFERS)
    order = random.Random(number)
    times: dict[tuple[str, str], list[list[int]]] = {(key, kind): [] for key in calls for kind in ("compute", "whole")}
    gc.disable()
    for _ in range(rounds):
        for key in order.sample(list(calls), len(calls)):
            for kind, call in calls[key].items():
                times[key, kind].append(timed(call, settled[key][1][kind]))
        readings.append(clocks.read())
    gc.enable()
    seconds = time.perf_counter() - began

    def of(kind: str) -> Launch:
        series = {
            key: Series(
                tuple(int(statistics.median(block)) for block in times[key, kind]),
                tuple(t for block in times[key, kind] for t in block), warm=settled[key][0],
            )
            for key in calls
        }  # fmt: skip
        return Launch(number, series, seconds, slowed=slowed(readings))

    return of("compute"), of("whole"), readings


def measure(
    model: str, device: str, batch: int, options: argparse.Namespace, clocks: Clocks, end: float
) -> dict[str, Any]:
    """One model at one batch size; after ``end``, no launch begins but the first two."""
    given = examples(model, batch)
    with torch.inference_mode():
        expected = made(model)(torch.from_numpy(given)).numpy()
    with tempfile.TemporaryDirectory() as folder:
        tried, left_out = variants(model, device, options.variants, Path(folder))
        for variant in tried:
            check(variant, model, device, given, expected)
        ways = {BASELINE: tried[0], CLONE: tried[0]}
        ways |= {v.name: v for v in tried[1:] if not v.problem}
        if tried[0].problem:
            raise SystemExit(f"{tried[0].name} cannot be the baseline: {tried[0].problem}")
        launches: list[tuple[Launch, Launch]] = []
        readings: list[dict[str, Any]] = []
        while len(launches) < options.launches and (len(launches) < 2 or time.perf_counter() < end):
            torch._dynamo.reset()
            *both, seen = launch(len(launches), ways, device, given, clocks, options.rounds)
            launches.append((both[0], both[1]))
            readings += seen
            gc.collect()
    references: dict[str, str | None] = dict.fromkeys(ways)
    found = {
        kind: latencies([pair[place] for pair in launches], references)
        for place, kind in enumerate(("compute", "whole"))
    }
    rows = []
    for variant in tried:
        key = BASELINE if variant is tried[0] else variant.name
        row: dict[str, Any] = {"variant": variant.name, "precision": variant.precision, "problem": variant.problem,
                               "error": variant.error, "note": variant.note}  # fmt: skip
        if not variant.problem:
            row |= {kind: found[kind][key].to_json() for kind in found}
            row |= {f"{name}_ms": statistics.median(t) / 1e6 for name, t in variant.transfers_ns.items()}
            row["peak_bytes"] = max(variant.peak_bytes, default=None)
        rows.append(row)
    return {
        "model": model, "batch": batch, "launches": len(launches), "rows": rows, "left_out": left_out,
        "noise_floor": found["compute"][CLONE].noise_floor, "clone": found["compute"][CLONE].to_json(),
        "slowed": sorted({p[0].slowed for p in launches} - {""}), "clocks": clocks.summary(readings),
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """A result as Markdown."""
    lines = [f"{result['card']}, {result['versions']}, {result['date']}", ""]
    for part in result["parts"]:
        lines += [f"{part['model']}, batch {part['batch']}, {part['launches']} launches, noise floor "
                  f"{100 * part['noise_floor']:.1f} %", "",
                  "| variant | compute p50, ms | whole p50, ms | to, from, ms | speed-up (95 %) | claim | error |",
                  "|---|---|---|---|---|---|---|"]  # fmt: skip
        for row in part["rows"]:
            if row["problem"]:
                lines.append(f"| {row['variant']} | | | | | {row['problem']} | |")
                continue
            compute, whole = row["compute"], row["whole"]
            speed = compute["speedup"]
            lines.append(
                f"| {row['variant']} | {compute['p50_ms']['value']:.4g} | {whole['p50_ms']['value']:.4g} | "
                f"{row['send_ms']:.3g}, {row['fetch_ms']:.3g} | {speed['value']:.2f} ({speed['low']:.2f} to "
                f"{speed['high']:.2f}) | {compute['claim']} | {row['error']:.1g} |"
            )
        lines += [f"| {name} | | | | | left out: {why} | |" for name, why in part["left_out"].items()]
        lines += ["", *(f"Throttled: {why}." for why in part["slowed"])]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write a file and print a table; 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--models", nargs="*", default=["cnn", "encoder"], choices=("cnn", "encoder"))
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 32])
    parser.add_argument("--variants", nargs="*", default=[], help="for example 'torch float32' (default: all)")
    parser.add_argument("--launches", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=240.0, help="after this time no launch begins, see measure")
    parser.add_argument("--out", type=Path, help="the results file (default: results/ beside this script)")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(f"PyTorch {torch.__version__} finds no CUDA GPU; --device cpu runs the same path.", file=sys.stderr)
        return 2
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(1)
    clocks = Clocks(options.device)
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version()}
    wanted = [(model, batch) for model in options.models for batch in options.batches]
    began, share = time.perf_counter(), options.seconds / len(wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what frameworks say of themselves
        parts = [
            measure(model, options.device, batch, options, clocks, began + share * (place + 1))
            for place, (model, batch) in enumerate(wanted)
        ]
    result = {
        "card": clocks.card, "device": options.device, "driver": clocks.driver,
        "date": str(datetime.date.today()), "versions": ", ".join(f"{k} {v}" for k, v in versions.items() if v),
        "parts": parts,
    }  # fmt: skip
    slug = "".join(c if c.isalnum() else "-" for c in clocks.card.lower()).strip("-")
    path = options.out or RESULTS / f"{slug}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(f"{table(result)}\n\nwrote {path}")
    return int(any(row["problem"] for part in parts for row in part["rows"]))


if __name__ == "__main__":
    sys.exit(main())

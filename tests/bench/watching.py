"""What watching costs a server: ``python tests/bench/watching.py [--rounds 12] [--seconds 2]``.

The tutorials' CNN as int8 ONNX, on one core, is asked by another process on another core with binary requests of one
example over 8 connections. Two servers run, one with its monitor and one without, and are measured in turns, so that
whatever slows the machine slows both. Printed are requests a second, and the ratio of rounds that follow each other
with its 95 % interval; then what looking at 64 examples takes, and how many bytes a profile has. The exit status is 1
if a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

import deploykit as dk
from deploykit.measuring.statistics import t_interval
from deploykit.monitoring.gathering import Gatherer
from deploykit.serving.profiles import profile_of
from deploykit.serving.tuning.bodies import requests_of
from deploykit.serving.tuning.load import drive

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"


def main() -> None:
    """Measure, print, and say what is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--load", nargs=2, metavar=("URL", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        url, file = options.load
        where = urlsplit(url)
        requests = [base64.b64decode(line) for line in Path(file).read_text("ascii").split()]
        found = asyncio.run(drive(requests, str(where.hostname), int(where.port or 0), 8, 0, 0.3, options.seconds))
        print(len(base64.b64decode(found["times"])) / 4 / options.seconds)
        return
    with tempfile.TemporaryDirectory() as folder:
        missed = _measure(Path(folder), options.rounds, options.seconds)
    sys.exit(bool(missed))


def _measure(folder: Path, rounds: int, seconds: float) -> list[str]:
    data = dk.Dataset.from_npz(
        NOTEBOOKS / "data" / "fashion-mnist.npz", preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    )
    model = dk.load(NOTEBOOKS / "models" / "fashion_cnn.onnx")
    built = dk.build(model, dk.Step("quantize_static"), data, target="onnxruntime")
    artifact = dk.export(built, folder / "served")
    images = next(iter(data.splits["evaluation"].inputs.values())).astype(np.uint8)
    name = artifact.manifest.inputs[0].name
    rates: dict[str, list[float]] = {"watched": [], "not watched": []}
    with dk.serve(artifact, port=0) as first, dk.serve(artifact, port=0, monitor=False) as second:
        servers = {"watched": first, "not watched": second}
        for server in servers.values():
            if hasattr(os, "sched_setaffinity"):
                for pid in server.pids:
                    os.sched_setaffinity(pid, {0})
        bodies = folder / "requests"
        bodies.write_text("\n".join(base64.b64encode(r).decode() for r in requests_of(artifact, "binary")), "ascii")
        for number in range(rounds + 1):
            for one in sorted(rates, reverse=bool(number % 2)):
                load = ["--seconds", str(seconds), "--load", servers[one].url, str(bodies)]
                rate = float(subprocess.check_output([sys.executable, __file__, *load], text=True))
                if number:  # the first round warms both up
                    rates[one].append(rate)
    ratios = [a / b for a, b in zip(rates["watched"], rates["not watched"], strict=True)]
    ratio = t_interval(ratios)
    missed = []
    for one, found in rates.items():
        print(f"{one:<30} {statistics.median(found):>10,.0f} requests/s")
    cost, least, most = (100 * (1 - value) for value in (ratio.value, ratio.high, ratio.low))
    met = cost <= 2
    print(f"{'cost of watching':<30} {cost:>9.1f} % [{least:.1f}, {most:.1f}]   ≤ 2 %   {'' if met else 'MISSED'}")
    missed += [] if met else ["cost"]
    profile = profile_of(artifact)
    assert profile is not None
    outputs = {artifact.manifest.outputs[0].name: next(iter(built.predict(images[:64]).values()))}
    embedding = (
        np.random.default_rng(0).random((64, profile.head.sketch.width), np.float32) if profile.head.tap else None
    )
    gatherer, best = Gatherer(profile, block=32), 1.0
    for _ in range(50):
        began = time.thread_time()
        for _ in range(20):
            gatherer.add(profile.observe({name: images[:64]}, outputs, embedding))
        best = min(best, (time.thread_time() - began) / 20 / 64)
    met = best <= 4e-6
    print(f"{'looking, at batch 64':<30} {1e6 * best:>9.1f} µs a request   ≤ 4 µs   {'' if met else 'MISSED'}")
    missed += [] if met else ["looking"]
    size = len(profile.to_bytes())
    print(f"{'profile':<30} {size:>10,} bytes   ≤ 12,288   {'' if size <= 12 << 10 else 'MISSED'}")
    return missed


if __name__ == "__main__":
    main()

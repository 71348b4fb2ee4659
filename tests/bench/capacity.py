"""How near a plan's p99 comes to the real server's: ``python tests/bench/capacity.py [ARTIFACT...] [--write]``.

Plans with one worker, then sends requests at random times to the real server at 50, 70 and 85 % of its highest rate,
and prints p99 by the model and as measured. Without artifacts, an MLP 784-128-10 and the tutorial's CNN as ONNX, each
with binary requests and JSON. ``--write`` puts the table into the docs. Needs a quiet machine with two cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from peers import servers

import deploykit as dk
from deploykit.testing import graphs

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "reference" / "capacity.md"
HEAD = (
    "| model | requests | load | requests/s | p99 by the model | p99 measured | ratio |\n|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each number of requests at once")
    parser.add_argument("--repeat", type=int, default=3, help="plans of each case; the median ratio counts")
    parser.add_argument("--write", action="store_true", help="write the table into the docs")
    given = parser.parse_args()
    lines = [HEAD]
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, artifact in _artifacts(given.artifacts, Path(folder)):
            for requests in ("binary", "json"):
                plans = [_plan(artifact, requests, given.rounds, given.seconds) for _ in range(given.repeat)]
                for points in zip(*(plan.loads for plan in plans), strict=True):
                    said = statistics.median(p.p99_ms for p in points)
                    real = statistics.median(p.real_p99_ms for p in points if p.real_p99_ms)
                    ratio = statistics.median(p.p99_ms / p.real_p99_ms for p in points if p.real_p99_ms)
                    ratios.append(ratio)
                    rate = statistics.median(p.rate for p in points)
                    cells = (
                        name, requests, f"{100 * points[0].load:.0f} %", f"{rate:,.0f}", f"{said:.3g} ms",
                        f"{real:.3g} ms", f"{ratio:.2f}",
                    )  # fmt: skip
                    lines.append(f"| {' | '.join(cells)} |")
                    print(lines[-1], flush=True)
    near = sum(0.75 <= ratio <= 1.25 for ratio in ratios)
    cpu = next((line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), "unknown CPU")
    lines.append("")
    lines.append(
        f"{near} of {len(ratios)} are within 25 % ({cpu}, {os.cpu_count()} cores, one of them for the sender; medians "
        f"of {given.repeat} plans; `python tests/bench/capacity.py --write`)."
    )
    print(lines[-1])
    if given.write:
        TABLE.write_text("\n".join(lines) + "\n", "utf-8")


def _plan(artifact: Path, requests: str, rounds: int, seconds: float) -> dk.Capacity:
    return dk.capacity(
        artifact, rate=1, p99_ms=60_000, requests=requests, check=True, rounds=rounds, seconds=seconds,
        progress=lambda _: None,
    )  # fmt: skip


def _artifacts(named: list[Path], folder: Path) -> Iterator[tuple[str, Path]]:
    if named:
        yield from ((path.name, path) for path in named)
        return
    (folder / "mlp").mkdir()
    rows = np.random.default_rng(0).normal(size=(200, 784)).astype(np.float32)
    yield "MLP", graphs.exported(servers.mlp(folder / "mlp"), dk.Dataset.from_arrays({"x": rows})).path
    data = dk.Dataset.from_npz(
        ROOT / "notebooks" / "data" / "fashion-mnist.npz", preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    )
    built = dk.build(
        dk.load(ROOT / "notebooks" / "models" / "fashion_cnn.keras"), dk.Recipe(), data, target="onnxruntime"
    )
    yield "tutorial CNN", dk.export(built, folder / "cnn").path


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text("utf-8").splitlines() if path.is_file() else []


if __name__ == "__main__":
    main()

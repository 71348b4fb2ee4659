"""Whether tuning finds what measuring everything finds: ``python tests/bench/tune.py [ARTIFACT]``.

Measures the whole grid of settings in passes, with all servers running, so that whatever else the machine does hits all
points alike. Then tunes, which starts from nothing, and in the end measures both choices in turns. Prints both, the
ratio of their rates with its interval, and what each has measured. Needs a quiet machine with at least two cores, 6 GB
of memory, and ten minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import deploykit as dk
from deploykit.artifacts.artifact import Artifact
from deploykit.core.settings.serving import ServingSettings
from deploykit.measuring.environment import core_count
from deploykit.measuring.statistics import t_interval
from deploykit.serving.tuning.bodies import requests_of
from deploykit.serving.tuning.grid import TuningGrid, TuningPoint
from deploykit.serving.tuning.measuring import Bench, Round
from deploykit.serving.tuning.search import Seen, budget_of, order, search

sys.path.insert(0, str(Path(__file__).parent))
from serve import export_tutorial


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", nargs="?", type=Path, help="an exported folder; the tutorial's CNN by default")
    parser.add_argument("--runtime", default="onnxruntime", help="what runs the tutorial's CNN")
    parser.add_argument("--p99-ms", type=float, default=20.0, help="the limit")
    parser.add_argument("--passes", type=int, default=5, help="measurements of each point of the grid")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of one measurement")
    parser.add_argument("--turns", type=int, default=10, help="measurements of both choices in the end")
    parser.add_argument("--record", type=Path, help="write the whole grid to this file, for tests of the search")
    parser.add_argument("--pictures", type=Path, help="write the curve as NAME.png and NAME-dark.png")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deploykit-bench-") as folder:
        path = arguments.artifact
        compare(Artifact.open(path) if path else export_tutorial(arguments.runtime, Path(folder)), arguments)


def compare(artifact: Artifact, arguments: argparse.Namespace) -> None:
    """Both ways, then their choices in turns."""
    runtime, limit = artifact.manifest.target.runtime, arguments.p99_ms
    grid = TuningGrid.of([runtime], [1, 8, 32], core_count())
    sent = requests_of(artifact, "binary")
    began = time.perf_counter()
    with Bench({runtime: artifact}, sent, arguments.seconds) as bench:
        passes = exhaustive(bench, grid, arguments.passes)
    table = medians(passes)
    best = order(dict(table), limit)[0]
    spent = time.perf_counter() - began
    print(f"exhaustive: {len(table)} different points of {grid.size}, {spent:.0f} s; load {os.getloadavg()[0]:.1f}")
    print(f"  {said(best)}: {table[best].rate:,.0f} requests/s, p99 {table[best].p99_ms:.1f} ms\n", flush=True)
    judge(grid, passes)
    if arguments.record:
        record(grid, table, arguments.record)
    began = time.perf_counter()
    tuning = dk.tune(artifact, p99_ms=limit, seconds=arguments.seconds, save=False)
    print(
        f"\nsearch, {time.perf_counter() - began:.0f} s; load {os.getloadavg()[0]:.1f}:\n{tuning.explain()}\n",
        flush=True,
    )
    if arguments.pictures:
        draw(tuning, arguments.pictures)
    chosen = TuningPoint(runtime, tuning.best.settings, tuning.best.concurrency)
    if chosen == best:
        print("Both chose the same settings at the same load.")
        return
    with Bench({runtime: artifact}, sent, arguments.seconds) as bench:
        rounds = [[bench.once(point, 0.0) for point in (best, chosen)] for _ in range(arguments.turns)]
    for point, own in zip((best, chosen), zip(*rounds, strict=True), strict=True):
        rate, p99 = (statistics.median(getattr(one, name) for one in own) for name in ("rate", "p99_ms"))
        print(f"{said(point)}: {rate:,.0f} requests/s, p99 {p99:.1f} ms")
    ratio = t_interval([math.log(ours.rate / theirs.rate) for theirs, ours in rounds])
    value, low, high = (math.exp(end) for end in (ratio.value, ratio.low, ratio.high))
    print(f"In turns, the search's choice has {value:.3f}× the rate of the exhaustive one's [{low:.3f}, {high:.3f}].")
    if chosen in table:
        print(f"In the table of the grid, it has {table[chosen].rate / table[best].rate:.3f}×.")


def exhaustive(bench: Bench, grid: TuningGrid, passes: int) -> dict[TuningPoint, list[Round]]:
    """All points that differ, measured in random order in each pass."""
    points = list(dict.fromkeys(map(grid.same, grid.points())))
    found: dict[TuningPoint, list[Round]] = {point: [] for point in points}
    draw = random.Random(0)
    for number in range(passes):
        for point in draw.sample(points, len(points)):
            found[point].append(bench.once(point, 0.0))
        print(f"pass {number + 1} of {passes}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return found


def medians(passes: dict[TuningPoint, list[Round]], first: int = 0, step: int = 1) -> dict[TuningPoint, Seen]:
    """Medians at each point over all passes, or over every second one."""
    return {
        point: Seen(*(statistics.median(getattr(r, name) for r in rounds[first::step]) for name in ("rate", "p99_ms")))
        for point, rounds in passes.items()
    }


def judge(grid: TuningGrid, passes: dict[TuningPoint, list[Round]]) -> None:
    """What the search loses against the whole grid: both choose on half of the passes, the other half judges.

    The best of a whole grid owes something to luck, which the half that has not chosen takes away.
    """
    start = TuningPoint(grid.sources[0], ServingSettings(1, 1, 8, 1), grid.concurrency[-1])
    ratios, measured = [], 0
    for half in (0, 1):
        chosen, judges = medians(passes, half, 2), medians(passes, 1 - half, 2)
        for limit in sorted(one.p99_ms for one in chosen.values()):
            table = chosen
            seen = search(grid, limit, lambda point, table=table: table[grid.same(point)], budget_of(grid), start)
            ours, best = order(seen, limit)[0], order(dict(chosen), limit)[0]
            ratios.append(judges[ours].rate / judges[best].rate)
            measured = max(measured, len(seen))
    ratios.sort()
    within = sum(ratio >= 0.95 for ratio in ratios)
    middle, low = ratios[len(ratios) // 2], ratios[len(ratios) // 10]
    print(f"  one half chooses, the other judges, {len(ratios)} limits, at most {measured} points in the search:")
    print(f"  its rate is {middle:.3f}× the exhaustive choice's (median), {low:.3f}× at the 10th percentile,")
    print(f"  {ratios[0]:.3f}× at worst; within 5 % or better for {within} of {len(ratios)}\n")


def said(point: TuningPoint) -> str:
    """A point in words."""
    return f"{point.settings}, {point.concurrency} connections"


def record(grid: TuningGrid, table: dict[TuningPoint, Seen], path: Path) -> None:
    """The grid as a table."""
    points = [{"point": p.to_json(), "rate": round(s.rate, 1), "p99_ms": round(s.p99_ms, 3)} for p, s in table.items()]
    lines = ",\n".join(f"  {json.dumps(point)}" for point in points)
    path.write_text(f'{{\n "grid": {json.dumps(grid.to_json())},\n "points": [\n{lines}\n ]\n}}\n')


def draw(tuning: dk.Tuning, path: Path) -> None:
    """The curve for light and for dark pages."""
    import vl_convert
    from PIL import Image

    for dark in (False, True):
        ink = "#dddddd" if dark else "#222222"
        chart = tuning.chart(dark=dark).configure(
            background="#111111" if dark else "#ffffff",
            view={"stroke": "#888888", "strokeOpacity": 0.4},
            axis={"labelColor": ink, "titleColor": ink, "gridColor": "#888888", "gridOpacity": 0.25},
            legend={"labelColor": ink, "titleColor": ink},
            text={"color": ink},
        )
        file = path.with_name(f"{path.name}{'-dark' if dark else ''}.png")
        drawn = Image.open(io.BytesIO(vl_convert.vegalite_to_png(chart.to_dict(), scale=1.5)))
        drawn.convert("RGB").quantize(256).save(file, optimize=True)


if __name__ == "__main__":
    main()

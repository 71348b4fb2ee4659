"""Whether tuning finds what measuring everything finds: ``python tests/bench/tune.py [ARTIFACT]``.

Measures the whole grid of settings on this machine, then lets the search look for the best ones on its own, and in the
end measures both choices in turns. Prints both, the ratio of their rates with its interval, and what each has measured.
Needs a quiet machine with at least two cores, and about ten minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import deploykit as dk
from deploykit.artifacts.artifact import Artifact
from deploykit.measuring.statistics import t_interval
from deploykit.serving.tuning.bodies import requests_of
from deploykit.serving.tuning.grid import TuningPoint
from deploykit.serving.tuning.measuring import Bench
from deploykit.serving.tuning.search import Seen, order

sys.path.insert(0, str(Path(__file__).parent))
from serve import export_tutorial


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", nargs="?", type=Path, help="an exported folder; the tutorial's CNN by default")
    parser.add_argument("--runtime", default="onnxruntime", help="what runs the tutorial's CNN")
    parser.add_argument("--p99-ms", type=float, default=20.0, help="the limit")
    parser.add_argument("--rounds", type=int, default=3, help="rounds at each point")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a round")
    parser.add_argument("--turns", type=int, default=10, help="rounds of both choices in the end")
    parser.add_argument("--record", type=Path, help="write the whole grid to this file, for tests of the search")
    parser.add_argument("--pictures", type=Path, help="write the curve as NAME.png and NAME-dark.png")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deploykit-bench-") as folder:
        path = arguments.artifact
        compare(Artifact.open(path) if path else export_tutorial(arguments.runtime, Path(folder)), arguments)


def compare(artifact: Artifact, arguments: argparse.Namespace) -> None:
    """Both ways, then their choices in turns."""
    found = {}
    for name, share in (("exhaustive", 1.0), ("search", 0.2)):
        began = time.perf_counter()
        found[name] = tuning = dk.tune(
            artifact,
            p99_ms=arguments.p99_ms,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            share=share,
            save=False,
        )
        print(f"\n{name}, {time.perf_counter() - began:.0f} s:\n{tuning.explain()}\n", flush=True)
    if arguments.record:
        record(found["exhaustive"], arguments.record)
    if arguments.pictures:
        draw(found["search"], arguments.pictures)
    points = {name: TuningPoint(t.best.runtime, t.best.settings, t.best.concurrency) for name, t in found.items()}
    if points["exhaustive"] == points["search"]:
        print("Both chose the same settings at the same load.")
    else:
        in_turns(artifact, points, arguments)
    whole, some = found["exhaustive"], found["search"]
    print(
        f"The search measured {some.rounds} rounds, {100 * some.rounds / (whole.grid.size * arguments.rounds):.0f} % of"
    )
    print(f"the {whole.grid.size * arguments.rounds} of the grid; load average now {os.getloadavg()[0]:.1f}.")


def in_turns(artifact: Artifact, points: dict[str, TuningPoint], arguments: argparse.Namespace) -> None:
    """The rates of both choices, round by round."""
    runtime = artifact.manifest.target.runtime
    logs, rounds = [], {name: [] for name in points}
    with Bench({runtime: artifact}, requests_of(artifact, "binary"), arguments.seconds) as bench:
        for _ in range(arguments.turns):
            for name, point in points.items():
                rounds[name].append(bench.once(point, 0.0))
            logs.append(math.log(rounds["search"][-1].rate / rounds["exhaustive"][-1].rate))
    ratio = t_interval(logs)
    for name, point in points.items():
        rate = sum(r.rate for r in rounds[name]) / len(rounds[name])
        p99 = sorted(r.p99_ms for r in rounds[name])[len(rounds[name]) // 2]
        print(f"{name:10} {point.settings}, {point.concurrency} connections: {rate:,.0f} requests/s, p99 {p99:.1f} ms")
    low, value, high = (math.exp(v) for v in (ratio.low, ratio.value, ratio.high))
    print(
        f"The search's choice has {value:.3f}× the rate of the exhaustive one's, 95 % interval [{low:.3f}, {high:.3f}]."
    )


def record(tuning: dk.Tuning, path: Path) -> None:
    """The grid as a table: rate and p99 at each point, and which is best, to look at."""
    rows = [row for row in tuning.rows if row.rate is not None and row.p99_ms is not None]
    table = {
        TuningPoint(row.runtime, row.settings, row.concurrency): Seen(row.rate.value, row.p99_ms.value)  # type: ignore[union-attr]
        for row in rows
    }
    facts = {name: tuning.environment[name] for name in ("cpu", "cores", "load")}
    points = [{"point": p.to_json(), "rate": round(s.rate, 1), "p99_ms": round(s.p99_ms, 3)} for p, s in table.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"environment": facts, "grid": tuning.grid.to_json(), "points": points}, indent=1) + "\n"
    )
    print(f"{len(points)} points in {path}; best within {tuning.p99_ms:g} ms: {order(dict(table), tuning.p99_ms)[0]}")


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
        drawn.convert("RGB").quantize(64).save(file, optimize=True)


if __name__ == "__main__":
    main()

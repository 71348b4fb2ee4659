"""Measures the live chart in a browser: time of an update of 2,000 points, and the page's heap over 1,000 updates.

It is not a test, since times depend on the machine; run it on a quiet one:

    python tests/ui/chart_harness.py [--points 2000] [--updates 1000]
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from lab_driver import open_browser, run_all_cells, running_lab

_CELL = """
from pathlib import Path
from deploykit_widgets import TradeOff
from deploykit.core.candidate import Candidate, Recipe, Target
from deploykit.core.result import Interval, Latency, Measurement, Result, Score
from deploykit.reporting.report import Report

one, none = Interval(1.0, 1.0, 1.0), Interval(0.0, 0.0, 0.0)
latency = Latency(Interval(0.26, 0.25, 0.27), 0.3, 0.3, one, None, 0.26, 10, 2000, 0.01, (), "baseline")
measured = Measurement((Score("accuracy", 0.91, none, none, 10_000),), latency, 1_700_000, 1_600_000)
candidate = Candidate(Recipe(), Target("onnxruntime"))
base = Result("base", candidate, "measured", "original", "original", measurement=measured)
facts = {"baseline": "base", "metric": "accuracy", "relative": False, "higher_is_better": True, "max_drop": 0.01}
TradeOff(Report(Path("runs"), (base,), facts))
"""

#: Finds the Workbench behind the page's first panel, and makes rows as the kernel would send them.
_SETUP = """
() => {
  const node = document.querySelector('.dk-Workbench');
  let fiber = node[Object.keys(node).find(name => name.startsWith('__reactFiber'))];
  while (!fiber.memoizedProps?.bench) { fiber = fiber.return; }
  const bench = fiber.memoizedProps.bench;
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const base = [...bench.store.getState().rows.values()][0];
  const families = ['quantize', 'prune', 'prune + quantize', 'gone'];
  const marks = ['square', 'triangle-up', 'diamond', 'cross'];
  const runtimes = ['litert', 'onnxruntime', 'openvino'];
  const row = number => {
    const speed = Math.exp(2.5 * random() - 0.3), doubt = 0.3 * random();
    const change = -2.5 * random() * Math.min(2, speed / 3);
    const p50 = 0.26 / speed, half = 0.02 * p50 * random();
    return { ...base, key: `k${number}`, name: `candidate ${number}`, runtime: runtimes[number % 3],
      where: runtimes[number % 3], family: families[number % 4], mark: marks[number % 4],
      isBaseline: false,
      state: random() < 0.03 ? 'front' : 'beaten', why: 'Beaten: it is made up.',
      badges: random() < 0.03 ? ['noisy'] : [],
      change: [change, change - doubt, change + doubt], p50: [p50, p50 - half, p50 + half],
      speedup: [speed, 0.98 * speed, 1.02 * speed], size: 1e6 * random() };
  };
  const send = (set, gone, reset) => bench.receive({ type: 'rows', set, gone, reset });
  window.harness = { bench, row, send, next: 0,
    fill(count) {
      const set = { base, kept: { ...row(0), key: 'kept' } };
      for (; this.next < count; this.next++) { set[`k${this.next}`] = row(this.next); }
      send(set, [], true);
    },
    /** Replace ten candidates by ten others; resolves with the milliseconds until they are drawn. */
    async update() {
      const set = {}, gone = [];
      const first = this.next - bench.store.getState().rows.size + 2;  // but for base and kept
      for (let i = 0; i < 10; i++) { gone.push(`k${first + i}`); set[`k${this.next}`] = row(this.next++); }
      const canvas = document.querySelector('.dk-chart-canvas');
      const drawn = new Promise(done => {
        const watch = new MutationObserver(() => { watch.disconnect(); done(); });
        watch.observe(canvas, { attributeFilter: ['data-drawn'] });
      });
      const began = performance.now();
      send(set, gone, false);
      await drawn;
      return performance.now() - began;
    },
    async updates(count) {
      const times = [];
      for (let i = 0; i < count; i++) {
        times.push(await this.update());
        await new Promise(done => requestAnimationFrame(done));
      }
      return times;
    }
  };
}
"""


def heap_after_collection(session: Any) -> int:
    """Bytes of the page's JavaScript heap that are in use after a collection."""
    for _ in range(3):
        session.send("HeapProfiler.collectGarbage")
    return int(session.send("Runtime.getHeapUsage")["usedSize"])


def script_seconds(session: Any) -> float:
    """CPU time of the page's scripts, which other programs on the machine do not stretch."""
    found = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    return float(found["ScriptDuration"])


def prepare(page: Any, lab: Any, points: int) -> None:
    """Open a panel alone and fill it with made-up candidates."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(_CELL.strip())])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab.root / "harness.ipynb")
    run_all_cells(page, lab, "harness.ipynb")
    page.wait_for_selector(".dk-chart-canvas[data-drawn]")
    page.evaluate("document.querySelector('.dk-chart').scrollIntoView()")
    page.evaluate(_SETUP)
    page.evaluate("points => window.harness.fill(points)", points)
    page.wait_for_function("points => window.harness.bench.store.getState().rows.size > points", arg=points)


def select_and_brush(page: Any) -> dict[str, Any]:
    """Select A and B, brush and zoom as a person would have; returns what must last."""
    page.evaluate(
        """() => window.harness.bench.look({ a: 'base', b: 'kept', zoom: 'all',
        brush: [{ measure: 'latency', low: 0.05, high: 0.2 }, { measure: 'change', low: -1, high: 0 }] })"""
    )
    return kept(page)


def kept(page: Any) -> dict[str, Any]:
    """Selection, brush and zoom."""
    found: dict[str, Any] = page.evaluate(
        """() => {
            const { a, b, brush, zoom } = window.harness.bench.store.getState().view;
            return { a, b, brush, zoom };
        }"""
    )
    return found


def measure(points: int, updates: int) -> dict[str, Any]:
    """Times of updates in milliseconds, and bytes of the heap at updates 200 and the last."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        root.mkdir()
        with running_lab(root, Path(folder)) as lab, open_browser(1400, 1200) as (page, _outside):
            prepare(page, lab, points)
            before = select_and_brush(page)
            session = page.context.new_cdp_session(page)
            session.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
            session.send("Performance.enable")
            began = script_seconds(session)
            times = page.evaluate("count => window.harness.updates(count)", 200)
            cpu_ms = 1000 * (script_seconds(session) - began) / 200
            first = heap_after_collection(session)
            times += page.evaluate("count => window.harness.updates(count)", updates - 200)
            last = heap_after_collection(session)
            steady = sorted(times[20:])
            page.evaluate("() => window.harness.bench.look({ sort: { column: 'name', descending: false } })")
            by_name = page.evaluate("count => window.harness.updates(count)", 100)
            return {
                "points": points,
                "median_ms": statistics.median(steady),
                "p95_ms": steady[int(0.95 * len(steady))],
                "worst_ms": steady[-1],
                "median_ms_sorted_by_name": statistics.median(by_name),
                "script_cpu_ms": cpu_ms,
                "heap_at_200": first,
                f"heap_at_{updates}": last,
                "heap_growth": last / first - 1,
                "selection_lasts": kept(page) == before,
            }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--updates", type=int, default=1000)
    wanted = parser.parse_args()
    print(json.dumps(measure(wanted.points, wanted.updates), indent=1))

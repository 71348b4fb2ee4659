"""The Workbench in a real browser: ``python tests/bench/workbench.py [--rows 2000] [--updates 1000] [--pages 5]``.

Starts JupyterLab on loopback and drives it with headless Chromium, and prints

- first paint: from the moment the cell is run to the Workbench being drawn, in a kernel that has just started and in
  one that has imported deploykit before; medians of several new pages;
- update of the chart: from a patch of ten changed candidates being there in the browser to the chart being redrawn,
  with ``--rows`` candidates in it, and whether the selection survived;
- memory: the page's heap after a collection at update 200 and at the end;
- size of a saved notebook with a Workbench that shows ``--rows`` candidates.

Wants a quiet machine; the load is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "ui"))

import chart_harness
import lab_driver as driver

_IMPORTS = "import deploykit as dk\nimport numpy as np\n"
_DATA = """
rng = np.random.default_rng(0)
data = dk.Dataset.from_arrays(rng.random((200, 1, 8, 8), np.float32), rng.integers(0, 3, 200), calibration_size=20)
"""
_BENCH = """
bench = dk.Workbench("model.onnx", data, store="runs", space="quick")
"""
#: Until the results of the store are there.
_WAIT = """
import time
while bench.report is None:
    time.sleep(0.1)
"""
#: Milliseconds from running a cell to the tabs of the Workbench being drawn.
_PAINT = """async (index) => {
  const panel = window.jupyterapp.shell.currentWidget;
  panel.content.activeCellIndex = index;
  const began = performance.now();
  const drawn = new Promise(done => {
    const look = () => document.querySelector('.dk-Workbench [role=tab]')
      ? requestAnimationFrame(() => done(performance.now() - began)) : requestAnimationFrame(look);
    look();
  });
  void window.jupyterapp.commands.execute('notebook:run-cell');
  return await drawn;
}"""


def first_paint(lab: driver.Lab, *, imported: bool) -> float:
    """One new page with a new kernel; milliseconds."""
    with driver.open_browser() as (page, _outside):
        page.goto(lab.address("paint.ipynb"))
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        page.evaluate(
            """async () => { const panel = window.jupyterapp.shell.currentWidget; await panel.revealed;
            await panel.sessionContext.ready; await panel.sessionContext.session.kernel.info; }"""
        )
        if imported:
            driver.kernel_value(page, "__import__('deploykit').Workbench and 1")
        took = float(page.evaluate(_PAINT, 0))
        page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); }")
    return took


def fill(root: Path, rows: int) -> None:
    """Sweep two candidates, and put as many like the second into the store as there shall be rows."""
    import dataclasses

    import numpy as np

    import deploykit as dk
    from deploykit.core.result import Interval
    from deploykit.storage.store import Store

    found: dict[str, Any] = {"dk": dk, "np": np}
    exec(_DATA, found)
    space = dk.Space((dk.Recipe((dk.Step("quantize_static"),)),), (dk.Target("onnxruntime"),))
    report = dk.sweep(dk.load(root / "model.onnx"), found["data"], space, store=root / "runs", launches=2)
    like = next(r for r in report.rows if r.key != report.baseline)
    assert like.measurement is not None
    assert like.measurement.latency is not None
    latency = like.measurement.latency
    store = Store(root / "runs")
    context = next(iter(store.sweeps()))
    with store:
        for place in range(len(report.rows), rows):
            factor = float(np.exp(np.random.default_rng(place).normal()))
            p50, ratio = (
                Interval(i.value * f, i.low * f, i.high * f)
                for i, f in ((latency.p50_ms, factor), (latency.speedup, 1 / factor))
            )
            timed = dataclasses.replace(latency, p50_ms=p50, speedup=ratio)
            measured = dataclasses.replace(like.measurement, latency=timed)
            store.put_row(context, place, dataclasses.replace(like, key=f"{place:064x}", measurement=measured))


def saved_bytes(lab: driver.Lab) -> int:
    """Size of a notebook that shows the results, as Lab saves it."""
    file = lab.root / "saved.ipynb"
    with driver.open_browser() as (page, _outside):
        driver.run_all_cells(page, lab, file.name)
        page.wait_for_selector(".dk-chart-canvas[data-drawn]")
        page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        driver.poll(page, lambda: "application/vnd.deploykit.workbench.v1+json" in file.read_text("utf-8"), "saved")
        page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); }")
    return file.stat().st_size


def notebook(path: Path, *cells: str) -> None:
    """Write a notebook."""
    import nbformat

    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, path)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000, help="candidates in the chart, and in the saved notebook")
    parser.add_argument("--updates", type=int, default=1000, help="updates of the chart; more than 200")
    parser.add_argument("--pages", type=int, default=5, help="new pages for the first paint")
    options = parser.parse_args()
    from deploykit.testing import models

    found: dict[str, Any] = {"load": round(os.getloadavg()[0], 2)}
    with tempfile.TemporaryDirectory() as folder:
        root, scratch = Path(folder, "root"), Path(folder, "scratch")
        root.mkdir()
        scratch.mkdir()
        models.build("cnn_onnx", root).rename(root / "model.onnx")
        notebook(root / "paint.ipynb", _IMPORTS + _DATA + _BENCH + "bench")
        with driver.running_lab(root, scratch) as lab:
            for imported in (False, True):
                times = [first_paint(lab, imported=imported) for _ in range(options.pages)]
                name = "first paint, deploykit imported before" if imported else "first paint, new kernel"
                found[f"{name}, ms"] = round(statistics.median(times))
            fill(root, options.rows)
            notebook(root / "saved.ipynb", _IMPORTS + _DATA + _BENCH + _WAIT, "bench")
            found[f"saved notebook, {options.rows} candidates, bytes"] = saved_bytes(lab)
    found["chart"] = chart_harness.measure(options.rows, options.updates)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

"""The diff of two graphs in a real browser: ``python tests/bench/graph_diff.py [--nodes 2000] [--pictures FOLDER]``.

Sweeps a synthetic ONNX model of as many nodes, opens its Workbench in JupyterLab with headless Chromium, and prints

- compared: seconds from opening the part to the rows being drawn, both graphs read, paired and run in a child process;
- drawn: the same again, with the diff known: what is left is sending and drawing;
- key: from a key that jumps to the other end of the list to its row being drawn.

Each is measured in the page, to the second frame after. Wants a quiet machine; the load is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "ui"))
sys.path.insert(0, str(Path(__file__).parent))

import lab_driver as driver
from workbench import notebook

_CELL = """
import deploykit as dk
import numpy as np
x = np.random.default_rng(0).random((60, 8, 6, 6), np.float32)
data = dk.Dataset.from_arrays(x, calibration_size=20)
model = dk.load("model.onnx")
"""
_SWEEP = """
space = dk.Space([dk.Recipe((dk.Step("prune_magnitude"),))], [dk.Target("onnxruntime")])
dk.sweep(model, data, space, store="runs", launches=2)
bench = dk.Workbench("model.onnx", data, store="runs", space=space)
"""
_WAIT = """
import time
while bench.report is None:
    time.sleep(0.1)
"""
#: Milliseconds from a click to the rows being drawn, two frames later.
_OPEN = """async () => {
  const head = [...document.querySelectorAll('.dk-fold-head')].find(x => x.textContent.includes('Graph diff'));
  head.scrollIntoView();
  const began = performance.now();
  head.click();
  return await new Promise(done => {
    const look = () => document.querySelector('.dk-diff-row')
      ? requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)))
      : requestAnimationFrame(look);
    look();
  });
}"""
_CLOSE = (
    """() => [...document.querySelectorAll('.dk-fold-head')].find(x => x.textContent.includes('Graph diff')).click()"""
)
_KEY = """async () => {
  const list = document.querySelector('.dk-diff-list');
  list.focus();
  const count = document.querySelector('.dk-diff-row').getAttribute('aria-setsize');
  const began = performance.now();
  list.dispatchEvent(new KeyboardEvent('keydown', { key: 'End', bubbles: true }));
  return await new Promise(done => {
    const look = () => document.querySelector(`.dk-diff-row.dk-on[aria-posinset="${count}"]`)
      ? requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)))
      : requestAnimationFrame(look);
    look();
  });
}"""


def network(path: Path, nodes: int) -> None:
    """A chain of convolutions and activations with an addition now and then, of about as many nodes."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    made, weights, tensor, skip = [], [], "image", "image"
    for place in range(nodes // 2 - nodes // 20):
        weights.append(numpy_helper.from_array(rng.normal(0, 0.3, (8, 8, 1, 1)).astype(np.float32), f"w{place}"))
        made.append(helper.make_node("Conv", [tensor, f"w{place}"], [f"c{place}"], f"block/conv_{place}"))
        made.append(helper.make_node("Tanh", [f"c{place}"], [f"t{place}"], f"block/tanh_{place}"))
        tensor = f"t{place}"
        if place % 9 == 8:
            made.append(helper.make_node("Add", [tensor, skip], [f"s{place}"], f"block/add_{place}"))
            tensor = skip = f"s{place}"
    made.append(helper.make_node("Softmax", [tensor], ["probabilities"], "softmax", axis=1))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 8, 6, 6]) for n in ("image", "probabilities")]
    graph = helper.make_graph(made, "chain", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), path)


def measure(root: Path, scratch: Path, *, dark: bool, pictures: Path | None) -> dict[str, Any]:
    """Milliseconds, and pictures of what was measured."""
    with driver.running_lab(root, scratch, dark=dark) as lab, driver.open_browser(1580, 1300) as (page, _outside):
        driver.run_all_cells(page, lab, "bench.ipynb")
        page.wait_for_selector(".dk-fold-head", timeout=120_000)
        found = {"compared, ms": page.evaluate(_OPEN)}
        page.evaluate(_CLOSE)
        page.wait_for_selector(".dk-diff-row", state="detached")
        found["drawn, ms"] = page.evaluate(_OPEN)
        found["key, ms"] = page.evaluate(_KEY)
        found["rows"] = int(page.locator(".dk-diff-row").first.get_attribute("aria-setsize"))
        if pictures is not None:
            page.locator(".dk-diff-list").press("Home")
            page.locator(".dk-diff-list").press("ArrowDown")
            page.locator(".dk-diff-list").press("Enter")
            page.locator(".dk-diff").screenshot(path=str(pictures / f"diff{'-dark' if dark else ''}.png"))
        page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); }")
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2000, help="nodes of the model")
    parser.add_argument("--model", type=Path, help="another model with inputs like the synthetic one's")
    parser.add_argument("--pictures", type=Path, help="folder for pictures, light and dark")
    options = parser.parse_args()
    found: dict[str, Any] = {"load": round(os.getloadavg()[0], 2)}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        root.mkdir()
        if options.model:
            (root / "model.onnx").write_bytes(options.model.read_bytes())
        else:
            network(root / "model.onnx", options.nodes)
        notebook(root / "bench.ipynb", _CELL + _SWEEP + _WAIT, "bench")
        for dark in (False, True) if options.pictures else (False,):
            scratch = Path(folder, "dark" if dark else "light")
            scratch.mkdir()
            found["dark" if dark else "light"] = measure(root, scratch, dark=dark, pictures=options.pictures)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

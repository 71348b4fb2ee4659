"""Make docs/workbench.png and docs/workbench-dark.png: the running Workbench on Fashion-MNIST, in Chromium.

Run it from the root of the repository after a change of the Workbench:

    .venv/bin/python tests/ui/screenshot.py [--store FOLDER] [--launches N]

It clicks Run sweep and waits for the end. With the store of an earlier run only what is new is measured.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import lab_driver as driver

ROOT = Path(__file__).parents[2]
NOTEBOOK = "02_workbench.ipynb"
#: Of the window, so that the Workbench is about 1400 pixels wide.
WIDTH = 1580


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default="runs/screenshot", help="folder of the sweep")
    parser.add_argument("--launches", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=20, help="longest wait for the sweep")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        _copy_notebook(root, Path(arguments.store), arguments.launches)
        for dark in (False, True):
            scratch = Path(folder, "dark" if dark else "light")
            scratch.mkdir()
            target = ROOT / "docs" / ("workbench-dark.png" if dark else "workbench.png")
            with (
                driver.running_lab(root, scratch, dark=dark) as lab,
                driver.open_browser(WIDTH, 1400) as (page, outside),
            ):
                driver.run_all_cells(page, lab, NOTEBOOK)
                _sweep(page, arguments.minutes * 60)
                _shoot(page, target)
            if outside:
                raise SystemExit(f"the page asked for addresses off this machine: {outside}")
            print(target)


def _copy_notebook(root: Path, store: Path, launches: int) -> None:
    """The notebook beside its model and data; its store is a link, so that the code it shows names the usual one."""
    root.mkdir()
    for name in ("models", "data"):
        shutil.copytree(ROOT / "notebooks" / name, root / name)
    store.mkdir(parents=True, exist_ok=True)
    (root / "runs").mkdir()
    (root / "runs" / "workbench").symlink_to(store.absolute())
    book = json.loads((ROOT / "notebooks" / NOTEBOOK).read_text("utf-8"))
    for cell in book["cells"]:
        source = "".join(cell["source"])
        cell["source"] = source.replace("launches: int = 10", f"launches: int = {launches}")
    (root / NOTEBOOK).write_text(json.dumps(book), "utf-8")


def _sweep(page: object, seconds: float) -> None:
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    run = page.get_by_role("button", name="Run sweep")
    driver.poll(page, lambda: run.count() and run.get_attribute("aria-disabled") is None, "the plan is made")
    run.click()
    done = page.locator(".dk-Workbench .dk-strip", has_text="Done:")
    driver.poll(page, done.count, "the sweep has ended", seconds)
    page.locator(".dk-chart-canvas canvas").wait_for()
    page.locator(".dk-flip img").first.scroll_into_view_if_needed()  # pictures are sent when they are near


def _shoot(page: object, target: Path) -> None:
    """Crop to the Workbench; give the page its height first, so that nothing is scrolled away."""
    bench = page.locator(".dk-Workbench")
    height = bench.evaluate("e => Math.ceil(e.getBoundingClientRect().height)")
    page.set_viewport_size({"width": WIDTH, "height": height + 700})
    bench.scroll_into_view_if_needed()
    page.mouse.move(2, 2)
    page.evaluate("() => document.activeElement && document.activeElement.blur()")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    target.parent.mkdir(exist_ok=True)
    bench.screenshot(path=str(target))


if __name__ == "__main__":
    main()

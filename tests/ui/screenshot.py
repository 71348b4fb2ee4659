"""Make the pictures of docs/: the Workbench on Fashion-MNIST and each of its panels, light and dark, in Chromium.

Run it from the root of the repository after a change of the Workbench:

    .venv/bin/python tests/ui/screenshot.py [--store FOLDER] [--launches N] [--only NAME ...]

It clicks Run sweep and waits for the end. With the store of an earlier run only what is new is measured. With --only,
the other pictures stay as they are.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
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
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="pictures to make (default: all)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        _copy_notebook(root, Path(arguments.store), arguments.launches)
        for dark in (False, True):
            scratch = Path(folder, "dark" if dark else "light")
            scratch.mkdir()
            with (
                driver.running_lab(root, scratch, dark=dark) as lab,
                driver.open_browser(WIDTH, 1400) as (page, outside),
            ):
                driver.run_all_cells(page, lab, NOTEBOOK)
                _sweep(page, arguments.minutes * 60)
                missing = set(arguments.only)
                for name, part in _views(page):
                    if not arguments.only or name in arguments.only:
                        print(_shoot(page, part, ROOT / "docs" / f"{name}{'-dark' if dark else ''}.png"))
                        missing.discard(name)
                    if arguments.only and not missing:
                        break
                if missing:
                    raise SystemExit(f"there are no pictures called {', '.join(sorted(missing))}")
            if outside:
                raise SystemExit(f"the page asked for addresses off this machine: {outside}")


def _copy_notebook(root: Path, store: Path, launches: int) -> None:
    """The notebook beside its model and data; its store is a link, so that the code it shows names the usual one."""
    root.mkdir()
    for name in ("models", "data"):
        shutil.copytree(ROOT / "notebooks" / name, root / name)
    store.mkdir(parents=True, exist_ok=True)
    (root / "runs").mkdir()
    (root / "runs" / "workbench").symlink_to(store.absolute())
    shutil.copytree(ROOT / "notebooks" / "finished", root / "runs" / "yesterday")
    book = json.loads((ROOT / "notebooks" / NOTEBOOK).read_text("utf-8"))
    for cell in book["cells"]:
        source = "".join(cell["source"])
        cell["source"] = source.replace("launches: int = 10", f"launches: int = {launches}")
    (root / NOTEBOOK).write_text(json.dumps(book), "utf-8")


def _sweep(page: object, seconds: float) -> None:
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    _tab(page, "Explore")  # a Workbench opens where it was left
    run, unchanged = driver.run_button(page), page.get_by_role("button", name="No changes to apply")
    ready = lambda: run.count() and run.get_attribute("aria-disabled") is None  # noqa: E731  # asked again and again
    driver.poll(page, lambda: ready() or unchanged.count(), "the plan is made")
    page.wait_for_timeout(3000)  # results of the store are found after the plan
    if not unchanged.count():
        run.click()
        done = page.locator(".dk-Workbench .dk-strip", has_text="Done:")
        driver.poll(page, done.count, "the sweep has ended", seconds)
        driver.poll(page, unchanged.count, "the plan knows what was done")
    page.locator(".dk-chart-canvas canvas").wait_for()
    page.locator(".dk-flip img").first.scroll_into_view_if_needed()  # pictures are sent when they are near


def _views(page: object) -> Iterator[tuple[str, str]]:
    """Show one panel after the other: the picture's name and the selector of what is on it."""
    yield "workbench", ".dk-Workbench"
    yield "space", ".dk-column-space"
    yield "tradeoff", ".dk-column-tradeoff"
    views = page.get_by_role("group", name="View")
    views.get_by_role("radio", name="Settings").check()
    page.locator(".dk-parallel-plot").wait_for()
    yield "settings", ".dk-column-tradeoff"
    views.get_by_role("radio", name="Compare").check()
    page.get_by_label("Other store").fill("runs/yesterday")
    page.get_by_role("button", name="Compare", exact=True).click()
    page.locator(".dk-beside-plot").nth(1).wait_for()
    yield "compare", ".dk-column-tradeoff"
    views.get_by_role("radio", name="Devices").check()
    page.get_by_label("Other machines").fill("runs/yesterday")
    page.get_by_label("Other machines").press("Enter")
    page.locator(".dk-devices .dk-beside-plot").nth(1).wait_for()
    yield "devices", ".dk-column-tradeoff"
    views.get_by_role("radio", name="Chart").check()
    page.locator(".dk-chart-canvas canvas").wait_for()
    candidate = page.locator(".dk-column-candidate")
    for name in ("Per class", "Channels, weights and sparsity", "Graph diff", "Recipe"):
        candidate.get_by_role("button", name=name).click()
    candidate.locator(".dk-hist").first.wait_for()
    yield "candidate", ".dk-column-candidate"
    _tab(page, "Model")
    page.locator("[aria-label^='Layers of']").wait_for()
    yield "model", ".dk-view"
    _tab(page, "Data")
    page.get_by_role("img", name="sample").first.wait_for()
    yield "data", ".dk-view"
    _tab(page, "Export & serve")
    if (use := page.get_by_role("button", name="Use it", exact=True)).count():
        use.click()
    page.locator(".dk-view .dk-chosen").wait_for()
    page.get_by_role("button", name="Export", exact=True).click()
    driver.poll(page, lambda: page.locator(".dk-checks .dk-check-done").count() >= 3, "the checks are ticked")
    page.get_by_label("Port", exact=True).fill("0")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Try it", exact=True).click()
    page.get_by_role("table", name="Highest probabilities").wait_for()
    yield "export", ".dk-view"
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Start", exact=True).wait_for()
    page.get_by_role("button", name="Code", exact=True).click()
    yield "code", ".dk-code"


def _tab(page: object, name: str) -> None:
    page.locator(".dk-Workbench .dk-tab", has_text=name).click()


def _shoot(page: object, part: str, target: Path) -> Path:
    """Crop to a part; give the page the Workbench's height first, so that nothing is scrolled away."""
    bench = page.locator(".dk-Workbench")
    height = bench.evaluate("e => Math.ceil(e.getBoundingClientRect().height)")
    page.set_viewport_size({"width": WIDTH, "height": height + 700})
    bench.scroll_into_view_if_needed()
    page.mouse.move(2, 2)
    page.evaluate("() => document.activeElement && document.activeElement.blur()")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    target.parent.mkdir(exist_ok=True)
    page.locator(part).screenshot(path=str(target))
    return target


if __name__ == "__main__":
    main()

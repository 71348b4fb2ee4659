"""What is done in the Workbench leaves the notebook around it as it is, in JupyterLab and in Notebook 7."""

import re

import nbformat
import pytest
from conftest import CELL
from lab_driver import poll, run_all_cells

pytestmark = pytest.mark.browser

#: Sources of the cells; the Workbench is between them.
SOURCES = ("# One", "two = 2", "three = 3", CELL, "five = 5", "six = 6", "# Seven")
#: Where gestures begin: texts that cannot have the focus, and one of each kind of control.
PLACES = {
    "Explore": (
        ".dk-strip", ".dk-tab >> nth=2", ".dk-best", ".dk-goal-words label", ".dk-goal input",
        ".dk-column-space h3 >> nth=0", ".dk-column-candidate h3 >> nth=0", ".dk-code-head",
        "[role=grid] [role=row] >> nth=2", ".dk-column-tradeoff [role=toolbar] button >> nth=0", ".dk-chart-over",
    ),
    "Model": (".dk-view h3 >> nth=0", "[aria-label^='Layers of'] >> nth=0"),
    "Data": (".dk-view h3 >> nth=0", ".dk-view input >> nth=0"),
    "Export & serve": (".dk-view h3 >> nth=0", ".dk-layout >> nth=0"),
}  # fmt: skip
#: Those that cut, copy, paste, merge, split, move, run, change and undo cells, and that select them.
KEYS = (
    "x", "d", "d", "c", "v", "Shift+V", "z", "Shift+Z", "Shift+M", "m", "y", "r", "1", "o", "Shift+J", "Shift+K",
    "Shift+ArrowDown", "Shift+ArrowUp", "Control+A", "x", "Control+X", "Control+V", "Control+Z", "Control+Shift+Z",
    "Control+Shift+M", "Control+Backspace", "Control+Shift+ArrowUp", "Control+Shift+ArrowDown", "Control+Enter",
    "Alt+Enter", "Delete", "Backspace", "0", "0", "i", "i", "Home", "PageDown", "ArrowDown",
)  # fmt: skip
MODIFIERS = ((), ("Shift",), ("Control",), ("Alt",), ("Control", "Shift"))


def write_cells(root, name, store):
    """A notebook with the Workbench among other cells."""
    cells = [
        nbformat.v4.new_markdown_cell(s) if s.startswith("#") else nbformat.v4.new_code_cell(s.replace("NAME", store))
        for s in SOURCES
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, root / name)


def tab(page, name):
    return page.locator(".dk-Workbench .dk-tab", has_text=name).first


def sweep(page):
    """Run the sweep by clicking, where there is something to run."""
    names = (re.compile(r"^Run (sweep|\d)"), "No changes to apply")
    run, unchanged = (page.locator(".dk-Workbench").get_by_role("button", name=name) for name in names)
    ready = lambda: run.count() and run.first.get_attribute("aria-disabled") is None  # noqa: E731  # asked again and again
    poll(page, lambda: ready() or unchanged.count(), "the plan is made")
    if not unchanged.count():
        run.first.click()
        poll(page, lambda: page.locator(".dk-strip-words", has_text="Done:").count(), "the sweep has ended", 120)
    page.locator(".dk-chart-canvas canvas").wait_for()


def cells_of(page):
    """All that a gesture could change: cells, their sources, what is selected, and what has been run."""
    return page.evaluate(
        """() => {
            const { content } = window.jupyterapp.shell.currentWidget;
            const counts = content.widgets.map(w => w.model.executionCount ?? null);
            const selected = content.widgets.map(w => content.isSelectedOrActive(w));
            return { cells: content.model.sharedModel.toJSON().cells.map(c => [c.id, c.cell_type, c.source]),
                counts, selected, mode: content.mode };
        }"""
    )


def gestures(page):
    """Do everything everywhere; gives what has changed in the notebook, by place and gesture."""
    found = []
    before = cells_of(page)

    def look(*what):
        nonlocal before
        now = cells_of(page)
        if now != before:
            found.append((what, {name: (before[name], now[name]) for name in now if now[name] != before[name]}))
            before = now

    for view, places in PLACES.items():
        for place in places:
            tab(page, view).click()
            spot = page.locator(".dk-Workbench").first.locator(place)
            spot.scroll_into_view_if_needed(timeout=10_000)
            box = spot.bounding_box()
            assert box, (view, place)
            x, y = box["x"] + min(box["width"] / 2, 60), box["y"] + min(box["height"] / 2, 40)
            for modifiers in MODIFIERS:
                for key in modifiers:
                    page.keyboard.down(key)
                page.mouse.click(x, y)
                for key in modifiers:
                    page.keyboard.up(key)
                page.keyboard.press("x")
                look(view, place, "click", modifiers)
            page.mouse.dblclick(x, y)
            page.mouse.click(x, y, button="right")
            page.keyboard.press("x")
            look(view, place, "two clicks and the other button")
            page.mouse.click(x, y)
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + 90, y + 200, steps=4)
            page.mouse.up()
            look(view, place, "drag")
            tab(page, view).click()
            page.mouse.click(x, y)
            for key in KEYS:
                page.keyboard.press(key)
            look(view, place, "keys")
    return found


@pytest.fixture(scope="module")
def page(lab, browser):
    page, outside = browser
    write_cells(lab.root, "keeping.ipynb", "keeping")
    page.set_viewport_size({"width": 1500, "height": 1200})
    run_all_cells(page, lab, "keeping.ipynb")
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    sweep(page)
    yield page
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    assert outside == []


def test_no_gesture_reaches_the_notebook(page):
    tab(page, "Explore").click()
    assert gestures(page) == []

"""What is done in the Workbench leaves the notebook around it as it is, in JupyterLab and in Notebook 7."""

import os
import re

import nbformat
import numpy as np
import pytest
from lab_driver import kernel_value, poll, run_all_cells, running_lab
from lab_notebooks import CELL
from nbconvert import HTMLExporter

pytestmark = [pytest.mark.browser, pytest.mark.long(seconds=280)]

#: Means that differ, so that the answers do, and some of them flip.
_FLAT = "rng.random((200, 1, 8, 8), np.float32)"
_VARIED = "(rng.normal(0, 0.5, (900, 1, 8, 8)) + rng.uniform(-1.5, 0, (900, 1, 1, 1))).astype(np.float32)"
#: Sources of the cells; the Workbench is between them.
SOURCES = (
    "# One",
    "two = 2",
    "three = 3",
    CELL.replace(_FLAT, _VARIED).replace("200", "900"),
    "five = 5",
    "six = 6",
    "# Seven",
)
#: Where gestures begin, by view: texts that cannot have the focus, and one of each kind of control.
PLACES = {
    "Candidate": (
        ".dk-candidate-tab >> nth=0", ".dk-verdict", ".dk-numbers", "[aria-label='Which examples'] .dk-chip >> nth=0",
        ".dk-flip >> nth=0", ".dk-enlarged-body", ".dk-enlarged button >> nth=0", ".dk-heat thead th >> nth=0",
        ".dk-heat-cell >> nth=0", "[aria-label='What is lost'] .dk-chip >> nth=1",
        ".dk-column-candidate .dk-fold-head >> nth=-1",
    ),
    "Settings": (".dk-look >> nth=1", ".dk-parallel-plot", ".dk-axis-title >> nth=0"),
    "Compare": (".dk-beside-form label", ".dk-beside-form input", ".dk-beside-plot >> nth=0", ".dk-beside-table"),
    "Model": (
        ".dk-view h3 >> nth=0", ".dk-view input >> nth=0", "[aria-label^='Layers of'] >> nth=0", ".dk-facts",
    ),
    "Data": (
        ".dk-view h3 >> nth=0", ".dk-view input >> nth=0", ".dk-view select >> nth=0", ".dk-picture >> nth=0",
        ".dk-classes",
    ),
    "Export & serve": (
        ".dk-view h3 >> nth=0", ".dk-layout >> nth=0", ".dk-checks", ".dk-tree", ".dk-live", ".dk-snippet >> nth=0",
        ".dk-client .dk-fold-head >> nth=0", ".dk-try-sample", ".dk-try-answer",
    ),
    "Explore": (
        ".dk-top", ".dk-tab >> nth=2", ".dk-strip", ".dk-best", ".dk-goal-words label", ".dk-goal input",
        ".dk-column-space h3 >> nth=0", ".dk-column-space [type=checkbox] >> nth=0",
        "[role=grid] [role=row] >> nth=2", ".dk-column-tradeoff [role=toolbar] button >> nth=0", ".dk-chart-over",
    ),
    "Code": (".dk-code-head", ".dk-script"),
}  # fmt: skip
#: Those that cut, copy, paste, merge, split, move, run, change and undo cells, and that select them.
KEYS = (
    "x", "d", "d", "c", "v", "Shift+V", "z", "Shift+Z", "Shift+M", "m", "y", "r", "1", "o", "Shift+J", "Shift+K",
    "Shift+ArrowDown", "Shift+ArrowUp", "Control+A", "x", "Control+X", "Control+V", "Control+Z", "Control+Shift+Z",
    "Control+Shift+M", "Control+Backspace", "Control+Shift+ArrowUp", "Control+Shift+ArrowDown", "Control+Enter",
    "Alt+Enter", "Delete", "Backspace", "0", "0", "i", "i", "Home", "PageDown", "ArrowDown", "a", "b",
    "Enter", "Escape",
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
            const panels = [...window.jupyterapp.shell.widgets('main')];
            const { content } = panels.find(w => w.content?.model?.sharedModel?.cells);
            const counts = content.widgets.map(w => w.model.executionCount ?? null);
            const selected = content.widgets.map(w => content.isSelectedOrActive(w));
            return { cells: content.model.sharedModel.cells.map(c => [c.id, c.cell_type, c.getSource()]),
                counts, selected, mode: content.mode };
        }"""
    )


def fill(page, app):
    """Have something in every view, such as a served artifact and a measured sensitivity."""
    tab(page, "Explore").click()
    page.get_by_role("grid", name="Candidates").locator(".dk-grid-row", has_text="int8 static").first.click()
    candidate = page.locator(".dk-column-candidate")
    candidate.get_by_role("button", name=re.compile("^Measure int8")).first.click()
    candidate.locator("[aria-label='What is lost']").wait_for()
    tab(page, "Export & serve").click()
    page.get_by_role("textbox", name="Folder").fill(f"exports/{app}")
    page.get_by_role("button", name="Export", exact=True).click()
    page.get_by_label("Port", exact=True).fill("0")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Try it", exact=True).click()
    page.get_by_role("table", name="Highest").wait_for()


def show(page, view):
    """Bring a view of `PLACES` to the screen, with all that is in it; graphs that were opened are closed."""
    page.evaluate(
        """() => {
            const panels = [...window.jupyterapp.shell.widgets('main')];
            const book = panels.find(w => w.content?.model?.sharedModel?.cells);
            panels.filter(w => w !== book).forEach(w => w.close());
            window.jupyterapp.shell.activateById(book.id);
        }"""
    )
    tab(
        page, {"Candidate": "Explore", "Settings": "Explore", "Compare": "Explore", "Code": "Model"}.get(view, view)
    ).click()
    if view in ("Explore", "Candidate", "Settings", "Compare"):
        page.locator(".dk-look", has_text={"Settings": "Settings", "Compare": "Compare"}.get(view, "Chart")).click()
    if view == "Candidate" and not page.locator(".dk-enlarged").count():
        page.get_by_role("grid", name="Candidates").locator(".dk-grid-row", has_text="int8 static").first.click()
        page.locator(".dk-candidate-tab").first.click()
        flips = page.locator(".dk-evidence-flips")  # examples are fetched when they are near
        poll(
            page,
            lambda: (flips.scroll_into_view_if_needed(), flips.locator(".dk-chip").count())[1],
            "there are flips",
            30,
        )
        flips.locator(".dk-chip", has_text="now right").click()
        page.locator(".dk-flip").first.click()
    if view == "Compare" and not page.locator(".dk-beside-plot").count():
        page.get_by_label("Other store").fill("runs/keeping")
        page.get_by_role("button", name="Compare", exact=True).click()
        page.locator(".dk-beside-plot").first.wait_for()
    if view == "Code" and not page.locator(".dk-script").count():
        page.locator(".dk-top").get_by_role("button", name="Code", exact=True).click()


#: What is still moving when the mouse goes down is not hit: such a press does nothing, and is counted.
MISSES = """() => {
    window.misses = 0;
    let missed = false;
    for (const name of ['mousedown', 'mouseup', 'click', 'dblclick', 'auxclick', 'contextmenu']) {
        window.addEventListener(name, event => {
            if (name === 'mousedown') {
                missed = !event.target.closest('.dk-Workbench');
                window.misses += missed;
            }
            if (missed) {
                event.preventDefault();
                event.stopImmediatePropagation();
            }
        }, { capture: true });
    }
}"""


def gestures(page, without=(), every=1):
    """Do everything everywhere, or in some places; gives what has changed in the notebook, by where and how."""
    found = []
    page.locator(".cm-content", has_text="five = 5").click()
    page.keyboard.press("End")
    page.keyboard.type("00")
    page.locator(".dk-top").click()
    before = cells_of(page)

    def look(*what):
        nonlocal before
        now = cells_of(page)
        if now != before:
            found.append((what, {name: (before[name], now[name]) for name in now if now[name] != before[name]}))
            before = now

    def point():
        """Where to press to hit the place: it may be gone or elsewhere after what was pressed before."""
        if not spot.is_visible():
            look("before", view, place)
            assert page.locator(".dk-Workbench .dk-tab").count(), f"the Workbench is gone: {found}"
            show(page, view)
        poll(page, spot.is_visible, f"{place} is in {view}", 10)
        spot.scroll_into_view_if_needed(timeout=10_000)
        box = spot.bounding_box()
        page.wait_for_timeout(20)
        while box != (later := spot.bounding_box()):
            box = later
            page.wait_for_timeout(20)
        return box["x"] + min(box["width"] / 2, 60), box["y"] + min(box["height"] / 2, 40)

    def press(gesture):
        """Do it where the place is, again where that was elsewhere by then."""
        for _ in range(10):
            misses = page.evaluate("window.misses")
            gesture(*point())
            if page.evaluate("window.misses") == misses:
                return
        raise AssertionError(f"{place} in {view} does not stay where it is")

    def click_with(modifiers):
        def gesture(x, y):
            for key in modifiers:
                page.keyboard.down(key)
            page.mouse.click(x, y)
            for key in modifiers:
                page.keyboard.up(key)

        return gesture

    def drag(x, y):
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 90, y + 200, steps=4)
        page.mouse.up()

    page.keyboard.press("Control+Z")  # the page's last change is in a cell
    look("undo")
    page.evaluate(MISSES)
    for view, places in PLACES.items():
        for place in [p for p in places if p not in without][::every]:
            show(page, view)
            spot = page.locator(".dk-Workbench").first.locator(place).first
            for modifiers in MODIFIERS:
                press(click_with(modifiers))
                page.keyboard.press("x")
                look(view, place, "click", modifiers)
            press(page.mouse.dblclick)
            press(lambda x, y: page.mouse.click(x, y, button="right"))
            page.keyboard.press("x")
            look(view, place, "two clicks and the other button")
            press(drag)
            look(view, place, "drag")
            show(page, view)
            press(page.mouse.click)
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
    assert outside == []


def restarted(page, lab, name):
    """The notebook in a new page, with a kernel that knows nothing."""
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    page.goto(lab.address(name))
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()


def pick_the_second_row(page):
    tab(page, "Explore").click()
    page.locator("[role=grid] [role=row]").nth(2).click()
    poll(page, lambda: kernel_value(page, "bench._state.picked"), "the kernel knows what was clicked")
    return kernel_value(page, "bench._state.picked")


def test_no_gesture_reaches_the_notebook(page):
    fill(page, "lab")
    # Every second place where time is short: what guards the keys is the same everywhere.
    assert gestures(page, every=2 if os.environ.get("CI") else 1) == []


def test_what_was_clicked_comes_back_after_a_restart_and_the_page_lands_where_it_was(page, lab):
    """Nothing is given in code: model, data, scale, shape, space and choice were all clicked."""
    source = 'import deploykit as dk\n\nbench = dk.Workbench(store="runs/clicked")\nbench'
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, lab.root / "clicked.ipynb")
    rng = np.random.default_rng(0)
    arrays = {"x": rng.integers(0, 255, (200, 64)).astype(np.uint8), "y": rng.integers(0, 3, 200)}
    np.savez(lab.root / "flat.npz", **arrays)

    run_all_cells(page, lab, "clicked.ipynb")
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    page.get_by_role("textbox", name="Model file").fill("hostile.onnx")
    page.get_by_role("button", name="Load", exact=True).click()
    poll(page, lambda: kernel_value(page, "bench._state.model is not None"), "the model is loaded")
    tab(page, "Data").click()
    page.get_by_label("Path or variable").fill("flat.npz")
    page.get_by_label("Scale").fill("1/255")
    page.get_by_label("Reshape").fill("1, 8, 8")
    page.get_by_role("button", name="Load", exact=True).click()
    poll(page, lambda: kernel_value(page, "bench._state.data is not None"), "the data are loaded")
    tab(page, "Explore").click()
    kernel_value(page, "bench._desk.post(lambda: bench._commands.set_option('launches', 2))")
    poll(page, lambda: kernel_value(page, "bool(bench._state.obstacles)"), "it is known where the model can run")
    space = page.get_by_role("region", name="Space")
    space.get_by_role("checkbox", name="Magnitude pruning").click()
    poll(page, lambda: "left_out" in kernel_value(page, "bench.code"), "the space is what was clicked")
    sweep(page)
    picked = pick_the_second_row(page)
    code = kernel_value(page, "bench.code")
    assert picked in code
    space = page.locator(".dk-space-line .dk-soft").text_content()
    assert str(lab.root) not in code  # paths are those of the notebook
    poll(page, lambda: picked in (lab.root / "runs/clicked/workbench.json").read_text(), "it is kept")

    restarted(page, lab, "clicked.ipynb")
    page.locator(".dk-kept-bar").get_by_role("button", name="Run this cell").click()
    page.locator(".dk-chart-canvas canvas").wait_for()
    assert tab(page, "Explore").get_attribute("aria-selected") == "true"
    poll(page, lambda: kernel_value(page, "bench._state.picked") == picked, "the choice is back")
    poll(page, lambda: kernel_value(page, "bench.code") == code, "the code is back")
    assert page.locator(".dk-space-line .dk-soft").text_content() == space
    assert kernel_value(page, "bench._state.data_source.preprocess.reshape") == [1, 8, 8]

    kernel_value(page, "bench.close()")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")  # again, in the same kernel
    poll(page, lambda: kernel_value(page, "bench.code") == code, "all is back in the same kernel")


def test_a_saved_notebook_keeps_its_results(page, lab):
    write_cells(lab.root, "reopened.ipynb", "keeping")
    run_all_cells(page, lab, "reopened.ipynb")
    tab(page, "Explore").click()
    page.locator(".dk-chart-canvas canvas").wait_for()
    picked = pick_the_second_row(page)
    file = lab.root / "reopened.ipynb"

    def saved():
        page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        return picked in file.read_text("utf-8")

    poll(page, saved, "the choice is in the saved notebook")
    page.locator("[role=grid]").wait_for()  # the widget lives on beside it

    restarted(page, lab, "reopened.ipynb")
    still = page.locator(".dk-Kept-still")
    still.locator("img").wait_for()
    assert still.locator("img").evaluate("e => e.complete && e.naturalWidth > 200")
    assert still.locator("table tr").count() >= 3
    assert f'report.choice_for("{picked}"' in still.inner_text()
    assert page.locator(".dk-Workbench [role=tab]").count() == 0
    assert page.get_by_text("model not found").count() == 0
    run = page.locator(".dk-kept-bar").get_by_role("button", name="Run this cell")
    poll(page, lambda: run.count() == 1, "there is a kernel again, and a way to use it")

    html, _ = HTMLExporter().from_filename(str(file))
    shown = re.search(r'<div class="dk-report.*', html, re.DOTALL).group().partition("</body>")[0]
    assert 'src="data:image/' in shown
    assert "<table" in shown
    assert "<script" not in shown
    assert "<style" not in shown
    assert not re.search(r"(src|href)=\W*https?:", shown)


def test_no_gesture_reaches_the_notebook_in_notebook_7(page, lab, tmp_path):
    write_cells(lab.root, "seven.ipynb", "keeping")  # the results are there already
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    with running_lab(lab.root, tmp_path, app="notebook") as seven:
        run_all_cells(page, seven, "seven.ipynb")
        tab(page, "Explore").click()
        page.locator(".dk-chart-canvas canvas").wait_for()
        page.evaluate(  # as it does with long outputs, such as a Workbench in a narrow window
            "() => { [...window.jupyterapp.shell.widgets('main')][0].content.widgets[3].outputsScrolled = true; }"
        )
        poll(page, lambda: page.locator(".jp-mod-outputsScrolled").count() == 0, "the output is not put into a box", 10)
        fill(page, "seven")
        # What guards the keys is that of Lab; no sweep has run in this kernel, so there is no strip.
        assert gestures(page, without=(".dk-strip",), every=3) == []
        page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")

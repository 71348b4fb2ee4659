"""The Workbench in JupyterLab after a sweep: keys, accessibility, widths, themes, reloading, a tab of its own."""

import re
import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from lab_driver import TOKEN, kernel_value, poll, run_all_cells, run_button
from layout import sticking_out

pytestmark = pytest.mark.browser

VIEWS = ("Model", "Data", "Export & serve", "Explore")
#: Of the window: the Workbench is about 120 pixels narrower.
WIDTHS = (1520, 1120, 800)


@pytest.fixture(scope="module")
def page(lab, browser):
    """A notebook whose Workbench has swept; the tests share it, and leave it as they found it."""
    from lab_notebooks import write_notebook

    page, outside = browser
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    run_all_cells(page, lab, write_notebook(lab, "swept"))
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    run = run_button(page)
    poll(page, lambda: run.count() and run.get_attribute("aria-disabled") is None, "the plan is made")
    run.click()
    poll(page, lambda: page.locator(".dk-strip-words", has_text="Done:").count(), "the sweep has ended", 300)
    page.locator(".dk-chart-canvas canvas").wait_for()
    yield page
    kernel_value(page, "bench.close()")
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    assert outside == []
    assert errors == []


@pytest.fixture(autouse=True)
def usual_size(page):
    page.set_viewport_size({"width": WIDTHS[0], "height": 1200})
    tab(page, "Explore").click()


def tab(page, name):
    return page.locator(".dk-Workbench .dk-tab", has_text=name).first


def set_theme(page, name):
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", name)
    kind = "dk-dark" if name.endswith("Dark") else "dk-light"
    page.locator(f".dk-Workbench.{kind}").first.wait_for()


def test_names_of_models_and_data_are_text(page):
    for name in ("Model", "Data"):
        tab(page, name).click()
        page.locator(".dk-view").get_by_text("<img src=x").first.wait_for()
        assert page.locator('img[src="x"]').count() == 0
    assert page.evaluate("() => window.ran") is None


def test_the_whole_is_used_by_keys(page):
    cells = page.locator(".jp-Cell").count()
    tab(page, "Explore").focus()
    page.keyboard.press("ArrowRight")
    assert tab(page, "Export & serve").get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowLeft")
    assert tab(page, "Explore").get_attribute("aria-selected") == "true"

    chart = page.locator(".dk-chart-over")
    chart.focus()
    page.keyboard.press("ArrowRight")
    page.locator(".dk-card").wait_for()
    page.keyboard.press("a")
    poll(page, lambda: kernel_value(page, "bench._state.picked"), "the key picks a candidate")
    first = kernel_value(page, "bench._state.picked")
    page.keyboard.press("Escape")
    poll(page, lambda: page.locator(".dk-card").count() == 0, "Escape closes the card")

    grid = page.get_by_role("grid", name="Candidates")
    grid.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    if first in (grid.get_attribute("aria-activedescendant") or ""):  # the rows' order is that of the measured times
        page.keyboard.press("ArrowDown")
    page.keyboard.press("b")
    poll(page, lambda: kernel_value(page, "bench._state.second"), "the key marks a second candidate")
    assert kernel_value(page, "bench._state.picked") == first
    page.keyboard.press("x")  # cuts the cell, in command mode
    page.keyboard.press("d")
    page.keyboard.press("d")

    legend = page.get_by_role("toolbar", name="Legend")
    legend.get_by_role("button", name="original").focus()
    page.keyboard.press("Alt+Enter")  # runs the cell and adds one below, where the legend does not take it
    poll(page, lambda: legend.locator("[aria-pressed=false]").count(), "one family only is shown")
    page.keyboard.press("Alt+Enter")
    kernel_value(page, "1")  # what the keys asked for has come to the notebook
    assert page.locator(".jp-Cell").count() == cells
    kernel_value(page, "bench._desk.post(lambda: bench._commands.compare(''))")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_axe_finds_nothing(page, theme):
    set_theme(page, theme)
    page.locator(".dk-code-head .dk-fold-head").click()  # with the code open as well
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1200})
        for name in VIEWS:
            tab(page, name).click()
            page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            result = Axe().run(page, context=".dk-Workbench")
            found += [
                (width, name, v["impact"], v["id"], [n["html"][:120] for n in v["nodes"][:3]])
                for v in result.response["violations"]
            ]
    page.locator(".dk-code-head .dk-fold-head").click()
    set_theme(page, "JupyterLab Light")
    assert found == []


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_settings_as_lines_filter_chart_and_table_by_keys_and_by_dragging(page, theme):
    set_theme(page, theme)
    bench = page.locator(".dk-Workbench")
    bench.get_by_role("radio", name="Chart").focus()
    page.keyboard.press("ArrowRight")
    lines = bench.get_by_role("application", name="Settings of")
    lines.wait_for()
    grid = bench.get_by_role("grid", name="Candidates")
    total = int(grid.get_attribute("aria-rowcount")) - 1
    titles = page.locator(".dk-axis-title").all_inner_texts()
    assert titles[0] == "technique"
    assert [t.partition(",")[0] for t in titles[-3:]] == ["accuracy change", "latency", "size"]

    page.keyboard.press("Tab")  # to the legend, which is one stop
    page.keyboard.press("Tab")
    assert lines.evaluate("e => e === document.activeElement")
    for _ in titles:
        page.keyboard.press("ArrowRight")
    for _ in range(total):
        page.keyboard.press("ArrowUp")  # the smallest one is at the top
    page.keyboard.press("[")
    chips = bench.locator(".dk-tools .dk-chips")  # not seen while it is empty
    assert re.search(r"\d kB|\d\u2009kB", chips.text_content())
    assert bench.locator(".dk-tools").get_by_text(f"1 of {total} rows").count() == 1
    page.keyboard.press("Delete")
    assert chips.text_content() == ""

    bench.scroll_into_view_if_needed()
    lines.scroll_into_view_if_needed()
    axis, room = page.locator(".dk-axis-line").first.bounding_box(), lines.bounding_box()
    page.mouse.move(axis["x"], axis["y"] + axis["height"])
    page.mouse.down()
    page.mouse.move(axis["x"], axis["y"] + 0.55 * axis["height"], steps=3)
    page.mouse.up()
    assert "technique: original" in chips.text_content()
    page.keyboard.press("0")
    assert chips.text_content() == ""
    assert room["width"] > 0

    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1200})
        result = Axe().run(page, context=".dk-Workbench")
        assert [v["id"] for v in result.response["violations"]] == []
        assert sticking_out(page) == []
    bench.get_by_role("radio", name="Chart").check()
    page.locator(".dk-chart-canvas canvas").wait_for()
    set_theme(page, "JupyterLab Light")


def test_another_store_stands_beside_this_one_with_the_same_axes(page, lab):
    shutil.copytree(lab.root / "runs" / "swept", lab.root / "runs" / "yesterday")
    bench = page.locator(".dk-Workbench")
    bench.get_by_role("radio", name="Compare").check()
    field = bench.get_by_label("Other store")
    field.fill("nowhere")
    field.press("Enter")
    bench.locator(".dk-beside .dk-problem", has_text="nowhere").wait_for()
    field.fill("runs/yesterday")
    field.press("Enter")
    bench.get_by_text("no change found.", exact=False).first.wait_for()
    assert bench.locator(".dk-beside .dk-problem").count() == 0
    ticks = [plot.locator("text").all_inner_texts() for plot in bench.locator(".dk-beside-plot svg").all()]
    assert len(ticks) == 2
    assert ticks[0] == ticks[1]
    table = bench.get_by_role("region", name="Candidates in both stores")
    table.get_by_role("row").nth(1).hover()
    bench.locator(".dk-beside-ring").nth(1).wait_for()  # the same candidate is marked in both
    found = []
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        set_theme(page, theme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 1200})
            result = Axe().run(page, context=".dk-Workbench")
            found += [(theme, width, v["id"], v["nodes"][0]["html"][:120]) for v in result.response["violations"]]
            found += [(theme, width, out) for out in sticking_out(page)]
    assert found == []
    bench.get_by_role("radio", name="Chart").check()


def test_devices_stand_side_by_side_under_limits(page, lab):
    bench = page.locator(".dk-Workbench")
    bench.get_by_role("radio", name="Devices").check()
    table = bench.get_by_role("region", name="Devices, the best first")
    table.get_by_role("row").nth(1).wait_for()
    assert bench.locator(".dk-devices .dk-beside-plot").count() == 1
    machines = bench.get_by_label("Other machines")
    machines.fill("runs/yesterday")
    machines.press("Enter")
    bench.locator(".dk-devices .dk-beside-plot").nth(1).wait_for()
    limit = bench.get_by_label("p50 at most")
    limit.fill("0.000001")
    limit.press("Enter")
    bench.get_by_text("No device meets all limits.").wait_for()
    page.set_viewport_size({"width": WIDTHS[0], "height": 1200})
    result = Axe().run(page, context=".dk-Workbench")
    assert [(v["id"], v["nodes"][0]["html"][:120]) for v in result.response["violations"]] == []
    assert sticking_out(page) == []
    limit.fill("")
    limit.press("Enter")
    bench.get_by_role("radio", name="Chart").check()
    page.locator(".dk-chart-canvas canvas").wait_for()


def test_nothing_sticks_out_at_any_width_and_with_any_font(page):
    found = []
    for font in ("monospace", "sans-serif"):
        page.evaluate("font => document.body.style.setProperty('--jp-ui-font-family', font)", font)
        for width in (*WIDTHS, 760):
            page.set_viewport_size({"width": width, "height": 1200})
            for name in VIEWS:
                tab(page, name).click()
                found += [(font, width, name, out) for out in sticking_out(page)]
    page.evaluate("() => document.body.style.removeProperty('--jp-ui-font-family')")
    assert found == []


def test_a_tab_of_its_own_shows_the_same_and_has_panes(page):
    page.get_by_role("button", name="Open in tab").click()
    own = page.locator(".dk-Workbench-tab .dk-Workbench")
    own.get_by_role("grid").wait_for()
    pane = own.get_by_role("separator", name="Width of Candidate")
    before = int(pane.get_attribute("aria-valuenow"))
    pane.press("ArrowLeft")
    assert int(pane.get_attribute("aria-valuenow")) > before
    pane.press("ArrowRight")
    own.get_by_role("tab", name=re.compile("Data")).click()
    page.evaluate("() => window.jupyterapp.shell.currentWidget.close()")
    assert tab(page, "Data").get_attribute("aria-selected") == "true"  # one state, two views


def test_a_reloaded_page_shows_where_it_is(page, lab):
    rows = page.locator("[role=grid]").get_attribute("aria-rowcount")
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.goto(f"{lab.url}/lab/tree/swept.ipynb?token={TOKEN}&reset")
    page.locator("[role=grid]").wait_for()
    poll(page, lambda: page.locator("[role=grid]").get_attribute("aria-rowcount") == rows, "the rows are there again")
    page.locator(".dk-chart-canvas canvas").wait_for()
    assert "Done:" in page.locator(".dk-strip-words").inner_text()

"""The Workbench with results, in a notebook with and without the file browser beside it, at every width."""

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from lab_driver import kernel_value, poll, run_all_cells
from lab_notebooks import FINISHED
from layout import compare_two, faults, in_sight, settle

pytestmark = pytest.mark.browser

#: Of the window; the Workbench has some 430 pixels less while the file browser is open.
WIDTHS = (1400, 1000, 700)


@pytest.fixture(scope="module")
def page(lab, browser):
    page, outside = browser
    page.set_default_timeout(10_000)
    cells = [nbformat.v4.new_markdown_cell("# A model"), nbformat.v4.new_code_cell(FINISHED)]
    book = nbformat.v4.new_notebook(cells=cells)
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, lab.root / "layout.ipynb")
    page.set_viewport_size({"width": WIDTHS[0], "height": 1000})
    run_all_cells(page, lab, "layout.ipynb")
    compare_two(page)
    yield page
    kernel_value(page, "bench.close()")
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    assert outside == []


def set_theme(page, name):
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", name)
    page.locator(f".dk-Workbench.{'dk-dark' if name.endswith('Dark') else 'dk-light'}").first.wait_for()


def test_what_matters_is_in_sight_at_every_width(page):
    found = []
    for browse in ("collapse", "expand"):
        page.evaluate(f"() => window.jupyterapp.shell.{browse}Left()")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 1000})
            found += [(browse, width, fault) for fault in faults(page)]
    assert found == []


def test_axe_finds_nothing_beside_the_file_browser(page):
    found = []
    page.evaluate("() => window.jupyterapp.shell.expandLeft()")
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        set_theme(page, theme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 1000})
            page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            result = Axe().run(page, context=".dk-Workbench")
            found += [(theme, width, v["id"], v["nodes"][0]["html"][:120]) for v in result.response["violations"]]
    assert found == []


def test_columns_scroll_by_themselves_and_the_code_opens_on_screen(page):
    page.set_viewport_size({"width": WIDTHS[0], "height": 1000})
    assert faults(page) == []
    candidate = page.locator(".dk-column-candidate")
    height = "e => e.getBoundingClientRect().height"
    before = page.locator(".dk-explore").evaluate(height)
    for section in ("Per class", "Channels, weights and sparsity", "Graph diff", "Recipe"):
        candidate.get_by_role("button", name=section, exact=True).click()
    poll(page, lambda: candidate.evaluate("e => e.scrollHeight > e.clientHeight + 100"), "its sections are open", 10)
    poll(page, lambda: page.locator(".dk-explore").evaluate(height) == before, f"it is {before} px high as before", 10)
    nodes = candidate.get_by_role("listbox", name="Nodes of A")
    nodes.press("Enter")
    candidate.get_by_role("region", name="Both sides of").wait_for()
    assert Axe().run(page, context=".dk-diff").response["violations"] == []
    page.locator(".dk-Workbench").evaluate("e => e.scrollIntoView({ block: 'start' })")
    page.locator(".dk-top").get_by_role("button", name="Code", exact=True).click()
    script = page.get_by_role("region", name="Script")
    inside = """e => { const { top, bottom } = e.getBoundingClientRect();
        const around = e.closest('.jp-WindowedPanel-outer, .jp-Notebook').getBoundingClientRect();
        return top >= around.top && bottom <= around.bottom + 1; }"""
    poll(page, lambda: script.evaluate(inside), "the script is on screen", 10)


def test_a_tab_of_its_own_has_the_button_and_all_columns_in_sight(page):
    page.locator(".dk-Workbench").get_by_role("button", name="Open in tab").first.click()
    own = page.locator(".dk-Workbench-tab .dk-Workbench")
    own.get_by_role("grid").wait_for()
    for width in (1700, *WIDTHS):
        page.set_viewport_size({"width": width, "height": 1000})
        settle(own)
        assert in_sight(own.locator(".dk-run:visible")), width
        heights = [column.bounding_box()["height"] for column in own.locator(".dk-column:visible").all()]
        assert len(heights) == (3 if width == 1700 else 2)
        assert min(heights) > 400, width
    page.evaluate("() => window.jupyterapp.shell.currentWidget.close()")

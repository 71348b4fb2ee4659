"""The Workbench without a sweep: a kernel that is lost, narrow and zoomed pages, forced colors, little motion."""

import re

import nbformat
import pytest
from lab_driver import poll, run_all_cells

pytestmark = pytest.mark.browser

_CELL = """
import deploykit as dk

bench = dk.Workbench(store="runs/frame", remember=False)
display(bench)
display(bench.panel("model"))
"""


@pytest.fixture
def page(lab, browser):
    page, outside = browser
    page.set_viewport_size({"width": 1500, "height": 1100})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(_CELL.strip())])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab.root / "frame.ipynb")
    run_all_cells(page, lab, "frame.ipynb")
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    poll(page, lambda: page.locator(".dk-Workbench").count() == 2, "the whole and a panel are shown")
    page.get_by_role("tab", name="Model").wait_for()
    yield page
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    assert outside == []


def test_escape_leaves_to_the_cell(page):
    field = page.get_by_label("Model file").first
    field.fill("x.onnx")
    page.keyboard.press("Escape")
    poll(
        page, lambda: page.evaluate("() => document.activeElement.matches('.jp-Cell, .jp-Notebook')"), "it is the cell"
    )
    cells = page.locator(".jp-Cell").count()
    page.keyboard.press("b")  # a key of the notebook again
    poll(page, lambda: page.locator(".jp-Cell").count() == cells + 1, "the key adds a cell")


def test_nothing_is_cut_off_on_narrow_and_zoomed_pages(page):
    # Twice the size is half the width.
    for width in (1500, 750, 600):
        page.set_viewport_size({"width": width, "height": 1100})
        for name in ("Data", "Explore", "Export", "Model"):
            page.get_by_role("tab", name=re.compile(f"^{name}")).click()
            cut = page.locator(".dk-Workbench").first.evaluate(
                """root => [...root.querySelectorAll('.dk-top, .dk-top button, .dk-view, .dk-view button')]
                    .filter(e => e.getClientRects().length)
                    .filter(e => e.getBoundingClientRect().right > root.getBoundingClientRect().right + 1
                        || e.scrollWidth > e.clientWidth + 1).map(e => e.className + e.textContent)"""
            )
            assert cut == [], (width, name)
    page.set_viewport_size({"width": 1500, "height": 1100})


def test_one_tab_of_its_own_scrolls_in_its_columns_only(page):
    page.set_viewport_size({"width": 1000, "height": 700})
    page.get_by_role("tab", name="Explore").click()
    page.get_by_role("button", name="Open in tab").click()
    own = page.locator(".dk-Workbench-tab .dk-Workbench")
    view = own.locator(".dk-view-explore")
    view.wait_for()
    assert own.get_by_role("button", name="Open in tab").count() == 0
    for words in ("Edit space", "Close"):
        height, room, width = view.evaluate("e => [e.scrollHeight, e.clientHeight, e.clientWidth]")
        assert height <= room + 1
        assert 860 <= width < 1100
        own.get_by_role("button", name=words).click()
    page.locator(".lm-TabBar-tab", has_text="frame.ipynb").click()
    page.get_by_role("button", name="Open in tab").click()
    own.wait_for()
    assert own.count() == 1  # the same one, in front again
    page.evaluate("() => window.jupyterapp.shell.currentWidget.close()")


def test_forced_colors_and_little_motion(page):
    page.emulate_media(forced_colors="active", reduced_motion="reduce")
    chosen = page.locator(".dk-tab[aria-selected=true]")
    assert chosen.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    spin = "() => { const e = document.createElement('span'); e.className = 'dk-spin'; const at = "
    spin += "document.querySelector('.dk-Workbench'); at.append(e); const found = getComputedStyle(e).animationName; "
    spin += "e.remove(); return found; }"
    assert page.evaluate(spin) == "none"
    page.emulate_media(forced_colors="none", reduced_motion="no-preference")


def test_a_kernel_that_crashed_is_told_of_in_every_output(page):
    gone = page.locator(".dk-Workbench [role=alert]", has_text="The kernel stopped. Run the cell again")
    assert gone.count() == 0
    page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute(
            { code: "import os; os._exit(1)", silent: true, store_history: false }) && null"""
    )
    poll(page, lambda: gone.count() == 2, "both say that the kernel is gone")
    page.locator(".jp-Dialog").get_by_role("button", name="Ok").click()
    load = page.get_by_role("button", name="Load", exact=True)
    assert [button.is_disabled() for button in load.all()] == [True, True]

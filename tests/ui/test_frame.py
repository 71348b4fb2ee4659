"""The Workbench without a sweep: a kernel that is lost, narrow and zoomed pages, forced colors, little motion."""

import nbformat
import pytest
from lab_driver import poll, run_all_cells

pytestmark = pytest.mark.browser

_CELL = """
import deploykit as dk

bench = dk.Workbench(store="runs/frame")
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
    poll(page, lambda: page.locator(".dk-Workbench").count() == 2, "the whole and a panel are shown")
    page.get_by_role("tab", name="Model").wait_for()
    yield page
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    assert outside == []


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

"""The Workbench in Notebook 7."""

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from lab_driver import open_browser, poll, run_all_cells, running_lab
from lab_notebooks import FINISHED, build_hostile
from layout import compare_two, faults

pytestmark = pytest.mark.browser


def test_the_workbench_in_notebook_7(tmp_path):
    root, scratch = tmp_path / "root", tmp_path / "scratch"
    root.mkdir()
    scratch.mkdir()
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(FINISHED)])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, root / "bench.ipynb")
    build_hostile(root / "hostile.onnx", scratch)
    with running_lab(root, scratch, app="notebook") as lab, open_browser() as (page, outside):
        page.set_viewport_size({"width": 1000, "height": 1000})
        run_all_cells(page, lab, "bench.ipynb")
        compare_two(page)
        assert faults(page) == []
        found = [v["id"] for v in Axe().run(page, context=".dk-Workbench").response["violations"]]
        assert found == []
        page.locator(".dk-Workbench [role=tab]", has_text="Explore").wait_for()
        cells = page.locator(".jp-CodeCell")
        before = cells.count()
        page.get_by_role("button", name="Insert cell below").click()
        poll(page, lambda: cells.count() == before + 1, "the code is a cell of its own")
        assert "import deploykit as dk" in cells.nth(1).inner_text()
        assert page.get_by_role("button", name="Open in tab").count() == 0  # there are no tabs
        assert outside == []

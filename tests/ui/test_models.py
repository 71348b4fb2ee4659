"""Models of formats from elsewhere, given to the Workbench by their paths and from the user's own disk."""

import nbformat
import pytest
from lab_driver import run_all_cells

from deploykit.testing import models

pytestmark = pytest.mark.browser

FOLDER = "formats"
CELL = "import deploykit as dk\n\nbench = dk.Workbench()\nbench"


@pytest.fixture(scope="module")
def folder(lab):
    place = lab.root / FOLDER
    place.mkdir()
    for kind in ("cnn_pytorch", "cnn_frozen_pb", "dense_pmml"):
        models.build(kind, place)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, place / "bench.ipynb")
    return place


@pytest.fixture(scope="module")
def page(lab, browser, folder):
    page, outside = browser
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_viewport_size({"width": 1500, "height": 1000})
    run_all_cells(page, lab, f"{FOLDER}/bench.ipynb")
    page.locator(".dk-Workbench .dk-drop").wait_for()
    yield page
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    assert outside == []
    assert errors == []


def facts(page, name):
    """The facts of a model by their names, once they are those of this file."""
    page.locator(".dk-facts dd").get_by_text(name, exact=True).wait_for()
    pairs = page.locator(".dk-facts > div").all()
    return {pair.locator("dt").inner_text(): pair.locator("dd").inner_text() for pair in pairs}


@pytest.mark.parametrize(
    ("name", "label", "taken", "operator"),
    [
        ("cnn_pytorch.pt2", "PyTorch", "image: float32 (?, 1, 8, 8)", "batch_norm"),
        ("cnn_frozen_pb.pb", "Frozen graph", "image: float32 (?, 8, 8, 1)", "DepthwiseConv2dNative"),
    ],
)
def test_a_model_is_given_by_its_path_and_its_graph_stands_beside(page, name, label, taken, operator):
    page.get_by_role("textbox", name="Model file").fill(name)
    page.get_by_role("textbox", name="Model file").press("Enter")
    found = facts(page, name)
    assert (found["Format"], found["Input"]) == (label, taken)
    assert int(found["Parameters"]) == 211  # of 8 filters of 3 × 3, norm, depthwise 3 × 3, and 8 × 3: by hand
    page.get_by_role("button", name="Open graph").click()
    graph = page.frame_locator(".dk-Graph:visible iframe")
    graph.locator("#canvas .node").filter(has_text=operator).first.wait_for()
    page.locator(".jp-NotebookPanel .dk-facts").wait_for()  # both are in sight


def test_a_model_of_two_files_is_chosen_with_both(page, folder, tmp_path):
    models.build("cnn_caffe", tmp_path)
    chosen = page.locator(".dk-model input[type=file]")
    assert {".prototxt", ".caffemodel", ".pt2", ".pmml"} <= set(chosen.get_attribute("accept").split(","))
    chosen.set_input_files([tmp_path / "cnn_caffe.caffemodel", tmp_path / "cnn_caffe.prototxt"])
    found = facts(page, "cnn_caffe.prototxt")
    assert (found["Format"], found["Output"]) == ("Caffe", "prob: float32 (?, 3)")
    page.get_by_role("button", name="Open graph").wait_for()  # the server's file is known by its own size
    assert (folder / "cnn_caffe.caffemodel").read_bytes() == (tmp_path / "cnn_caffe.caffemodel").read_bytes()


def test_a_part_of_a_network_is_named_beside_its_path(page):
    page.get_by_label("Outputs", exact=True).fill("pool")
    page.get_by_role("button", name="Load", exact=True).click()
    page.locator(".dk-facts dd").get_by_text("pool: float32 (?, 8, 4, 4)").wait_for()
    page.locator(".dk-Workbench").get_by_text('outputs=["pool"]').wait_for()


def test_a_model_without_a_graph_says_so(page):
    page.get_by_role("button", name="Browse", exact=True).click()
    page.get_by_role("option", name="dense_pmml.pmml").click()
    assert facts(page, "dense_pmml.pmml")["Output"] == "y: float32 (?, 1)"
    page.get_by_text("dense_pmml.pmml has no graph").wait_for()
    assert page.get_by_role("button", name="Open graph").count() == 0

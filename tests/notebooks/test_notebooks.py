"""Every tutorial notebook runs under papermill on small settings; the notebooks assert on their own results."""

import json
from pathlib import Path

import filelock
import nbformat
import papermill
import pytest

import deploykit as dk
from docs.tools import notebooks

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module", autouse=True)
def pages_are_written():
    """Who builds the site waits until all pages are there."""
    notebooks.LOCK.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(notebooks.LOCK):
        yield


def test_every_notebook_is_tested():
    assert {p.stem for p in NOTEBOOKS.glob("[0-9]*.ipynb")} == set(notebooks.SMALL)


@pytest.mark.long(seconds=60)
@pytest.mark.parametrize("name", notebooks.SMALL)
def test_notebook(name):
    known = papermill.inspect_notebook(str(NOTEBOOKS / f"{name}.ipynb"))
    assert set(notebooks.SMALL[name]) <= set(known)
    with notebooks.executed(name) as (out, store):
        report = dk.Report.open(store)
        assert report.finished
        assert {r.status for r in report.rows} <= {"measured", "stopped"}
        done = nbformat.read(out, 4)
        nbformat.validate(done)
        assert "text/html" in _mimes(done)
        if name == "01_quickstart":
            _check_evidence(store)
    assert not notebooks.stale(name)
    page = nbformat.read(notebooks.PAGES / f"{name}.ipynb", 4)
    nbformat.validate(page)
    assert _mimes(page) <= {"text/html", "text/plain", "text/markdown", "image/svg+xml", "image/png"}
    assert str(store.parents[1]) not in nbformat.writes(page)


def _mimes(notebook):
    """Types of all outputs."""
    shown = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    return {mime for o in shown for mime in o.get("data", {})}


def _check_evidence(store):
    """The report, the results and an artifact that verifies are where the quickstart says."""
    assert "<h1>" in (store / "report.html").read_text("utf-8")
    assert json.loads((store / "results.json").read_text("utf-8"))["rows"]
    assert dk.verify(store / "served").ok


def test_the_finished_results_can_be_read_where_nothing_can_be_written():
    folder = NOTEBOOKS / "finished"
    content = (folder / "store.sqlite").read_bytes()
    assert content[18:20] == b"\x01\x01"  # no write-ahead log, whose index a reader would have to make
    report = dk.Report.open(folder)
    assert report.finished
    assert report.best().met
    assert not Path(report.model.path).is_absolute()
    assert not any("host" in row.measurement.environment for row in report.rows)
    assert [p.name for p in folder.iterdir()] == ["store.sqlite"]
    assert (folder / "store.sqlite").read_bytes() == content


def test_the_models_are_one_network():
    same = [dk.load(NOTEBOOKS / "models" / f"fashion_cnn.{ending}") for ending in ("keras", "onnx", "tflite")]
    assert {tuple(m.inputs[0].shape[1:]) for m in same} == {(28, 28, 1)}
    images = dk.Dataset.from_npz(
        NOTEBOOKS / "data" / "fashion-mnist.npz", preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    )
    _, onnx, tflite = same
    built = [dk.build(model, dk.Recipe(), images) for model in (onnx, tflite)]
    first, second = (next(iter(b.predict(images.sample(50)).values())) for b in built)
    assert abs(first - second).max() < 1e-4
    assert (first.argmax(1) == images.labels()[:50]).mean() > 0.8


def test_committed_notebooks_hold_no_outputs():
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
        assert all(not c.outputs and c.execution_count is None for c in cells), path.name

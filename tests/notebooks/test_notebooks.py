"""Every tutorial notebook runs under papermill on small settings; the notebooks assert on their own results."""

import json
from pathlib import Path

import nbformat
import papermill
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
#: Notebook → parameters that make it small, besides ``store``, and ``space`` where there is one. The quickstart starts
#: from Keras here, as ``deploykit demo`` does: on what it starts from by itself it is run in the environment of Binder.
SMALL = {
    "01_quickstart": {"launches": 2, "max_drop": 0.05, "model_path": "models/fashion_cnn.keras"},
    "02_workbench": {"launches": 2, "blocking": True},
    "03_sweep": {"launches": 2, "budget": "4 candidates", "space": ""},
    "04_measuring": {"launches": 2, "space": ""},
    "05_cluster": {"launches": 3, "space": "", "model_path": "models/fashion_cnn.onnx"},
    "06_batch": {"launches": 2, "max_drop": 0.05},
}
pytestmark = pytest.mark.notebook


@pytest.fixture(scope="module")
def small_space(tmp_path_factory):
    """Both ways from Keras, and pruning with one short epoch."""
    prune = Step("prune_magnitude", {"sparsity": 0.5, "epochs": 1, "train_examples": 1000})
    recipes = [Recipe((Step("quantize_static"),)), Recipe((prune, Step("quantize_dynamic")))]
    path = tmp_path_factory.mktemp("space") / "small.json"
    dk.Space(recipes, [Target("litert"), Target("onnxruntime")]).save(path)
    return path


def test_every_notebook_is_tested():
    assert {p.stem for p in NOTEBOOKS.glob("[0-9]*.ipynb")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_notebook(name, small_space, tmp_path):
    parameters = {"store": str(tmp_path / "store"), "space": str(small_space), **SMALL[name]}
    if name == "06_batch":
        parameters["report_path"] = str(tmp_path / "report.html")
    parameters = {key: value for key, value in parameters.items() if value != ""}
    known = papermill.inspect_notebook(str(NOTEBOOKS / f"{name}.ipynb"))
    assert set(parameters) <= set(known)
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        str(NOTEBOOKS / f"{name}.ipynb"), str(out), parameters, cwd=str(NOTEBOOKS), progress_bar=False
    )
    report = dk.Report.open(tmp_path / "store")
    assert report.finished
    assert {r.status for r in report.rows} <= {"measured", "stopped"}
    done = nbformat.read(out, 4)
    nbformat.validate(done)
    shown = [o for cell in done.cells if cell.cell_type == "code" for o in cell.outputs]
    assert any("text/html" in o.get("data", {}) for o in shown)
    if name == "01_quickstart":
        _check_evidence(tmp_path / "store")


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

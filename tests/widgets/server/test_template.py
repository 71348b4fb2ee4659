"""The notebook that "Optimize with deploykit" makes."""

from importlib.resources import files

import papermill
import pytest

import deploykit as dk
from deploykit.testing import models

TEMPLATE = files("deploykit_widgets.server") / "templates" / "optimize.ipynb"


@pytest.mark.notebook
def test_it_runs_headless_to_a_choice(tmp_path):
    import numpy as np

    models.build("cnn_onnx", tmp_path)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.random((64, 1, 8, 8), np.float32), y=rng.integers(0, 3, 64))
    dk.Space([dk.Recipe((dk.Step("quantize_static"),))], (dk.Target("onnxruntime"),)).save(tmp_path / "space.json")
    given = {
        "model_path": "cnn_onnx.onnx", "data_path": "data.npz", "store": "runs/cnn", "space": "space.json",
        "launches": 2, "blocking": True,
    }  # fmt: skip
    out = tmp_path / "out.ipynb"
    done = papermill.execute_notebook(str(TEMPLATE), str(out), given, cwd=str(tmp_path), progress_bar=False)
    report = dk.Report.open(tmp_path / "runs" / "cnn")
    assert report.finished
    said = "".join(o["text"] for o in done.cells[-1].outputs if o.output_type == "stream")
    assert report.best().explain() in said

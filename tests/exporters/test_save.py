"""A SavedModel as a frozen graph, run by TensorFlow 1's session."""

import sys
from pathlib import Path

import numpy as np
import pytest

from deploykit.artifacts.arrays import load_arrays
from deploykit.core.errors import ExportError
from deploykit.exporters._export import export
from deploykit.exporters._save import save_file
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

pytestmark = pytest.mark.long(4)


def test_a_frozen_graph_gives_the_golden_outputs(saved_model, tmp_path, monkeypatch):
    was_there = "tensorflow" in sys.modules  # other tests may have run before
    path = save_file(saved_model, tmp_path / "new" / "x.pb")
    assert [p.name for p in path.parent.iterdir()] == ["x.pb"]
    artifact = export(saved_model, tmp_path / "out")
    inputs, outputs = (load_arrays(artifact.path / f"golden/{n}.npz") for n in ("inputs", "outputs"))
    (raw,), ((name, golden),) = inputs.values(), outputs.items()
    monkeypatch.syspath_prepend(Path(__file__).parent)
    asked = {
        "path": str(path),
        "feeds": {"image": (raw.astype(np.float32) / 255).reshape(-1, 8, 8, 1).tolist()},
        "fetches": [name],
    }
    found = shared().run(Task("tf_reader:frozen", asked, group="tensorflow", fresh=True))
    np.testing.assert_allclose(found["answers"][0], golden, atol=1e-6)
    assert not {"VarHandleOp", "ReadVariableOp", "StatefulPartitionedCall"} & set(found["operators"])
    assert {"Conv2D", "Softmax"} <= set(found["operators"])
    assert ("tensorflow" in sys.modules) == was_there  # this process runs no model


def test_other_formats_are_not_frozen(cnn, tmp_path):
    with pytest.raises(ExportError, match=r"'x\.pb': the candidate's format is onnx"):
        save_file(cnn, tmp_path / "x.pb")
    assert not list(tmp_path.iterdir())

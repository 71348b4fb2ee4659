"""The batch notebook on real runs of a tiny model: under plain papermill, and under ``deploykit batch``."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from deploykit.testing import models

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "06_batch.ipynb"
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a tiny model and its data; runs share a store, so that only the first one works."""
    folder = tmp_path_factory.mktemp("batch")
    models.build("cnn_onnx", folder).rename(folder / "net.onnx")
    rng = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=rng.integers(0, 255, (120, 8, 8), dtype=np.uint8), y=rng.integers(0, 3, 120))
    recipes = [{"steps": [{"technique": "quantize_dynamic"}]}]
    (folder / "space.json").write_text(json.dumps({"recipes": recipes, "targets": [{"runtime": "onnxruntime"}]}))
    return folder


@pytest.fixture
def run(desk):
    """Runs a command in that folder: returns its status and what it wrote to stderr."""

    def start(*command, **parameters):
        given = {
            "model_path": "net.onnx", "data_path": "data.npz", "space": "space.json", "store": "store", "launches": 2,
            "reshape": "1,8,8", **parameters,
        }  # fmt: skip
        flags = [str(part) for name, value in given.items() for part in ("-p", name, value)]
        line = [sys.executable, "-m", *map(str, command), *flags]
        done = subprocess.run(line, cwd=desk, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return start


@pytest.mark.parametrize("tool", [("papermill", NOTEBOOK), ("deploykit", "batch", NOTEBOOK.name)])
def test_results_lie_beside_the_report(run, desk, tool):
    folder = desk / tool[0]
    folder.mkdir()
    status, out, err = run(*tool, folder / "out.ipynb", report_path=f"{tool[0]}/report.html", max_drop="1.0",
                           artifact_path=f"{tool[0]}/served")  # fmt: skip
    assert status == 0, err
    found = json.loads((folder / "results.json").read_text("utf-8"))
    assert [row["status"] for row in found["rows"]] == ["measured", "measured"]
    assert found["met"] is True
    assert found["best"] in {row["key"] for row in found["rows"]}
    assert found["parameters"]["reshape"] == "1,8,8"
    assert "<h1>" in (folder / "report.html").read_text("utf-8")
    assert json.loads((folder / "served" / "manifest.json").read_text("utf-8"))
    shown = [o.data for c in nbformat.read(folder / "out.ipynb", 4).cells for o in c.get("outputs", []) if "data" in o]
    assert any("text/html" in data for data in shown)
    if tool[0] == "deploykit":
        assert "2 measured, 0 failed" in out + err
        assert f"done      {folder / 'out.ipynb'}" in out


def test_a_missed_goal_is_status_1_and_leaves_the_results(run, desk):
    out = desk / "missed" / "out.ipynb"
    out.parent.mkdir()
    changed = {"report_path": out.parent / "report.html", "min_speedup": 1000, "artifact_path": "never"}
    status, _, err = run("deploykit", "batch", NOTEBOOK, out, **changed)
    assert status == 1
    assert "GoalMissed" in err
    assert "min_speedup=1000 was asked for" in err
    assert json.loads((out.parent / "results.json").read_text("utf-8"))["rows"]
    assert not (desk / "never").exists()
    assert f"(executed notebook: {out})" in err
    assert "Traceback" not in err


def test_the_notebook_refuses_what_papermill_only_warns_of(run, desk):
    status, _, err = run("papermill", NOTEBOOK, desk / "refused.ipynb", store="untouched", max_dorp="0.5")
    assert status == 1
    assert "Unknown parameter of this notebook 'max_dorp'. Remedy: did you mean 'max_drop'?" in err
    assert not (desk / "untouched").exists()


def test_batch_refuses_it_before_it_starts(run, desk):
    status, out, err = run("deploykit", "batch", NOTEBOOK, desk / "never.ipynb", max_dorp="0.5")
    assert (status, out) == (2, "")
    assert "Unknown parameter of 06_batch.ipynb 'max_dorp'. Remedy: did you mean 'max_drop'?" in err
    assert not (desk / "never.ipynb").exists()

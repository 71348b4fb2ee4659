"""Small installs: what measures without TensorFlow and Jupyter, and what only serves."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.extras import EXTRAS
from deploykit.testing import models

#: Run by every interpreter that has it on its path, children too.
HIDE = """
from importlib.machinery import PathFinder

_find = PathFinder.find_spec


def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {hidden!r} else _find(name, path, target)


PathFinder.find_spec = find_spec
"""


def command_line(folder, *shown):
    """Runs the command line where nothing can be imported of any extra but those that are shown."""
    kept = {module for extra in shown for module in EXTRAS[extra]}
    hidden = {"anywidget", *(module for held in EXTRAS.values() for module in held)} - kept
    (folder / "sitecustomize.py").write_text(HIDE.format(hidden=hidden))
    path = os.pathsep.join([str(folder), str(Path.cwd())])

    def run(*arguments, status=0):
        command = [sys.executable, "-m", "deploykit", *map(str, arguments)]
        env = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def slim(tmp_path_factory):
    """An install of ``deploykit[sweep]``."""
    return command_line(tmp_path_factory.mktemp("slim"), "onnx", "tflite", "sweep")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An install of ``deploykit[onnx]``."""
    return command_line(tmp_path_factory.mktemp("server"), "onnx")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return {kind: models.build(kind, folder) for kind in ("cnn_onnx", "cnn_tflite", "cnn_keras", "cnn_h5")}


def test_the_extras_are_hidden(slim):
    found = json.loads(slim("doctor", "--json").stdout)
    (runtime,) = [r for r in found["runtimes"] if r["name"] == "tensorflow"]
    assert runtime["problem"] == "tensorflow not installed; pip install 'deploykit[tensorflow]'"


@pytest.mark.parametrize("kind", ["cnn_onnx", "cnn_tflite", "cnn_keras", "cnn_h5"])
def test_models_are_read(slim, tiny, kind):
    found = json.loads(slim("inspect", tiny[kind], "--json").stdout)
    assert found["parameter_count"] > 0
    assert found["layers"]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "shape"), [("cnn_onnx", "1,8,8"), ("cnn_tflite", "8,8,1")])
def test_the_whole_way(slim, tiny, tmp_path, kind, shape):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.integers(0, 255, (120, 8, 8), dtype=np.uint8), y=rng.integers(0, 3, 120))
    recipes = [{"steps": [{"technique": "quantize_dynamic"}]}] if kind == "cnn_onnx" else []
    (tmp_path / "space.json").write_text(json.dumps({"recipes": recipes}))
    slim(
        "sweep", tiny[kind], "--data", tmp_path / "d.npz", "--reshape", shape, "--scale", "1/255",
        "--space", tmp_path / "space.json", "--store", tmp_path / "runs", "--launches", 2,
    )  # fmt: skip
    rows = json.loads(slim("report", tmp_path / "runs", "--json").stdout)["rows"]
    assert [r["status"] for r in rows] == ["measured"] * (1 + len(recipes))
    slim("export", tmp_path / "runs", "--out", tmp_path / "served")
    assert json.loads(slim("verify", tmp_path / "served", "--json").stdout)["ok"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo"], "The package 'papermill' is not installed. Remedy: pip install 'deploykit[jupyter]'"),
        (
            ["batch", "nowhere.ipynb"],
            "The package 'papermill' is not installed. Remedy: pip install 'deploykit[jupyter]'",
        ),
        (["lab"], "The package 'jupyterlab' is not installed. Remedy: pip install 'deploykit[jupyter]'"),
        (
            ["report", Path("notebooks/finished").absolute(), "--log-to", "mlflow"],
            "MLflow: mlflow-skinny, sqlalchemy, alembic not installed; pip install 'deploykit[mlflow]'",
        ),
    ],
)
def test_what_needs_an_extra_names_its_pip_line(slim, arguments, message):
    assert message in slim(*arguments, status=1).stderr


def test_keras_models_need_tensorflow_to_run(slim, tiny, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((120, 8, 8, 1), np.float32), y=np.arange(120) % 3)
    done = slim("plan", tiny["cnn_keras"], "--data", tmp_path / "d.npz", status=1)
    assert "pip install 'deploykit[tensorflow]'" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "{model}", "--data", "{data}"],
        ["sweep", "{model}", "--data", "{data}"],
        ["sensitivity", "{model}", "--data", "{data}", "--store", "runs"],
        ["inspect", "{model}"],
        ["report", "{store}"],
        ["explain", "{store}"],
        ["compare", "{store}", "{store}"],
        ["rank", "{store}"],
        ["export", "{store}", "--out", "served"],
        ["tune", "{store}", "--p99-ms", "20"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_measures_names_its_pip_line_where_only_a_server_is_installed(server, tiny, tmp_path, arguments):
    np.savez(tmp_path / "d.npz", x=np.zeros((120, 1, 8, 8), np.float32), y=np.arange(120) % 3)
    places = {"model": tiny["cnn_onnx"], "data": tmp_path / "d.npz", "store": Path("notebooks/finished").absolute()}
    done = server(*(a.format(**places) for a in arguments), status=1)
    assert "Traceback" not in done.stderr
    assert re.search(r"not installed.*pip install 'deploykit\[sweep\]'", done.stderr)


def test_an_artifact_is_verified_where_only_a_server_is_installed(server, tiny, tmp_path):
    x = np.random.default_rng(0).random((60, 1, 8, 8), np.float32)
    built = dk.build(dk.load(tiny["cnn_onnx"]), dk.Recipe(), (x, np.arange(60) % 3), target="onnxruntime")
    dk.export(built, tmp_path / "served")
    assert json.loads(server("verify", tmp_path / "served", "--json").stdout)["ok"]


def test_a_model_that_was_not_exported_is_served_where_only_a_server_is_installed(server, tiny):
    steps = server("serve", tiny["cnn_onnx"], "--check", "--port", "0").stdout.splitlines()
    assert len(steps) > 5
    assert all(step.endswith("fine") for step in steps)


def test_another_runtime_names_its_pip_line(server):
    found = json.loads(server("doctor", "--json").stdout)
    problems = {r["name"]: r["problem"] for r in found["runtimes"]}
    assert problems["onnxruntime"] == ""
    assert problems["litert"] == "ai-edge-litert not installed; pip install 'deploykit[tflite]'"

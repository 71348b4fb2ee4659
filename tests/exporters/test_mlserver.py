"""What MLServer finds in the folder; `make proof` has MLServer itself serve it."""

import json

import numpy as np
import pytest

from deploykit.artifacts.arrays import load_arrays
from deploykit.artifacts.client import Client
from deploykit.core.candidate import Recipe
from deploykit.core.errors import RequestError
from deploykit.exporters._export import export
from deploykit.loading._load import load
from deploykit.serving._serve import serve
from deploykit.sweeping.build import build
from deploykit.testing.exporters import exportable
from deploykit.testing.graphs import exported, graph, joint, node, value


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """left (batch, 4) float32, right (batch, 6) int64 → score (batch, 1), label (batch, 3)."""
    folder = tmp_path_factory.mktemp("two")
    parameters = {"max_batch": 16, "delay_us": 2000, "version": 3}
    return export(exportable("two_inputs_onnx", folder), folder / "out", layout="mlserver", parameters=parameters)


def settings_of(artifact):
    return json.loads((artifact.path / "model-settings.json").read_text("utf-8"))


def test_the_settings_name_runtime_tensors_and_batches(two):
    settings = settings_of(two)
    assert settings["name"] == two.manifest.name
    assert settings["parameters"] == {"version": "3"}
    assert [(t["name"], t["datatype"], t["shape"]) for t in (*settings["inputs"], *settings["outputs"])] == [
        ("left", "FP32", [-1, 4]), ("right", "INT64", [-1, 6]), ("score", "FP32", [-1, 1]), ("label", "FP32", [-1, 3]),
    ]  # fmt: skip
    assert (settings["max_batch_size"], settings["max_batch_time"]) == (16, 0.002)
    module, _, name = settings["implementation"].partition(".")
    code = (two.path / f"{module}.py").read_text("utf-8")
    compile(code, module, "exec")
    assert f"class {name}(MLModel)" in code


def test_requests_are_not_joined_where_answers_depend_on_the_batch(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    built = build(load(joint(tmp_path)), Recipe(), (x, None), target="onnxruntime")
    artifact = export(built, tmp_path / "out", layout="mlserver", parameters={"max_batch": 16})
    assert "max_batch_size" not in settings_of(artifact)


@pytest.mark.long(2)
def test_a_server_without_binary_tensors_is_asked_in_json(tmp_path):
    nodes = [node("Identity", ["word"], ["said"]), node("Identity", ["number"], ["counted"])]
    inputs = [value("word", "string", "N", 2), value("number", "float32", "N")]
    outputs = [value("said", "string", "N", 2), value("counted", "float32", "N")]
    words = np.array([["red", "grün"], ["", "blue"]] * 30, object)
    data = {"word": words, "number": np.arange(60, dtype=np.float32) / 3}
    artifact = exported(graph(tmp_path, nodes, inputs, outputs), (data, None), layout="mlserver")
    given, golden = (load_arrays(artifact.path / n) for n in ("golden/inputs.npz", "golden/outputs.npz"))
    with serve(artifact, port=0) as server, Client(server.url) as client:
        found = client.infer_json(artifact.manifest.name, given)
        with pytest.raises(RequestError, match="400"):
            client.infer_json(artifact.manifest.name, {"other": np.zeros((1, 2))})
    assert found.keys() == golden.keys()
    for name, wanted in golden.items():
        assert found[name].dtype == wanted.dtype
        np.testing.assert_array_equal(found[name], wanted)

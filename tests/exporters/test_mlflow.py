"""What MLflow finds in the folder; `make proof` has MLflow itself load and serve it."""

import json

import numpy as np
import onnxruntime
import pytest
import yaml

from deploykit.artifacts.arrays import load_arrays, save_arrays
from deploykit.core.digest import file_digest
from deploykit.core.errors import ExportError, RequestError
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.serving.hosted import HostedModel, _load_pyfunc
from deploykit.testing.exporters import exportable


@pytest.fixture(scope="module")
def artifact(cnn, tmp_path_factory):
    """image (batch, 8, 8) uint8 → probabilities (batch, 3) float32."""
    return export(cnn, tmp_path_factory.mktemp("mlflow") / "out", layout="mlflow")


@pytest.fixture(scope="module")
def described(artifact):
    return yaml.safe_load((artifact.path / "MLmodel").read_text("utf-8"))


def test_the_signature_is_what_clients_send_and_get(described):
    inputs, outputs = (json.loads(described["signature"][name]) for name in ("inputs", "outputs"))
    assert inputs == [{"type": "tensor", "name": "image", "tensor-spec": {"dtype": "uint8", "shape": [-1, 8, 8]}}]
    assert outputs == [
        {"type": "tensor", "name": "probabilities", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}
    ]


def test_the_loader_it_names_answers_the_input_example(artifact, described):
    assert described["flavors"]["python_function"]["loader_module"] == "deploykit.serving.hosted"
    example = described["saved_input_example_info"]
    content, served = (
        json.loads((artifact.path / example[name]).read_text("utf-8"))
        for name in ("artifact_path", "serving_input_path")
    )
    assert served == {"inputs": content}
    raw = np.array(content["image"], np.uint8)
    session = onnxruntime.InferenceSession(artifact.model_path)
    (wanted,) = session.run(None, {"image": (raw / np.float32(255)).reshape(-1, 1, 8, 8)})
    found = _load_pyfunc(str(artifact.path)).predict({"image": raw})
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-6)


def test_its_requirements_name_the_wheel_in_the_folder(artifact):
    lines = (artifact.path / "requirements.txt").read_text("utf-8").splitlines()
    assert lines[:2] == ["--find-links .", "mlflow>=3,<4"]
    (wheel,) = artifact.path.glob("*.whl")
    assert f"deploykit[onnx]=={wheel.name.split('-')[1]}" in lines
    for name in ("python_env.yaml", "conda.yaml"):
        assert "-r requirements.txt" in (artifact.path / name).read_text("utf-8")


def test_what_the_host_rewrites_does_not_matter_and_a_changed_model_does(cnn, tmp_path):
    artifact = export(cnn, tmp_path / "out", layout="mlflow")
    (artifact.path / "MLmodel").write_text("run_id: 1\n", "utf-8")
    (artifact.path / "registered_model_meta").write_text("model_version: '1'\n", "utf-8")
    assert HostedModel(artifact.path).name == "cnn"
    data = bytearray(artifact.model_path.read_bytes())
    data[len(data) // 2] ^= 1
    artifact.model_path.write_bytes(data)
    with pytest.raises(ExportError, match=r"model/model\.onnx has changed"):
        HostedModel(artifact.path)


def test_golden_outputs_must_be_reproduced(cnn, tmp_path):
    artifact = export(cnn, tmp_path / "out", layout="mlflow")
    golden = artifact.path / artifact.manifest.golden_outputs
    save_arrays(golden, {name: array + np.float32(0.5) for name, array in load_arrays(golden).items()})
    manifest = json.loads((artifact.path / "manifest.json").read_bytes())
    manifest["files"][artifact.manifest.golden_outputs] = file_digest(golden)
    (artifact.path / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ExportError, match="Outputs differ from the measured model's"):
        HostedModel(artifact.path)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"picture": [[[0] * 8] * 8]}, "Unknown input 'picture'; expected 'image'"),
        ({}, "got none"),
        ([1, 2], r"Expected inputs by name, got \[1, 2\]"),
        ({"image": [[0] * 8] * 8}, r"expected shape \(batch, 8, 8\), got \(8, 8\)"),
        ({"image": np.full((1, 8, 8), 300)}, "got 300"),
        ({"image": [[["a"] * 8] * 8]}, "got text 'a'"),
    ],
)
def test_wrong_examples_are_refused_in_the_servers_words(artifact, inputs, said):
    with pytest.raises(RequestError, match=said):
        HostedModel(artifact.path)(inputs)


def test_lists_arrays_and_real_numbers_give_the_same(artifact):
    model = HostedModel(artifact.path)
    inputs, golden = (load_arrays(artifact.path / n) for n in ("golden/inputs.npz", "golden/outputs.npz"))
    for given in (inputs["image"].tolist(), inputs["image"].astype(np.float64), inputs["image"].astype(object)):
        np.testing.assert_allclose(model({"image": given})["probabilities"], golden["probabilities"], atol=1e-6)
    assert np.allclose(model.lists(inputs)["probabilities"], golden["probabilities"], atol=1e-6)


def test_two_inputs(tmp_path):
    artifact = export(exportable("two_inputs_onnx", tmp_path), tmp_path / "out", layout="mlflow")
    described = yaml.safe_load((artifact.path / "MLmodel").read_text("utf-8"))
    inputs = json.loads(described["signature"]["inputs"])
    assert [(i["name"], i["tensor-spec"]) for i in inputs] == [
        ("left", {"dtype": "float32", "shape": [-1, 4]}),
        ("right", {"dtype": "int64", "shape": [-1, 6]}),
    ]
    assert verify(artifact).ok

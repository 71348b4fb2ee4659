"""What the clouds find in the folders of their layouts; `make proof` has their own servers and SDKs read them."""

import json
import subprocess
import sys
import tarfile
import urllib.request

import numpy as np
import pytest
import yaml

from deploykit.artifacts.arrays import load_arrays
from deploykit.core.errors import ExportError
from deploykit.exporters._export import export
from deploykit.serving._serve import serve
from deploykit.serving.hosted import HostedModel
from deploykit.testing.exporters import exportable


@pytest.mark.long(2)
def test_vertex_ai_finds_health_and_predictions_at_the_routes_it_is_given(tmp_path):
    """Requests and answers as its documentation of custom containers describes them."""
    artifact = export(exportable("two_inputs_onnx", tmp_path), tmp_path / "out", layout="vertexai", name="shown")
    spec = json.loads((artifact.path / "model.json").read_text("utf-8"))["model"]["containerSpec"]
    assert spec["ports"] == [{"containerPort": 8080}]
    assert "AIP_HTTP_PORT:-8080" in (artifact.path / "Dockerfile").read_text("utf-8")
    inputs, golden = (load_arrays(artifact.path / n) for n in ("golden/inputs.npz", "golden/outputs.npz"))
    rows = [{name: array[k].tolist() for name, array in inputs.items()} for k in range(8)]
    with serve(artifact, port=0) as server:
        with urllib.request.urlopen(server.url + spec["healthRoute"]) as answer:
            assert answer.status == 200
        request = urllib.request.Request(
            server.url + spec["predictRoute"],
            json.dumps({"instances": rows}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            predictions = json.load(answer)["predictions"]
    for name, wanted in golden.items():
        np.testing.assert_allclose([one[name] for one in predictions], wanted.reshape(8, -1), atol=1e-6)


def test_azure_finds_one_folder_for_model_and_image(cnn, tmp_path):
    artifact = export(cnn, tmp_path / "out", layout="azureml", name="My_Shoes.v2", parameters={"requests": 4})
    endpoint, deployment = (
        yaml.safe_load((artifact.path / f"{name}.yml").read_text("utf-8")) for name in ("endpoint", "deployment")
    )
    assert endpoint["name"] == deployment["endpoint_name"] == "my-shoes-v2"
    assert deployment["request_settings"] == {"max_concurrent_requests_per_instance": 4}
    build = artifact.path / deployment["environment"]["build"]["path"]
    port = deployment["environment"]["inference_config"]["scoring_route"]["port"]
    dockerfile = (build / "Dockerfile").read_text("utf-8")
    assert f"EXPOSE {port}" in dockerfile
    assert {p.suffix for p in build.iterdir()} == {"", ".whl", ".txt", ".py"}
    compile((build / "score.py").read_text("utf-8"), "score.py", "exec")
    with pytest.raises(ExportError, match="'1x' cannot be an endpoint of Azure"):
        export(cnn, tmp_path / "other", layout="azureml", name="1x")
    assert not (tmp_path / "other").exists()


def test_sagemaker_finds_code_and_requirements(cnn, tmp_path):
    artifact = export(cnn, tmp_path / "out", layout="sagemaker")
    names = {p.name for p in (artifact.path / "code").iterdir()}
    (wheel,) = (name for name in names if name.endswith(".whl"))
    assert names == {"inference.py", "requirements.txt", wheel}
    compile((artifact.path / "code" / "inference.py").read_text("utf-8"), "inference.py", "exec")
    assert (artifact.path / "code" / "requirements.txt").read_text("utf-8").startswith("--find-links .\n")
    subprocess.run([sys.executable, artifact.path / "pack.py", tmp_path / "model.tar.gz"], check=True)
    with tarfile.open(tmp_path / "model.tar.gz") as archive:
        archive.extractall(tmp_path / "model", filter="data")
    top = {p.name for p in (tmp_path / "model").iterdir()}
    assert top == {"MAR-INF", "code", "golden", "manifest.json", "model"}
    assert HostedModel(tmp_path / "model").name == "cnn"

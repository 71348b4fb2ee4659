"""The layout for KServe; `make proof` compares it with the types of KServe's own SDK."""

import dataclasses
import shutil

import pytest
import yaml

from deploykit.artifacts.arrays import load_arrays
from deploykit.core.candidate import Candidate, Recipe, Target
from deploykit.core.errors import ExportError, SettingError
from deploykit.core.result import Measurement, Result
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.exporters.kserve import ADAPTER
from deploykit.serving._serve import serve


@pytest.fixture(scope="module")
def triton(cnn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kserve") / "out"
    return export(cnn, folder, layout="kserve", name="Shoes_2", parameters={"runtime": "triton", "canary_percent": 20})


def service(artifact):
    return yaml.safe_load((artifact.path / "kserve" / "inferenceservice.yaml").read_text("utf-8"))


def test_its_own_container_scales_with_requests(cnn, tmp_path):
    parameters = {"image": "registry.example.com/shoes:1", "workers": 2, "min_replicas": 0}
    artifact = export(cnn, tmp_path / "out", layout="kserve", name="Shoes_2", parameters=parameters)
    found = service(artifact)
    assert found["metadata"]["name"] == "shoes-2"
    predictor = found["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (0, 10)
    assert (predictor["scaleMetric"], predictor["scaleTarget"]) == ("concurrency", 8)
    assert "canaryTrafficPercent" not in predictor
    (container,) = predictor["containers"]
    assert container["name"] == "kserve-container"
    assert container["image"] == "registry.example.com/shoes:1"
    assert container["resources"]["requests"]["cpu"] == "2"
    assert (artifact.path / "Dockerfile").is_file()
    paths = [container[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe")]
    assert paths == ["/v2/health/ready", "/v2/health/live"]
    assert "startupProbe" not in container


def test_triton_gets_its_repository_and_a_canary_its_share(triton):
    predictor = service(triton)["spec"]["predictor"]
    assert predictor["canaryTrafficPercent"] == 20
    assert predictor["model"]["storageUri"] == "pvc://shoes-2"
    assert predictor["model"]["protocolVersion"] == "v2"
    assert triton.model_path == triton.path / "Shoes_2" / "1" / "model.onnx"
    assert (triton.path / "Shoes_2" / "config.pbtxt").is_file()
    assert not (triton.path / "Dockerfile").exists()


def test_a_server_of_the_bare_repository_is_verified(triton, tmp_path):
    shutil.copytree(triton.path / "Shoes_2", tmp_path / "models" / "Shoes_2")
    with serve(tmp_path / "models", port=0) as server:
        inputs, golden = (load_arrays(triton.path / f"golden/{n}.npz") for n in ("inputs", "outputs"))
        found = ADAPTER.ask(server.url, triton.manifest, inputs)
    for name, wanted in golden.items():
        assert abs(found[name] - wanted).max() < 1e-5
    assert verify(triton).ok


def test_triton_names_the_best_candidate_that_it_can_run(cnn, written):
    row = Result(
        "0123456789ab", Candidate(Recipe(), Target("onnxruntime")), "measured", "as ONNX", "", "onnx",
        measurement=Measurement((), None, 1, 1),
    )  # fmt: skip
    candidate = dataclasses.replace(cnn, format="tflite", alternatives=(row,))
    with pytest.raises(ExportError) as caught:
        written(candidate, "kserve", runtime="triton")
    assert str(caught.value).startswith("KServe's Triton runtime takes ONNX, not tflite.")
    assert "'as ONNX' on onnxruntime" in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"runtime": "triton", "storage": "/models"}, "Storage '/models' is not an address"),
        ({"min_replicas": 3, "max_replicas": 2}, "max_replicas=2 is less than min_replicas=3"),
        ({"canary_percent": 101}, "canary_percent must be between 0 and 100"),
    ],
)
def test_what_does_not_fit_is_refused(cnn, written, parameters, message):
    with pytest.raises(SettingError, match=message):
        written(cnn, "kserve", **parameters)

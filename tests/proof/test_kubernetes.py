"""What Kustomize and Helm make of the layouts for clusters, against the schemas that Kubernetes publishes."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import yaml

from deploykit.artifacts.arrays import load_arrays
from deploykit.exporters._export import export
from deploykit.serving._serve import serve
from deploykit.testing.exporters import exportable

#: The oldest and the newest release that the objects are checked for.
RELEASES = ("1.30", "1.37")


@pytest.fixture(scope="session")
def valid(packages):
    """Checks a file with the schemas of releases of Kubernetes, and returns how many objects there are of each kind."""
    run = packages("kubernetes-validate", "pyyaml")

    def check(file):
        found = [run("valid.py", "kubernetes", release, file) for release in RELEASES]
        assert found[0] == found[1]
        return found[0]

    check.version = run.version("kubernetes-validate")
    return check


@pytest.mark.proves("kubernetes", "schema", by="Kustomize and the schemas of Kubernetes 1.30 and 1.37")
@pytest.mark.proof(
    "The overlays of the layout `kubernetes` are built, and all objects are valid",
    against="Kustomize, the schemas of Kubernetes 1.30 and 1.37",
)
@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_kustomize_builds_the_overlays(overlay, valid, versions, tmp_path):
    if (kubectl := shutil.which("kubectl")) is None:
        pytest.skip("kubectl is not installed")
    artifact = export(exportable("cnn_onnx", tmp_path), tmp_path / "out", layout="kubernetes")
    place = artifact.path / "kubernetes" / "overlays" / overlay
    built = subprocess.check_output([kubectl, "kustomize", place], text=True)
    (tmp_path / "built.yaml").write_text(built)
    kinds = ("Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy")
    assert valid(tmp_path / "built.yaml") == dict.fromkeys(kinds, 1)
    assert built.count(f"namespace: {overlay}\n") == 5
    (tmp_path / "broken.yaml").write_text(built.replace("maxUnavailable: 0", "maxUnavailable: [0]"))
    with pytest.raises(AssertionError, match="maxUnavailable"):
        valid(tmp_path / "broken.yaml")
    told = json.loads(subprocess.check_output([kubectl, "version", "--client", "-o", "json"], text=True))
    versions(kustomize=told["kustomizeVersion"], kubernetes_validate=valid.version)


@pytest.mark.proves("kserve", "schema", by="the types of KServe's SDK 0.21")
@pytest.mark.proof("The InferenceService of the layout `kserve` is one by the types of KServe", against="KServe's SDK")
@pytest.mark.parametrize("runtime", ["deploykit", "triton"])
def test_an_inference_service_is_one(runtime, packages, versions, tmp_path):
    parameters = {"runtime": runtime, "canary_percent": 10}
    artifact = export(exportable("cnn_onnx", tmp_path), tmp_path / "out", layout="kserve", parameters=parameters)
    file = artifact.path / "kserve" / "inferenceservice.yaml"
    sdk = packages("kserve", dependencies=False)  # without its model server
    run = packages("kubernetes==33.1.0")  # of 2025, as the SDK's types: later ones are made otherwise
    found = run("kserve_types.py", sdk.folder, file)
    if runtime == "triton":
        assert found["written"]["spec"]["predictor"]["model"].pop("name") == ""  # a default of the SDK
    assert found["given"] == found["written"]
    (tmp_path / "broken.yaml").write_text(file.read_text("utf-8").replace("canaryTrafficPercent", "canaryPercent"))
    broken = run("kserve_types.py", sdk.folder, tmp_path / "broken.yaml")
    assert broken["given"] != broken["written"]
    (tmp_path / "worse.yaml").write_text(file.read_text("utf-8").replace("scaleTarget: 4", "scaleTarget: many"))
    with pytest.raises(AssertionError, match="many"):
        run("kserve_types.py", sdk.folder, tmp_path / "worse.yaml")
    versions(kserve=sdk.version("kserve"))


@pytest.mark.proves("helm", "schema", by="Helm 4.2 and the schemas of Kubernetes 1.30 and 1.37")
@pytest.mark.proof(
    "The chart of the layout `helm` is rendered by Helm's own library, and all objects are valid",
    against="Helm, the schemas of Kubernetes 1.30 and 1.37",
)
def test_helm_renders_the_chart(packages, valid, versions, tmp_path):
    artifact = export(exportable("cnn_onnx", tmp_path), tmp_path / "out", layout="helm")
    helm = packages("helm-python-sdk")

    def render(**values):
        return helm("helm_chart.py", artifact.path / "chart", json.dumps(values))

    def objects(found):
        texts = [text for name, text in found["rendered"].items() if not name.endswith("NOTES.txt")]
        (tmp_path / "rendered.yaml").write_text("\n---\n".join(texts))
        return [one for one in yaml.safe_load_all((tmp_path / "rendered.yaml").read_text("utf-8")) if one]

    plain = render()
    assert plain["lint"]["errors"] == []
    made = {one["kind"]: one for one in objects(plain)}
    kinds = ("Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy")
    assert valid(tmp_path / "rendered.yaml") == dict.fromkeys(kinds, 1)
    labels = made["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert made["Service"]["spec"]["selector"].items() <= labels.items()
    assert made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert made["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == made["Deployment"]["metadata"]["name"]
    few = render(
        autoscaling={"enabled": False}, networkPolicy={"enabled": False}, podDisruptionBudget={"enabled": False},
        replicas=4, image={"digest": f"sha256:{'0' * 64}"}, nodeSelector={"disk": "ssd: {{ fast }}"},
    )  # fmt: skip
    made = {one["kind"]: one for one in objects(few)}
    assert valid(tmp_path / "rendered.yaml") == {"Deployment": 1, "Service": 1}
    pod = made["Deployment"]["spec"]["template"]["spec"]
    assert made["Deployment"]["spec"]["replicas"] == 4
    assert pod["containers"][0]["image"].endswith("@sha256:" + "0" * 64)
    assert pod["nodeSelector"] == {"disk": "ssd: {{ fast }}"}
    assert "got string, want integer" in render(replicas="many")["error"]
    assert "additional properties 'replica' not allowed" in render(replica=1)["error"]
    versions(helm=plain["version"], kubernetes_validate=valid.version)


@pytest.mark.proof(
    "KServe's client is answered by the server of the layout `kserve`, by both protocols", against="KServe's SDK"
)
def test_the_client_of_kserve_is_answered(packages, versions, tmp_path):
    artifact = export(exportable("two_inputs_onnx", tmp_path), tmp_path / "out", layout="kserve")
    ask = packages("kserve")
    wanted = load_arrays(artifact.path / artifact.manifest.golden_outputs)
    with serve(artifact, port=0) as server:
        found = ask("kserve_client.py", server.url, server.name, artifact.path / artifact.manifest.golden_inputs)
    assert found["live"] is found["ready"] is found["model_ready"] is True
    for answer in (found["json"], found["binary"], found["v1"]["outputs"]):
        assert answer.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_allclose(np.array(answer[name]), value, atol=1e-6)
    versions(kserve=found["version"])

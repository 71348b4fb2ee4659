"""The layout for Kubernetes: objects that fit each other and the server; `make proof` has Kustomize build them."""

import http.client

import pytest
import yaml

from deploykit.core.errors import SettingError
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.serving._serve import serve


@pytest.fixture(scope="module")
def artifact(cnn, tmp_path_factory):
    parameters = {"image": "registry.example.com:5000/team/shoes:1.2", "replicas": 3, "workers": 2}
    folder = tmp_path_factory.mktemp("kubernetes") / "out"
    return export(cnn, folder, layout="kubernetes", name="Shoes_2", parameters=parameters)


@pytest.fixture(scope="module")
def objects(artifact):
    files = (artifact.path / "kubernetes" / "base").glob("*.yaml")
    found = {o["kind"]: o for o in (yaml.safe_load(f.read_text("utf-8")) for f in files)}
    assert len(found) == 6
    return found


def test_all_objects_choose_the_same_pods(objects):
    spec = objects["Deployment"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    for chosen in (
        spec["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert chosen.items() <= labels.items()
    assert {o["metadata"]["name"] for kind, o in objects.items() if kind != "Kustomization"} == {"shoes-2"}
    assert objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "shoes-2"


def test_the_pod_meets_the_restricted_standard(objects):
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert not pod["automountServiceAccountToken"]
    assert {volume.keys() - {"name"} == {"emptyDir"} for volume in pod["volumes"]} == {True}


def test_its_probes_are_answered_by_the_server(artifact, objects):
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    probes = [container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {probe["port"] for probe in probes} == {"http"}
    assert container["ports"][0]["containerPort"] == 8501
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    with serve(artifact, port=0) as server:
        for probe in probes:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("GET", probe["path"])
            assert connection.getresponse().status == 200
            connection.close()


def test_cores_memory_and_replicas_are_what_was_asked_for(objects, artifact):
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    resources = pod["containers"][0]["resources"]
    assert resources["requests"]["cpu"] == "2"  # two workers with one thread each
    assert resources["limits"]["cpu"] == "2500m"
    assert int(resources["requests"]["memory"][:-2]) < int(resources["limits"]["memory"][:-2])
    command = pod["containers"][0]["command"]
    worker = int(next(part for part in command if part.startswith("memory_bytes=")).partition("=")[2])
    assert 2 * worker < int(resources["limits"]["memory"][:-2]) << 20  # replaced before the container is killed
    limits = dict(part.split("=") for part in command if "=" in part)
    assert float(limits["grace_seconds"]) + 10 < pod["terminationGracePeriodSeconds"]  # 10: drain_seconds
    overlays = artifact.path / "kubernetes" / "overlays"
    found = {
        name: yaml.safe_load((overlays / name / "replicas.yaml").read_text("utf-8"))["spec"]
        for name in ("staging", "production")
    }
    assert found["production"] == {"minReplicas": 3, "maxReplicas": 10}
    assert found["staging"] == {"minReplicas": 1, "maxReplicas": 2}
    assert "replicas" not in objects["Deployment"]["spec"]


def test_the_image_can_be_changed_in_one_place(artifact, objects):
    assert objects["Kustomization"]["images"] == [
        {"name": "registry.example.com:5000/team/shoes", "newName": "registry.example.com:5000/team/shoes",
         "newTag": "1.2"}
    ]  # fmt: skip
    file = artifact.path / "kubernetes" / "base" / "kustomization.yaml"
    text = file.read_text("utf-8")
    file.write_text(text.replace("1.2", "1.3"))
    assert verify(artifact).ok
    file.write_text(text)


def test_more_replicas_at_least_than_at_most_are_refused(cnn, written):
    with pytest.raises(SettingError, match=r"max_replicas=2 is less than replicas=3"):
        written(cnn, "kubernetes", replicas=3, max_replicas=2)


def test_an_image_by_digest_stays_as_it_is(cnn, written):
    image = f"registry.example.com/shoes@sha256:{'0' * 64}"
    base = written(cnn, "kubernetes", image=image) / "kubernetes" / "base"
    assert "images" not in yaml.safe_load((base / "kustomization.yaml").read_text("utf-8"))
    deployment = yaml.safe_load((base / "deployment.yaml").read_text("utf-8"))
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == image

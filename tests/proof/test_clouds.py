"""What runs here of the clouds, against the folders of their layouts: scoring servers, and the SDKs' own parsers."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.testing.exporters import exportable

sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "peers"))

import environments
import servers

_ENVIRONMENTS = Path(__file__).parents[2] / ".venv-proof"
_AZURE_SERVER, _AZURE, _VERTEX = "1.5.1", "1.35.2", "2.7.0"
_SAGEMAKER = ("sagemaker-inference==1.10.1", "multi-model-server==1.1.11", "setuptools<81")
_PARSE_AZURE = """\
import json, sys
from pathlib import Path
from azure.ai.ml import load_online_deployment, load_online_endpoint
folder = Path(sys.argv[1])
deployment = load_online_deployment(folder / "deployment.yml")
endpoint = load_online_endpoint(folder / "endpoint.yml")
print(json.dumps({
    "endpoints": [endpoint.name, deployment.endpoint_name],
    "model": str(deployment.model.path),
    "build": str(deployment.environment.build.path),
    "scoring": [getattr(deployment.environment.inference_config["scoringRoute"], name) for name in ("path", "port")],
    "machines": [deployment.instance_type, deployment.instance_count],
}))
"""
_PARSE_VERTEX = """\
import json, sys
from google.cloud.aiplatform_v1.types import Model
content = json.load(open(sys.argv[1]))["model"]
model = Model.from_json(json.dumps(content))  # refuses what the API does not have
spec = model.container_spec
routes = [spec.predict_route, spec.health_route]
print(json.dumps([model.display_name, spec.image_uri, spec.ports[0].container_port, *routes]))
"""
_SERVE_SAGEMAKER = """\
import sys
from sagemaker_inference import model_server
model_server.MMS_CONFIG_FILE = sys.argv[1]  # it would lie in /etc
model_server.start_model_server()
"""


def parser(name, *requirements):
    """The interpreter of an environment with an SDK."""
    try:
        return environments.made(_ENVIRONMENTS / name, requirements) / "bin" / "python"
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{', '.join(requirements)} cannot be installed: {error}")


def low_port():
    """A port that the toolkit's model server accepts: it holds ports as numbers of 15 bits."""
    for port in range(18080, 32000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def parsed(python, script, path):
    done = subprocess.run([python, "-c", script, path], env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def refuses(url):
    """What is not an input of the model is the client's fault, in words."""
    for body, said in (
        ({"inputs": {"papyrus": [1]}}, "papyrus"),
        ({"inputs": [1]}, "Expected inputs by name"),
        ({}, "Expected {"),
    ):
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        assert caught.value.code == 400
        assert said in caught.value.read().decode()


def exported(kind, folder, layout, **parameters):
    return export(exportable(kind, folder), folder / "out", layout=layout, name="shown", parameters=parameters)


@pytest.mark.proves("azureml", "engine", by="Azure ML's inference server 1.5")
@pytest.mark.proof(
    "The scoring script of the layout `azureml` gives the golden outputs for raw examples",
    against="Azure ML inference server",
)
@pytest.mark.parametrize("kind", ["cnn_onnx", "two_inputs_onnx"])
def test_azures_server_runs_the_scoring_script(kind, engine, versions, tmp_path):
    artifact = exported(kind, tmp_path, "azureml")
    home = artifact.path / "environment"
    programs = engine("azureml", f"azureml-inference-server-http=={_AZURE_SERVER}", folder=home)
    versions(**{"azureml-inference-server-http": _AZURE_SERVER})
    mounted = shutil.copytree(artifact.path, tmp_path / "models" / "shown" / "1" / "out")  # as Azure mounts a folder
    (port,) = servers.free_ports(1)
    command = [
        programs / "azmlinfsrv", "--entry_script", home / "score.py", "--model_dir", mounted.parent,
        "--port", str(port),
    ]  # fmt: skip
    environment = {"PYTHONPATH": "", "PATH": f"{programs}:/usr/bin:/bin"}
    with servers.started(command, environment, port, "/", tmp_path / "azure.log"):
        found = verify(artifact, url=f"http://127.0.0.1:{port}")
        refuses(f"http://127.0.0.1:{port}/score")
    assert found.ok, found
    assert found.url_difference is not None


@pytest.mark.proves("azureml", "schema", by="azure-ai-ml 1.35")
@pytest.mark.proof("Endpoint and deployment of the layout `azureml` are read by the SDK", against="azure-ai-ml")
def test_azures_sdk_reads_the_deployment(versions, tmp_path):
    artifact = exported("cnn_onnx", tmp_path, "azureml", instances=3)
    found = parsed(parser("azure", f"azure-ai-ml=={_AZURE}"), _PARSE_AZURE, artifact.path)
    versions(**{"azure-ai-ml": _AZURE})
    assert found == {
        "endpoints": ["shown", "shown"],
        "model": str(artifact.path),
        "build": "environment",
        "scoring": ["/score", 5001],
        "machines": ["Standard_DS3_v2", 3],
    }


@pytest.mark.proves("sagemaker", "engine", by="SageMaker's inference toolkit 1.10 with its model server")
@pytest.mark.proof(
    "SageMaker's toolkit installs and serves a folder of the layout `sagemaker`, which gives the golden outputs",
    against="SageMaker inference toolkit",
)
def test_sagemakers_toolkit_serves_the_archive(engine, versions, tmp_path):
    if shutil.which("java") is None:
        pytest.skip("the toolkit's model server needs Java")
    artifact = exported("cnn_onnx", tmp_path, "sagemaker")
    programs = engine("sagemaker", *_SAGEMAKER, folder=artifact.path / "code")
    versions(**{"sagemaker-inference": "1.10.1", "multi-model-server": "1.1.11"})
    base = tmp_path / "opt"
    subprocess.run([sys.executable, artifact.path / "pack.py", tmp_path / "model.tar.gz"], check=True)
    with tarfile.open(tmp_path / "model.tar.gz") as archive:
        archive.extractall(base / "model", filter="data")
    port = low_port()
    environment = {
        "PYTHONPATH": "", "SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": str(port),
        "PATH": f"{programs}:/usr/bin:/bin",
    }  # fmt: skip
    command = [programs / "python", "-c", _SERVE_SAGEMAKER, tmp_path / "mms.properties"]
    with servers.started(command, environment, port, "/ping", tmp_path / "sagemaker.log"):
        found = verify(artifact, url=f"http://127.0.0.1:{port}")
        refuses(f"http://127.0.0.1:{port}/invocations")
    assert found.ok, found
    assert found.url_difference is not None


@pytest.mark.proves("vertexai", "schema", by="google-cloud-aiplatform's API types")
@pytest.mark.proof("`model.json` of the layout `vertexai` is read as the API's resource", against="Vertex AI SDK")
def test_googles_sdk_reads_the_model(versions, tmp_path):
    artifact = exported("cnn_onnx", tmp_path, "vertexai", image="europe-docker.pkg.dev/p/r/shown:1", port=9090)
    python = parser("vertex", f"google-cloud-aiplatform=={_VERTEX}")
    versions(**{"google-cloud-aiplatform": _VERTEX})
    assert parsed(python, _PARSE_VERTEX, artifact.path / "model.json") == [
        "shown", "europe-docker.pkg.dev/p/r/shown:1", 9090, "/v1/models/shown:predict", "/v1/models/shown",
    ]  # fmt: skip

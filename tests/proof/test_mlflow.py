"""MLflow's own library and scoring server, against the folders of its layout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.testing.exporters import exportable

sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "peers"))

import servers

_MLFLOW = "3.17.2"
_LOADED = """\
import json, sys
import mlflow, numpy as np
folder = sys.argv[1]
model = mlflow.pyfunc.load_model(folder)
inputs, golden = (dict(np.load(f"{folder}/golden/{name}.npz")) for name in ("inputs", "outputs"))
found = model.predict(inputs)
example = model.predict(model.metadata.load_input_example(folder))
served = mlflow.models.validate_serving_input(folder, model.metadata.get_serving_input(folder))
print(json.dumps({
    "mlflow": mlflow.__version__,
    "difference": max(float(abs(found[name] - golden[name]).max()) for name in golden),
    "example": max(float(abs(example[name] - golden[name][:2]).max()) for name in golden),
    "served": max(float(abs(served[name] - golden[name][:2]).max()) for name in golden),
}))
"""


@pytest.fixture(scope="module", params=["cnn_onnx", "two_inputs_onnx", "cnn_tflite"])
def artifact(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    return export(exportable(request.param, folder), folder / "out", layout="mlflow", name="shown")


@pytest.fixture(scope="module")
def programs(artifact, engine):
    return engine("mlflow", f"mlflow=={_MLFLOW}", folder=artifact.path)


@pytest.mark.proves("mlflow", "engine", by="MLflow 3.17")
@pytest.mark.proof(
    "A folder of the layout `mlflow` is loaded by `mlflow.pyfunc` and gives the golden outputs", against="MLflow"
)
def test_pyfunc_loads_the_folder(artifact, programs, versions):
    done = subprocess.run(
        [programs / "python", "-c", _LOADED, artifact.path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    versions(mlflow=found["mlflow"])
    for name in ("difference", "example", "served"):
        assert found[name] <= 1e-6, name


@pytest.mark.proves("mlflow", "engine", by="MLflow 3.17")
@pytest.mark.proof(
    "`mlflow models serve` answers with the golden outputs for raw examples of a folder of the layout `mlflow`",
    against="MLflow",
)
def test_the_scoring_server_serves_the_folder(artifact, programs, versions, tmp_path):
    versions(mlflow=_MLFLOW)
    (port,) = servers.free_ports(1)
    command = [programs / "mlflow", "models", "serve", "--env-manager", "local", "--model-uri", artifact.path]
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": ""}
    with servers.started([*command, "--port", str(port)], environment, port, "/ping", tmp_path / "mlflow.log"):
        found = verify(artifact, url=f"http://127.0.0.1:{port}")
    assert found.ok, found
    assert found.url_difference is not None
    assert found.url_difference <= artifact.manifest.tolerance

"""MLServer, against the folders of its layout."""

import sys
from pathlib import Path

import numpy as np
import pytest

from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.testing.exporters import exportable
from deploykit.testing.graphs import exported, graph, node, value

sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "peers"))

import servers

_MLSERVER = "1.7.1"


def words(folder):
    """x (batch, 2) text → the same."""
    path = graph(
        folder, [node("Identity", ["x"], ["y"])], [value("x", "string", "N", 2)], [value("y", "string", "N", 2)]
    )
    texts = np.array([["red", "grün"], ["", "blue"]] * 30, object)
    return exported(path, (texts, None), layout="mlserver")


@pytest.mark.proves("mlserver", "engine", by="MLServer 1.7")
@pytest.mark.proof(
    "A folder of the layout `mlserver` is loaded and gives the golden outputs for raw examples", against="MLServer"
)
@pytest.mark.parametrize("kind", ["cnn_onnx", "two_inputs_onnx", "words"])
def test_mlserver_serves_the_folder(kind, engine, versions, tmp_path):
    if kind == "words":
        artifact = words(tmp_path)
    else:
        parameters = {"max_batch": 8} if kind == "two_inputs_onnx" else {}
        artifact = export(exportable(kind, tmp_path), tmp_path / "out", layout="mlserver", parameters=parameters)
    programs = engine("mlserver", f"mlserver=={_MLSERVER}", folder=artifact.path)
    versions(mlserver=_MLSERVER)
    http, grpc, metrics = servers.free_ports(3)
    environment = {
        "PYTHONPATH": "", "MLSERVER_HOST": "127.0.0.1", "MLSERVER_HTTP_PORT": str(http),
        "MLSERVER_GRPC_PORT": str(grpc), "MLSERVER_METRICS_PORT": str(metrics),
        "MLSERVER_ENVIRONMENTS_DIR": str(tmp_path / "environments"), "MLSERVER_METRICS_DIR": str(tmp_path / "metrics"),
    }  # fmt: skip
    ready = servers.ready(artifact.manifest.name)
    command = [programs / "mlserver", "start", artifact.path]
    with servers.started(command, environment, http, ready, tmp_path / "mlserver.log"):
        for url in (f"http://127.0.0.1:{http}", f"grpc://127.0.0.1:{grpc}"):
            found = verify(artifact, url=url)
            assert found.ok, found
            assert found.url_difference is not None

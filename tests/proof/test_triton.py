"""Triton's own server, against the folders of its layout."""

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.testing.exporters import exportable

sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "peers"))

import servers


@pytest.fixture(scope="module")
def triton():
    """Starts it with an artifact's folder as its repository."""
    try:
        servers.installed("triton")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"nvidia-pytriton cannot be installed: {error}")
    return servers.triton


@pytest.mark.proves("triton", "engine", by="Triton 2.51")
@pytest.mark.proof(
    "A folder of the layout `triton` is loaded, warmed up and gives the golden outputs", against="Triton"
)
@pytest.mark.parametrize("kind", ["cnn_onnx", "two_inputs_onnx"])
def test_triton_serves_the_folder(kind, triton, versions, tmp_path):
    artifact = export(exportable(kind, tmp_path), tmp_path / "out", layout="triton", name="shown")
    repository = tmp_path / "models"
    shutil.copytree(artifact.path / "shown", repository / "shown")
    with triton(repository, "shown", tmp_path, "--log-verbose=1") as running:
        url = f"http://127.0.0.1:{running.port}"
        for asked in (url, f"grpc://127.0.0.1:{running.grpc_port}"):
            found = verify(artifact, url=asked)
            assert found.ok, found
            assert found.url_difference is not None
            assert found.url_difference <= artifact.manifest.tolerance
        with urllib.request.urlopen(f"{url}/v2") as answer:
            metadata = json.load(answer)
    versions(triton=metadata["version"])
    assert metadata["name"] == "triton"
    log = (tmp_path / "triton.log").read_text("utf-8", "replace")
    assert "golden 3" in log


@pytest.mark.proves("kserve", "engine", by="Triton 2.51 (runtime=triton), without KServe")
@pytest.mark.proof(
    "The repository of the layout `kserve` is served by Triton, and `deploykit verify --url` passes", against="Triton"
)
def test_triton_serves_the_repository(triton, versions, tmp_path):
    artifact = export(
        exportable("cnn_onnx", tmp_path), tmp_path / "out", layout="kserve", name="shown",
        parameters={"runtime": "triton"},
    )  # fmt: skip
    repository = tmp_path / "models"
    shutil.copytree(artifact.path / "shown", repository / "shown")
    with triton(repository, "shown", tmp_path) as running:
        found = verify(artifact, url=f"http://127.0.0.1:{running.port}")
        assert found.ok, found
        with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/v2") as answer:
            versions(triton=json.load(answer)["version"])

"""BentoML, against the folders of its layout."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.testing.exporters import exportable

sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "peers"))

import servers

_BENTOML = "1.4.40"


@pytest.mark.proves("bentoml", "engine", by="BentoML 1.4")
@pytest.mark.proof(
    "A folder of the layout `bentoml` is served, as it is and built to a bento, and gives the golden outputs",
    against="BentoML",
)
@pytest.mark.parametrize(("kind", "built"), [("cnn_onnx", False), ("two_inputs_onnx", False), ("cnn_onnx", True)])
def test_bentoml_serves_the_folder(kind, built, engine, versions, tmp_path):
    artifact = export(exportable(kind, tmp_path), tmp_path / "out", layout="bentoml")
    programs = engine("bentoml", f"bentoml=={_BENTOML}", folder=artifact.path)
    versions(bentoml=_BENTOML)
    environment = {
        "PYTHONPATH": "", "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(tmp_path / "bentoml"),
        "PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path),
    }  # fmt: skip
    (port,) = servers.free_ports(1)
    what = ["service:Service", "--working-dir", artifact.path]
    if built:
        done = subprocess.run(
            [programs / "bentoml", "build", "--version", "1"],
            cwd=artifact.path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        what = [f"{artifact.manifest.name}:1"]
    command = [programs / "bentoml", "serve", *what, "--host", "127.0.0.1", "--port", str(port)]
    with servers.started(command, environment, port, "/readyz", tmp_path / "bentoml.log"):
        found = verify(artifact, url=f"http://127.0.0.1:{port}")
    assert found.ok, found
    assert found.url_difference is not None

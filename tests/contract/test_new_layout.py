"""A layout is one file: its parameter is asked for, its files are written, and its own server is asked in its way."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import deploykit as dk
from deploykit.cli.main import main
from deploykit.exporters._contract import EXPORTERS
from deploykit.testing.exporters import ExporterConformance, exportable

_ENTRY_POINTS = "[deploykit.exporters]\nscript_server = script_server:ADAPTER\n"


@pytest.fixture(autouse=True)
def installed(install):
    install(Path(__file__).parent / "example" / "script_server.py", _ENTRY_POINTS)


@pytest.fixture(scope="module")
def candidate(tmp_path_factory):
    return exportable("cnn_onnx", tmp_path_factory.mktemp("model"))


class TestItsConformance(ExporterConformance):
    @pytest.fixture
    def name(self):
        return "script_server"


@pytest.fixture
def artifact(candidate, tmp_path):
    return dk.export(candidate, tmp_path / "out", layout="script_server", parameters={"port": 0})


@contextlib.contextmanager
def running(folder):
    process = subprocess.Popen([sys.executable, "serve.py"], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.communicate()


def test_verify_asks_its_server_in_its_way(artifact):
    with running(artifact.path) as url:
        found = dk.verify(artifact, url=url)
    assert found.ok, found
    assert found.url_difference < 1e-5


def test_a_server_that_answers_otherwise_is_found(artifact, tmp_path):
    folder = Path(shutil.copytree(artifact.path, tmp_path / "drifted"))
    script = folder / "serve.py"
    script.write_text(script.read_text().replace("a.tolist()", "(a * 0.5).tolist()"))
    with running(folder) as url:
        (problem,) = dk.verify(artifact, url=url).problems
    assert "Outputs differ" in problem


def test_the_parameter_is_in_the_manifest_and_on_the_command_line(artifact, capsys):
    assert artifact.manifest.parameters == {"port": 0}
    assert "PORT" not in (artifact.path / "serve.py").read_text()
    assert main(["export", "--help"]) == 0
    assert "port: between 0 and 65535, default 8000" in capsys.readouterr().out


def test_deploykit_serves_it_as_any_other(artifact):
    assert "script_server" in EXPORTERS.names()
    with dk.serve(artifact, port=0) as server:
        assert dk.verify(artifact, url=server.url).ok

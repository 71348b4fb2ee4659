"""What an exported folder installs, in an environment that has nothing else and where no index has deploykit."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from deploykit.artifacts.arrays import load_arrays
from deploykit.artifacts.client import Client
from deploykit.exporters._export import export
from deploykit.testing.exporters import exportable

SCIENTIFIC = {"pandas", "scipy", "sympy", "altair", "h5py", "onnx", "tensorflow", "keras", "matplotlib", "uvicorn"}


def megabytes(folder):
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) / 1e6


def command(environment, name):
    return environment / ("Scripts" if os.name == "nt" else "bin") / name


@pytest.mark.proof("An exported folder installs what serves it and nothing else, without an index", against="pip, venv")
@pytest.mark.parametrize(("kind", "runtime"), [("cnn_onnx", "onnxruntime"), ("cnn_tflite", "ai-edge-litert")])
def test_an_exported_folder_is_installed_and_served(kind, runtime, tmp_path, versions):
    artifact = export(exportable(kind, tmp_path), tmp_path / "out")
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    before = megabytes(environment)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    pip = [command(environment, "pip"), "install", "--quiet", "--disable-pip-version-check", "-r"]
    done = subprocess.run(
        [*pip, artifact.path / "requirements.txt"], cwd=tmp_path, env=clean, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"pip cannot install them: {done.stderr.strip().splitlines()[-1]}")
    size = megabytes(environment) - before
    listed = subprocess.check_output([command(environment, "pip"), "list", "--format", "json"], cwd=tmp_path, env=clean)
    held = {package["name"].lower(): package["version"] for package in json.loads(listed)}
    versions(**{runtime: f"{held[runtime]}, {size:.0f} MB"})
    assert held["deploykit"].endswith("+server")
    assert not SCIENTIFIC & held.keys()
    assert size < 240
    deploykit = command(environment, "deploykit")
    found = json.loads(subprocess.check_output([deploykit, "verify", artifact.path, "--json"], cwd=tmp_path, env=clean))
    assert found["ok"]
    given = load_arrays(artifact.path / artifact.manifest.golden_inputs)
    wanted = load_arrays(artifact.path / artifact.manifest.golden_outputs)
    serve = [deploykit, "serve", artifact.path, "--port", "0", "--json"]
    server = subprocess.Popen(serve, cwd=tmp_path, env=clean, stdout=subprocess.PIPE, text=True)
    try:
        text = ""
        while not text.rstrip().endswith("}"):
            line = server.stdout.readline()
            assert line, "it ended before it served"
            text += line
        facts = json.loads(text)
        with Client(facts["url"]) as client:
            answered = client.infer(facts["name"], given)
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()
    for name, value in wanted.items():
        np.testing.assert_allclose(answered[name], value, atol=1e-6)

"""What the processes of a server import: a container installs nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.artifacts.client import Client
from deploykit.core.extras import EXTRAS

#: Writes down what each interpreter that has it on its path imports.
RECORD = """
from importlib.machinery import PathFinder

_find = PathFinder.find_spec


def find_spec(name, path=None, target=None):
    found = _find(name, path, target)
    if found is not None and "." not in name:
        with open({log!r}, "a") as log:
            log.write(name + "\\n")
    return found


PathFinder.find_spec = find_spec
"""


@pytest.mark.parametrize(
    ("kind", "runtime", "extra"),
    [("cnn_onnx", "onnxruntime", "onnx"), ("cnn_tflite", "litert", "tflite"), ("cnn_onnx", "openvino", "openvino")],
)
def test_a_server_imports_its_own_runtime_and_no_other_extra(zoo, tmp_path, kind, runtime, extra):
    model = dk.load(zoo(kind))
    x = np.random.default_rng(0).random((60, *model.inputs[0].shape[1:]), np.float32)
    built = dk.build(model, dk.Recipe(), (x, np.arange(60) % 3), target=runtime)
    artifact = dk.export(built, tmp_path / "served")
    (tmp_path / "sitecustomize.py").write_text(RECORD.format(log=str(tmp_path / "imported")))
    path = os.pathsep.join([str(tmp_path), str(Path.cwd())])
    command = [sys.executable, "-m", "deploykit", "serve", str(artifact.path), "--port", "0", "--json"]
    server = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)
    try:
        lines = iter(server.stdout.readline, "")
        text = ""
        while not text.rstrip().endswith("}"):
            text += next(lines)
        facts = json.loads(text)
        with Client(facts["url"]) as client:
            found = client.infer(facts["name"], {model.inputs[0].name: x[:2]})
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()
    assert next(iter(found.values())).shape == (2, 3)
    imported = set((tmp_path / "imported").read_text().split())
    assert {"deploykit", "numpy", *EXTRAS[extra]} <= imported
    assert "openvino_telemetry" not in imported, "what reports to a server over the network was imported"
    assert not imported & {module for name, held in EXTRAS.items() if name != extra for module in held}

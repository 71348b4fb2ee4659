"""The plain folder: what a person finds in it is true."""

import json
import re
import sys
from importlib.metadata import version

import pytest

import deploykit as dk
from deploykit.core.model import TensorSpec
from deploykit.exporters._export import export
from deploykit.testing.exporters import exportable


@pytest.fixture(scope="module")
def artifact(cnn, tmp_path_factory):
    return export(cnn, tmp_path_factory.mktemp("exported") / "out", name="Shoes")


def read(artifact, name):
    return (artifact.path / name).read_text(encoding="utf-8")


def test_requirements_pin_the_runtime_and_nothing_of_training(artifact):
    first, *lines = read(artifact, "requirements.txt").splitlines()
    assert first == "--find-links ."
    assert tuple(lines) == artifact.manifest.requirements
    assert lines[0] == f"deploykit[onnx]=={dk.__version__}+server"
    assert lines[1:] == [f"numpy=={version('numpy')}", f"onnxruntime=={version('onnxruntime')}"]


def test_the_dockerfile_serves_the_folder(artifact):
    lines = read(artifact, "Dockerfile").splitlines()
    assert f"FROM python:{sys.version_info.major}.{sys.version_info.minor}-slim" in lines
    command = json.loads(next(line for line in lines if line.startswith("CMD")).removeprefix("CMD "))
    assert command == ["deploykit", "serve", "artifact", "--host", "0.0.0.0", "--port", "8501", "--insecure"]


def test_the_readme_names_tensors_and_preprocessing(artifact):
    text = read(artifact, "README.md")
    assert "| in `image` | uint8 | (?, 8, 8) | reshape to" in text
    assert "| out `probabilities` | float32 | (?, 3) | |" in text
    assert "http://127.0.0.1:8501/v1/models/Shoes:predict" in text
    assert "docker build -t shoes ." in text
    assert "{" not in re.sub(r"curl.*", "", text)


def test_two_inputs_are_sent_by_name(tmp_path):
    made = export(exportable("two_inputs_onnx", tmp_path), tmp_path / "out")
    assert '{"inputs": [...]}' in read(made, "README.md")
    assert made.manifest.inputs == (
        TensorSpec("left", (None, 4), "float32"),
        TensorSpec("right", (None, 6), "int64"),
    )

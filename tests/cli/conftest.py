import json

import numpy as np
import pytest

from deploykit.cli.main import main
from deploykit.testing import models

SPACE = {"recipes": [], "targets": [{"runtime": "onnxruntime"}, {"runtime": "onnxruntime", "threads": 2}]}


@pytest.fixture
def cli(capsys):
    """Runs the command line in this process: returns status, stdout, stderr."""

    def run(*arguments):
        status = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(scope="session")
def desk(tmp_path_factory):
    """A folder with a tiny ONNX model, data for it, and a space of two candidates."""
    folder = tmp_path_factory.mktemp("desk")
    models.build("cnn_onnx", folder).rename(folder / "net.onnx")
    rng = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=rng.integers(0, 255, (120, 8, 8), dtype=np.uint8), y=rng.integers(0, 3, 120))
    (folder / "space.json").write_text(json.dumps(SPACE))
    return folder


@pytest.fixture(scope="session")
def data_flags(desk):
    return ["--data", desk / "data.npz", "--scale", "1/255", "--reshape", "1,8,8", "--space", desk / "space.json"]


@pytest.fixture(scope="session")
def store(desk, data_flags):
    """The store of a finished sweep."""
    folder = desk / "runs"
    arguments = ["sweep", desk / "net.onnx", *data_flags, "--store", folder, "--launches", 2, "--json"]
    assert main([str(a) for a in arguments]) == 0
    return folder

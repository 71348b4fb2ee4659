"""Reading a model ends by its deadline and within its memory, whatever the file makes the reader do."""

from pathlib import Path

import pytest

import deploykit as dk
from deploykit.core.errors import ModelFileError, ProcessLost, SettingError
from deploykit.loading import _load
from deploykit.testing import models


@pytest.fixture
def model(tmp_path):
    return models.build("cnn_onnx", tmp_path)


@pytest.fixture
def reader(monkeypatch):
    """Let another task read files."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "sandbox"))
    return lambda function: monkeypatch.setattr(_load, "READER", f"faults:{function}")


def test_a_reader_that_hangs_meets_the_deadline_of_the_call(model, reader):
    reader("chatter")
    with pytest.raises(ModelFileError, match=r"m.*\.onnx: reading it took longer than 1 s\..*raise timeout="):
        dk.load(model, timeout=1)


def test_a_reader_that_grows_meets_the_limit_of_the_call(model, reader):
    reader("grow")
    with pytest.raises(ModelFileError, match=r"reading it took more than 0\.9 GB of memory\..*raise memory="):
        dk.load(model, memory=0.9)


def test_a_reader_that_is_stopped_is_noticed_and_the_file_is_not_blamed(model, reader, monkeypatch):
    monkeypatch.setattr("deploykit.sandbox.watching.STILL_S", 0.3)
    reader("stop_itself")
    with pytest.raises(ProcessLost, match=r"\.onnx: The process was suspended from outside in reading") as caught:
        dk.load(model)
    assert "corrupt" not in str(caught.value)


@pytest.mark.parametrize("setting", [{"timeout": 0}, {"timeout": -1.0}, {"timeout": float("nan")}, {"memory": -1}])
def test_bad_limits_are_refused(model, setting):
    with pytest.raises(SettingError, match=f"{next(iter(setting))} must be"):
        dk.load(model, **setting)
    assert dk.load(model, timeout=60, memory=0).format == "onnx"

"""Runtimes are asked once for their kernels here, and what they say is what a profile shows."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from deploykit.core.errors import CandidateCrash
from deploykit.measuring import probing
from deploykit.runtimes import _onnx_probe
from deploykit.sandbox.supervisor import Supervisor

FORMS = {"float32", "uint8", "uint8 operators", "int8", "int8 operators", "dynamic"}


@pytest.fixture(autouse=True)
def forgotten(tmp_path, monkeypatch):
    """Nothing was asked yet."""
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(tmp_path / "cache"))
    probing.kernels.cache_clear()
    yield tmp_path / "cache"
    probing.kernels.cache_clear()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_runtime_tells_its_kernels(runtime, forgotten):
    found = probing.kernels(runtime)
    assert set(found) == FORMS
    assert found["float32"].precision == "float32"
    assert found["float32"].slowdown == 1
    assert not found["float32"].slow
    assert all(k.kernel and k.slowdown > 0 for k in found.values())
    assert {k.precision for k in found.values()} <= {"float32", "int8"}
    assert len(list(forgotten.iterdir())) == 1


def test_it_is_asked_once_for_a_host_and_its_versions(forgotten, monkeypatch):
    first = probing.kernels("onnxruntime")
    probing.kernels.cache_clear()
    asked = []

    def run(_self, task, *_arguments):
        asked.append(task)
        raise CandidateCrash("the process died.")

    monkeypatch.setattr(Supervisor, "run", run)
    assert probing.kernels("onnxruntime") == first
    assert asked == []
    probing.kernels.cache_clear()
    monkeypatch.setattr(probing, "hardware", lambda: {"cpu": "another"})
    assert probing.kernels("onnxruntime") == {}  # of what could not be asked nothing is claimed
    assert len(asked) == 1
    assert len(list(forgotten.iterdir())) == 1


def test_a_damaged_file_is_asked_for_again(forgotten):
    first = probing.kernels("onnxruntime")
    (file,) = forgotten.iterdir()
    file.write_bytes(b"{\xff")
    probing.kernels.cache_clear()
    assert set(probing.kernels("onnxruntime")) == set(first)
    assert set(json.loads(file.read_bytes())) == FORMS


def test_runtimes_that_tell_nothing_are_not_asked():
    assert probing.kernels("litert") == {}


def test_the_probes_are_the_same_convolution(tmp_path):
    """int8 differs from float32 by its rounding only."""
    files = _onnx_probe.write(tmp_path)
    assert next(iter(files)) == "float32"
    x = np.random.default_rng(0).normal(0, 0.3, _onnx_probe.SHAPE).astype(np.float32)
    found = {form: onnxruntime.InferenceSession(path).run(None, {"x": x})[0] for form, path in files.items()}
    inside = np.abs(found["float32"]) < 1.9  # int8 with this scale holds up to 2
    for form, path in files.items():
        onnx.checker.check_model(onnx.load(path), full_check=True)
        assert np.abs(found[form] - found["float32"])[inside].max() < 0.2, form
    assert inside.mean() > 0.5

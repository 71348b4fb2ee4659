"""TFLite to ONNX: what ONNX Runtime answers beside LiteRT."""

from pathlib import Path

import numpy as np
import pytest

from deploykit.core.errors import UnsupportedModelError
from deploykit.loading._load import load
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task
from deploykit.testing import work

RNG = np.random.default_rng(0)


@pytest.fixture
def quantized(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def make(kind):
        path = tmp_path / f"{kind}.tflite"
        shared().run(Task("tflite_files:quantized", {"kind": kind, "path": str(path)}, group="tensorflow"))
        return path

    return make


@pytest.fixture
def answers(tmp_path):
    """Outputs of a file and of its conversion, in the same order, and what the conversion noted."""

    def get(source):
        target = tmp_path / "target"
        notes = work.converted("tflite_to_onnx", source, target)
        feeds = {s.name: RNG.random((6, *s.example_shape)).astype(np.float32) for s in load(source).inputs}
        renamed = {notes["names"]["inputs"][name]: value for name, value in feeds.items()}
        wanted, found = work.predicted(source, "tflite", feeds), work.predicted(target, "onnx", renamed)
        return [(value, found[notes["names"]["outputs"][name]]) for name, value in wanted.items()], notes

    return get


@pytest.mark.parametrize("kind", ["float16", "gelu"])
def test_answers_stay(quantized, answers, kind):
    ((wanted, found),), _ = answers(quantized(kind))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_integers_stay_the_same_to_the_last_bit(zoo, answers, tmp_path):
    """Inputs and outputs become real numbers: ONNX does not say what an integer stands for."""
    source = zoo("cnn_int8_tflite")
    ((wanted, found),), notes = answers(source)
    np.testing.assert_array_equal(found, wanted)
    assert np.ptp(wanted) > 0.1
    assert notes["ends"] == "real numbers instead of integers: image, output_0"
    before, after = load(source), load(tmp_path / "target")
    assert (before.inputs[0].dtype, after.inputs[0].dtype, after.outputs[0].dtype) == ("int8", "float32", "float32")
    assert after.inputs[0].batch_size is None
    assert {layer.type for layer in after.layers} >= {"QuantizeLinear", "DequantizeLinear"}


def test_wide_integers_are_refused_by_name(quantized, tmp_path):
    with pytest.raises(UnsupportedModelError, match=r"int16 \(16×8 quantization\) around .*Conv.* LiteRT"):
        work.converted("tflite_to_onnx", quantized("int16x8"), tmp_path / "target")


def test_state_is_refused_by_name(tmp_path):
    path = tmp_path / "counter.tflite"
    work.run("make_counter", "tensorflow", format="tflite", path=str(path))
    with pytest.raises(UnsupportedModelError, match=r"The graph keeps .* between calls"):
        work.converted("tflite_to_onnx", path, tmp_path / "target")

"""Keras' own quantization, held against its formulas, and what becomes of its files."""

import zipfile

import h5py
import numpy as np
import pytest
from onnx import load as load_onnx

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.loading.keras import ADAPTER as KERAS
from deploykit.testing import work

pytestmark = pytest.mark.long


def tensors(path):
    """Tensors of the dense layers of a file, in order, by the group of the layer."""
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file, h5py.File(file) as weights:
        return {
            group: [np.array(weights[f"layers/{group}/vars/{i}"]) for i in range(len(weights[f"layers/{group}/vars"]))]
            for group in weights["layers"]
            if group.startswith("dense")
        }


def test_dense_layers_are_int8_with_a_scale_for_each_output(folder, tmp_path):
    source, target = work.made("wide_cnn", folder), tmp_path / "out"
    notes = work.transformed("quantize_keras", "keras", source, target)
    assert [(name, kind) for name, kind, _ in notes["units"]] == [("hidden", "Dense"), ("class", "Dense")]
    assert set(notes["stays_float"]) == {"first", "second"}
    before, after = tensors(source), tensors(target)
    assert before.keys() == after.keys() != set()
    for group, (kernel, bias) in before.items():
        whole, kept, scale = after[group]
        expected = np.float32(127) / (np.abs(kernel).max(0) + np.float32(1e-7))
        np.testing.assert_allclose(scale, expected, rtol=1e-6)
        np.testing.assert_array_equal(whole, np.clip(np.round(kernel * scale), -127, 127))
        np.testing.assert_array_equal(kept, bias)
    stored = {w.layer: (w.stored, w.load()) for w in KERAS.weights(target)}
    assert {name: kind for name, (kind, _) in stored.items()} == {
        "first": "float32", "second": "float32", "hidden": "int8", "class": "int8",
    }  # fmt: skip
    found = {w.layer: w.load() for w in KERAS.weights(source)}
    for name in ("hidden", "class"):
        half = np.abs(found[name]).max(0) / 254
        assert (np.abs(stored[name][1] - found[name]) <= 1.001 * half).all()


def test_weights_of_4_bits_are_read_by_their_groups(folder, tmp_path):
    source, target = work.made("wide_cnn", folder), tmp_path / "out"
    work.transformed("quantize_keras", "keras", source, target, mode="int4")
    before = {w.layer: w.load() for w in KERAS.weights(source)}
    after = {w.layer: w.load() for w in KERAS.weights(target) if w.stored == "int4"}
    assert set(after) == {"hidden", "class"}
    for layer, found in after.items():
        for start in range(0, len(found), 128):
            kernel = before[layer][start : start + 128]
            step = (np.maximum(kernel.max(0), 0) - np.minimum(kernel.min(0), 0)) / 15
            off = np.abs(found[start : start + 128] - kernel)
            assert (off <= step + 1e-6).all(), "zero points are rounded too"


def test_int8_goes_on_to_onnx_and_not_to_tflite(folder, tmp_path):
    source = work.made("wide_cnn", folder)
    work.transformed("quantize_keras", "keras", source, tmp_path / "out.keras")
    work.converted("keras_to_saved_model", tmp_path / "out.keras", tmp_path / "saved")
    work.converted("saved_model_to_onnx", tmp_path / "saved", tmp_path / "out.onnx")
    assert "MatMulInteger" in {n.op_type for n in load_onnx(tmp_path / "out.onnx").graph.node}
    feeds = work.examples_of(source)
    wanted = work.predicted(tmp_path / "out.keras", "keras", feeds)["class"]
    np.testing.assert_allclose(work.predicted(tmp_path / "out.onnx", "onnx", feeds)["class"], wanted, atol=1e-5)
    assert 0 < np.abs(wanted - work.outputs_of(source)["class"]).mean() < 0.02
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((300, 8, 8, 1), np.float32), rng.integers(0, 3, 300))
    space = dk.Space([Recipe((Step("quantize_keras"),))], [Target("litert"), Target("onnxruntime")])
    plan = dk.plan(dk.load(source), data, space)
    assert "TFLite lacks the products of int8 matrices" in plan.left_out[0].reason
    assert [c.candidate.target.runtime for c in plan.candidates if c.candidate.recipe.steps] == ["onnxruntime"]


def test_what_keras_cannot_quantize_is_named(folder, tmp_path):
    source = work.made("wide_cnn", folder)
    with pytest.raises(UnsupportedModelError, match=r"its layers with weights are .*Conv2D.*Dense"):
        work.transformed("quantize_keras", "keras", source, tmp_path / "out", exclude="Dense")
    with pytest.raises(SettingError, match="did you mean 'hidden'"):
        work.transformed("quantize_keras", "keras", source, tmp_path / "out", exclude="hiden")
    work.transformed("quantize_keras", "keras", source, tmp_path / "one", exclude="class")
    assert [w.stored for w in KERAS.weights(tmp_path / "one")].count("int8") == 1
    notes = work.transformed("quantize_keras", "keras", tmp_path / "one", tmp_path / "two", mode="int4")
    assert [name for name, *_ in notes["units"]] == ["class"], "a second step quantizes what the first has left"

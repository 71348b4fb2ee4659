"""Weights of every format as real numbers, and which tensor of another file is the same."""

import shutil

import h5py
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, quantize_dynamic, quantize_static

from deploykit.loading._contract import FORMATS, Weight
from deploykit.loading._weights import _facts, _Loaded
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task


def compared(before, after):
    files = [{"path": str(path), "format": form} for path, form in (before, after)]
    return shared().run(
        Task("deploykit.loading._weights:compare_weights", dict(zip(("before", "after"), files, strict=True)))
    )


def pairs(found):
    return {
        (r["before"] and r["before"]["layer"], r["after"] and r["after"]["layer"], r["matched"]) for r in found["rows"]
    }


@pytest.mark.parametrize("kind", ["cnn_h5", "cnn_saved_model", "cnn_tflite", "cnn_int8_tflite"])
def test_layers_of_keras_are_found_in_other_formats(zoo, kind):
    form = {"cnn_h5": "h5", "cnn_saved_model": "saved_model"}.get(kind, "tflite")
    found = compared((zoo("cnn_keras"), "keras"), (zoo(kind), form))
    assert [r["before"]["layer"] for r in found["rows"]] == ["conv", "depthwise", "class"]
    for row in found["rows"]:
        before, after = row["before"], row["after"]
        assert row["before"]["layer"] in after["layer"]
        assert row["matched"] == "name"
        assert before["count"] == after["count"]
        if row["before"]["layer"] != "conv":  # normalization is folded into it
            assert after["deviation"] == pytest.approx(before["deviation"], rel=0.02)
        assert after["stored"] == ("int8" if "int8" in kind else "float32")


def test_values_of_keras_are_those_of_its_layers(zoo, tmp_path):
    shutil.unpack_archive(zoo("cnn_keras"), tmp_path, "zip")
    found = {w.layer: w.load() for w in FORMATS.get("keras").weights(zoo("cnn_keras")) if w.layer == "class"}
    assert set(found) == {"class"}
    with h5py.File(tmp_path / "model.weights.h5") as file:
        np.testing.assert_array_equal(found["class"], file["layers/dense/vars/0"])


def test_external_data_are_read(zoo):
    inside = {w.layer: w.load() for w in FORMATS.get("onnx").weights(zoo("cnn_onnx"))}
    outside = {w.layer: w.load() for w in FORMATS.get("onnx").weights(zoo("cnn_external_onnx"))}
    assert set(inside) == set(outside) == {"conv", "class"}
    np.testing.assert_array_equal(inside["conv"], outside["conv"])


class Feed:
    def __init__(self):
        self.left = [np.random.default_rng(i).random((1, 1, 8, 8)).astype(np.float32) for i in range(4)]

    def get_next(self):
        return {"image": self.left.pop()} if self.left else None


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("form", ["dynamic", QuantFormat.QDQ, QuantFormat.QOperator])
def test_scales_of_onnx_are_found_in_every_form(zoo, tmp_path, form, per_channel):
    path = tmp_path / "quantized.onnx"
    if form == "dynamic":
        quantize_dynamic(zoo("cnn_onnx"), path, per_channel=per_channel, op_types_to_quantize=["Conv", "MatMul"])
    else:
        quantize_static(zoo("cnn_onnx"), path, Feed(), quant_format=form, per_channel=per_channel)
    original = {t.name: numpy_helper.to_array(t) for t in onnx.load(zoo("cnn_onnx")).graph.initializer}
    found = {w.layer.removesuffix("_quant"): w for w in FORMATS.get("onnx").weights(path)}
    for layer, name in (("conv", "conv_w"), ("class", "class_w")):
        assert found[layer].scaled
        assert found[layer].stored in {"int8", "uint8"}
        step = abs(original[name]).max() / 127
        np.testing.assert_allclose(found[layer].load(), original[name], atol=1.01 * step)


@pytest.mark.parametrize("transposed", [0, 1])
def test_each_output_channel_of_a_square_matrix_has_its_scale(tmp_path, transposed):
    from onnx import TensorProto, helper

    matrix = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    channels = matrix if transposed else matrix.T
    channels *= 10.0 ** np.arange(4)[:, None]  # in place: one scale for the wrong axis would be far off
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["image", "matrix"], ["y"], "dense", transB=transposed)], "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])], [numpy_helper.from_array(matrix, "matrix")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "a.onnx")
    feed = Feed()
    feed.left = [x[0, 0, :1, :4] for x in feed.left]
    quantize_static(
        tmp_path / "a.onnx", tmp_path / "b.onnx", feed, quant_format=QuantFormat.QOperator, per_channel=True
    )
    assert [n.op_type for n in onnx.load(tmp_path / "b.onnx").graph.node].count("QGemm") == 1
    (found,) = FORMATS.get("onnx").weights(tmp_path / "b.onnx")
    assert found.scaled
    steps = abs(channels).max(axis=1) / 127
    real = found.load() if transposed else found.load().T
    assert (abs(real - channels).max(axis=1) <= 1.01 * steps).all()


def test_whole_numbers_have_no_histogram_beside_real_ones():
    def loaded(values, stored, *, scaled):
        return _Loaded(Weight("w", "layer", values.shape, stored, lambda: values, scaled), values)

    real = loaded(np.linspace(-2, 2, 9, dtype=np.float32), "float32", scaled=True)
    whole = loaded(np.arange(-4, 5, dtype=np.float32), "int8", scaled=False)
    for before, after in ((real, whole), (whole, real)):
        row = _facts(before, after, "name")
        sides = {x.stored: x for x in (row.before, row.after)}
        assert row.edges == (-2, 2)
        assert sum(sides["float32"].histogram) == 9
        assert sides["int8"].histogram == ()
    assert sum(_facts(whole, None, "").before.histogram) == 9


def net(path, sizes, names=None):
    """Matrix products one after the other; ``sizes`` are their dimensions."""
    from onnx import TensorProto, helper

    names = names or [f"layer_{i}" for i in range(len(sizes) - 1)]
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(a, b)).astype(np.float32), f"{n}_w")
        for n, a, b in zip(names, sizes[:-1], sizes[1:], strict=True)
    ]
    ends = ["x", *(f"{n}_out" for n in names[:-1]), "y"]
    nodes = [
        helper.make_node("MatMul", [a, f"{n}_w"], [b], n) for n, a, b in zip(names, ends[:-1], ends[1:], strict=True)
    ]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", sizes[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", sizes[-1]])], weights,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_removed_channels_are_told(tmp_path):
    before, after = net(tmp_path / "a.onnx", (4, 8, 3)), net(tmp_path / "b.onnx", (4, 5, 3))
    found = compared((before, "onnx"), (after, "onnx"))
    assert pairs(found) == {("layer_0", "layer_0", "name, other shape"), ("layer_1", "layer_1", "name, other shape")}


def test_what_cannot_be_matched_is_said_and_nothing_is_guessed(tmp_path):
    before = net(tmp_path / "a.onnx", (4, 4, 4, 7), ["p", "q", "r"])
    after = net(tmp_path / "b.onnx", (4, 4, 7), ["s", "t"])
    assert pairs(compared((before, "onnx"), (after, "onnx"))) == {
        ("p", None, ""), ("q", None, ""), ("r", "t", "order"), (None, "s", "")
    }  # fmt: skip


def test_layers_of_a_model_that_was_traced_twice_keep_their_own_weights(tmp_path):
    before = net(tmp_path / "a.onnx", (4, 8, 3), ["dense", "dense_1"])
    after = net(tmp_path / "b.onnx", (4, 8, 3), ["net_1/dense_1/MatMul", "net_1/dense_1_2/MatMul"])
    assert pairs(compared((before, "onnx"), (after, "onnx"))) == {
        ("dense", "net_1/dense_1/MatMul", "name"), ("dense_1", "net_1/dense_1_2/MatMul", "name")
    }  # fmt: skip


def test_zeros_are_counted(tmp_path):
    path = net(tmp_path / "a.onnx", (4, 8, 3))
    model = onnx.load(path)
    values = numpy_helper.to_array(model.graph.initializer[0]).copy()
    values[:2] = 0
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "layer_0_w"))
    onnx.save(model, tmp_path / "b.onnx")
    found = compared((path, "onnx"), (tmp_path / "b.onnx", "onnx"))
    row = next(r for r in found["rows"] if r["layer"] == "layer_0")
    assert (row["before"]["zeros"], row["after"]["zeros"]) == (0, 0.5)
    middle = len(row["after"]["histogram"]) // 2
    assert row["after"]["histogram"][middle] >= 16

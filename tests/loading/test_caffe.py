"""Caffe's networks: layers against NumPy by Caffe's definitions, bounds of the text, and weights that do not fit."""

import math
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from deploykit.core.errors import ModelFileError, SettingError, UnsupportedModelError
from deploykit.loading._caffe.net import read_net
from deploykit.loading._caffe.text import MAX_VALUES, TextError, parse, written
from deploykit.loading._caffe.weights import read_weights
from deploykit.loading._caffe.write import write
from deploykit.loading._contract import FORMATS
from deploykit.loading._load import load
from deploykit.testing.caffe import CNN, write_network

RNG = np.random.default_rng(0)
INPUT = 'input: "x" input_shape { dim: 1 dim: 4 dim: 7 dim: 6 }\n'
X = RNG.normal(size=(3, 4, 7, 6)).astype(np.float32)


def random(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.fixture
def ran(tmp_path):
    """What a network with one layer, or a few, gives for the examples."""

    def run(layers, x=X, **weights):
        path = tmp_path / "net.prototxt"
        write_network(path, INPUT + layers, weights)
        written = write(read_net(path))
        session = onnxruntime.InferenceSession(written.model().SerializeToString())
        found = session.run(None, {"x": x})
        assert [list(value.shape[1:]) for value in found] == [list(value.shape) for value in written.outputs.values()]
        return found

    return run


def layer(kind, settings="", name="one", bottom="x", top="y"):
    bottoms = " ".join(f'bottom: "{b}"' for b in bottom.split())
    tops = " ".join(f'top: "{t}"' for t in top.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} {tops} {settings} }}\n'


def pooled(x, kind, kernel, stride, pad):
    """Caffe's pooling_layer.cpp, loop by loop."""
    count, channels, height, width = x.shape
    high, wide = (math.ceil((n + 2 * pad - kernel) / stride) + 1 for n in (height, width))
    if pad:
        high -= (high - 1) * stride >= height + pad
        wide -= (wide - 1) * stride >= width + pad
    y = np.zeros((count, channels, high, wide), np.float32)
    for i in range(high):
        for j in range(wide):
            top, left = i * stride - pad, j * stride - pad
            bottom, right = min(top + kernel, height + pad), min(left + kernel, width + pad)
            size = (bottom - top) * (right - left)
            part = x[:, :, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            y[:, :, i, j] = part.max((2, 3)) if kind == "MAX" else part.sum((2, 3)) / size
    return y


@pytest.mark.parametrize("kind", ["MAX", "AVE"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (2, 2, 1), (3, 3, 2), (4, 3, 1)]
)
def test_pooling_rounds_up_and_counts_the_padding(ran, kind, kernel, stride, pad):
    settings = f"pooling_param {{ pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad} }}"
    np.testing.assert_allclose(ran(layer("Pooling", settings))[0], pooled(X, kind, kernel, stride, pad), atol=1e-6)


@pytest.mark.parametrize(("group", "dilation", "stride", "pad"), [(1, 1, 1, 0), (2, 1, 2, 1), (4, 2, 1, 2)])
def test_convolutions(ran, group, dilation, stride, pad):
    weights, bias = random(8, 4 // group, 3, 2), random(8)
    padded = np.pad(X, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    reach = [dilation * (k - 1) + 1 for k in (3, 2)]
    high, wide = ((n + 2 * pad - r) // stride + 1 for n, r in zip(X.shape[2:], reach, strict=True))
    expected = np.zeros((3, 8, high, wide))
    for i in range(high):
        for j in range(wide):
            part = padded[:, :, i * stride :, j * stride :][:, :, : reach[0] : dilation, : reach[1] : dilation]
            for g in range(group):
                made = slice(g * 8 // group, (g + 1) * 8 // group)
                taken = part[:, g * 4 // group : (g + 1) * 4 // group]
                expected[:, made, i, j] = np.einsum("ncij,ocij->no", taken, weights[made]) + bias[made]
    settings = (
        f"convolution_param {{ num_output: 8 kernel_h: 3 kernel_w: 2 stride: {stride} pad: {pad} group: {group} "
        f"dilation: {dilation} }}"
    )
    np.testing.assert_allclose(ran(layer("Convolution", settings), one=[weights, bias])[0], expected, atol=1e-5)


def test_a_deconvolution_spreads_each_value(ran):
    weights = random(4, 2, 3, 3)
    expected = np.zeros((3, 2, 7 * 2 + 1, 6 * 2 + 1))
    for i in range(7):
        for j in range(6):
            expected[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += np.einsum("nc,coij->noij", X[:, :, i, j], weights)
    settings = "convolution_param { num_output: 2 kernel_size: 3 stride: 2 pad: 1 bias_term: false }"
    found = ran(layer("Deconvolution", settings), one=[weights])[0]
    np.testing.assert_allclose(found, expected[:, :, 1:-1, 1:-1], atol=1e-5)


MEAN, VARIANCE, SLOPES, FLAT = random(4), abs(random(4)) + 0.5, random(4), X.reshape(3, -1)
CHANNELS = (slice(None), None, None)
DENSE = random(5, 4 * 7 * 6)
NORM = np.sqrt((X**2).sum(1, keepdims=True) + 1e-10)


def window(x):
    """Sums of squares over five channels around each."""
    square = np.pad(x**2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    return sum(square[:, k : k + 4] for k in range(5))


@pytest.mark.parametrize(
    ("layers", "weights", "expected"),
    [
        (layer("ReLU", "relu_param { negative_slope: 0.1 }"), [], np.where(X > 0, X, 0.1 * X)),
        (layer("PReLU"), [SLOPES], np.where(X > 0, X, SLOPES[CHANNELS] * X)),
        (layer("ELU", "elu_param { alpha: 0.5 }"), [], np.where(X > 0, X, 0.5 * (np.exp(X) - 1))),
        (layer("BNLL"), [], np.log1p(np.exp(X))),
        (layer("Power", "power_param { power: 2 scale: 0.5 shift: 3 }"), [], (3 + 0.5 * X) ** 2),
        (layer("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }"), [], 2 ** (1 + 0.5 * X)),
        (layer("BatchNorm", "batch_norm_param { eps: 0.01 }"), [MEAN * 4, VARIANCE * 4, np.array([4], np.float32)],
         (X - MEAN[CHANNELS]) / np.sqrt(VARIANCE[CHANNELS] + 0.01)),
        (layer("Scale", "scale_param { bias_term: true }"), [SLOPES, MEAN], X * SLOPES[CHANNELS] + MEAN[CHANNELS]),
        (layer("InnerProduct", "inner_product_param { num_output: 5 bias_term: false }"), [DENSE], FLAT @ DENSE.T),
        (layer("LRN", "lrn_param { local_size: 5 alpha: 0.3 beta: 0.6 k: 2 }"), [], X / (2 + 0.06 * window(X)) ** 0.6),
        (layer("Normalize", "norm_param { across_spatial: false channel_shared: false }"), [SLOPES],
         X / NORM * SLOPES[CHANNELS]),
        (layer("Softmax"), [], np.exp(X) / np.exp(X).sum(1, keepdims=True)),
        (layer("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }"), [], X.transpose(0, 2, 3, 1)),
        (layer("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }"), [], X.reshape(3, -1, 3)),
        (layer("Eltwise", "eltwise_param { operation: SUM coeff: 1 coeff: -2 }", bottom="x x"), [], -X),
        (layer("Concat", "concat_param { axis: 2 }", bottom="x x"), [], np.concatenate([X, X], 2)),
        (layer("Dropout", top="x") + layer("TanH", name="two"), [], np.tanh(X)),
    ],
    ids=lambda value: value.split('"')[3] if isinstance(value, str) else None,
)  # fmt: skip
def test_what_a_layer_computes(ran, layers, weights, expected):
    (found,) = ran(layers, **({"one": weights} if weights else {}))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_parts_are_outputs_of_their_own(ran):
    first, rest = ran(layer("Slice", "slice_param { axis: 1 slice_point: 1 }", top="a b"))
    np.testing.assert_array_equal(first, X[:, :1])
    np.testing.assert_array_equal(rest, X[:, 1:])


def test_a_network_and_its_summary(zoo):
    model = load(zoo("cnn_caffe"))
    assert [str(spec) for spec in model.inputs] == ["image: float32 (?, 1, 8, 8)"]
    assert [(str(spec), spec.operator) for spec in model.outputs] == [("prob: float32 (?, 3)", "Softmax")]
    assert [layer.parameters for layer in model.layers] == [80, 16, 16, 0, 0, 387, 0]
    assert [file.rpartition("/")[2] for file in model.extra_files] == ["cnn_caffe.caffemodel"]


def test_a_text_of_before_2014(tmp_path):
    old = INPUT + 'layers { name: "ip" type: INNER_PRODUCT bottom: "x" top: "y" inner_product_param < num_output: 5 > }'
    old = old.replace(
        "input_shape { dim: 1 dim: 4 dim: 7 dim: 6 }", "input_dim: 1 input_dim: 4 input_dim: 7 input_dim: 6"
    )
    write_network(tmp_path / "old.prototxt", old, {"ip": [DENSE.reshape(1, 1, 5, -1), random(1, 1, 1, 5)]})
    model = load(tmp_path / "old.prototxt")
    assert (model.layers[0].type, model.parameter_count) == ("InnerProduct", 5 * 169)
    (weight,) = FORMATS.get("caffe").weights(tmp_path / "old.prototxt")
    np.testing.assert_array_equal(weight.load(), DENSE)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (layer("PriorBox"), ("'one' (PriorBox)", "is of a type that cannot be converted")),
        (layer("DetectionOutput"), ("'one' (DetectionOutput)",)),
        (layer("LRN", "lrn_param { norm_region: WITHIN_CHANNEL }"), ("'one' (LRN)", "WITHIN_CHANNEL")),
        (layer("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), ("'one' (Pooling)", "STOCHASTIC")),
        (layer("Softmax", "softmax_param { axis: 9 }"), ("'one' (Softmax)", "axis 9 of 4")),
        (layer("Convolution", "convolution_param { num_output: 99999999999 kernel_size: 1 }"), ("num_output",)),
    ],
)
def test_what_has_no_rule_is_refused_by_name(tmp_path, refused, layers, words):
    path = tmp_path / "net.prototxt"
    write_network(path, INPUT + layers, {})
    refused(path, UnsupportedModelError, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (INPUT + "layer { " * 100, "nested more than 32 deep"),
        (INPUT + 'layer { name: "one', "line 2: cannot read"),
        (INPUT + "layer { name:", "it is truncated"),
        (INPUT + layer("ReLU", bottom="gone"), "reads 'gone', which nothing before it makes"),
        (INPUT + layer("Data"), "this is a network for training"),
        (INPUT.replace("dim: 7", "dim: 700000000") + layer("ReLU"), "impossible shape 1 × 4 × 700000000 × 6"),
        (INPUT.replace("dim: 7", "dim: -7") + layer("ReLU"), "impossible shape"),
        (INPUT.replace("dim: 7", "dim: 7e400") + layer("ReLU"), "dim must be a whole number"),
        (
            INPUT + layer("Pooling", "pooling_param { pool: MAX global_pooling: true }") * 2,
            "two layers are called 'one'",
        ),
        (INPUT, "the network has no layers"),
    ],
)
def test_broken_and_hostile_texts(tmp_path, refused, text, words):
    path = tmp_path / "net.prototxt"
    write_network(path, text, {})
    refused(path, ModelFileError, words)


def test_a_text_with_too_many_values_is_given_up():
    with pytest.raises(TextError, match="more than 500,000 values"):
        parse("dim: [" + "1 " * (MAX_VALUES + 1) + "]")
    with pytest.raises(TextError, match="a number of 5,000 characters"):
        parse("dim: " + "1" * 5000)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({}, "has 0 blobs of weights, and needs 1"),
        ({"class": [random(3, 127), random(3)]}, "do not fit: 3 × 127 instead of 3 × 128"),
        ({"class": [random(128, 3), random(3)]}, "do not fit: 128 × 3 instead of 3 × 128"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, weights, words):
    path = tmp_path / "net.prototxt"
    text = CNN[: CNN.index('layer { name: "conv"')] + CNN[CNN.index('layer { name: "class"') :]
    text = text.replace('bottom: "pool"', 'bottom: "image"').replace("dim: 1 dim: 8 dim: 8", "dim: 2 dim: 8 dim: 8")
    write_network(path, text, weights)
    with pytest.raises(ModelFileError, match=words) as caught:
        load(path)
    assert "net.caffemodel" in str(caught.value)


def test_files_that_are_missing_cut_or_mistaken(zoo, tmp_path, refused):
    text, weights = zoo("cnn_caffe"), zoo("cnn_caffe").with_suffix(".caffemodel")
    path = tmp_path / "net.prototxt"
    shutil.copy(text, path)
    refused(path, ModelFileError, "must be beside it in a .caffemodel file, and there is none")
    (tmp_path / "net.caffemodel").write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"net\.caffemodel: truncated or damaged"):
        load(path)
    refused(tmp_path / "net.caffemodel", ModelFileError, "the weights of a Caffe network", "net.prototxt")
    for name in ("a", "b"):
        shutil.copy(weights, tmp_path / f"{name}.caffemodel")
    path = path.rename(tmp_path / "other.prototxt")
    refused(path, ModelFileError, "3 are: a.caffemodel, b.caffemodel, net.caffemodel")


def test_values_that_are_no_numbers_are_flagged(tmp_path):
    weights = random(5, 168)
    weights[2, 3] = np.inf
    settings = "inner_product_param { num_output: 5 bias_term: false }"
    write_network(tmp_path / "net.prototxt", INPUT + layer("InnerProduct", settings), {"one": [weights]})
    assert "the weights of the layer 'one' hold infinite values" in load(tmp_path / "net.prototxt").warnings[0]


BRANCHES = """name: "ssd"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "parts" type: "Slice" bottom: "conv" top: "low" top: "high" slice_param { axis: 1 slice_point: 1 } }
layer { name: "loc" type: "InnerProduct" bottom: "high" top: "loc" inner_product_param { num_output: 5 } }
layer { name: "soft" type: "Softmax" bottom: "loc" top: "conf" }
layer { name: "prior" type: "PriorBox" bottom: "conv" bottom: "data" top: "prior" prior_box_param { min_size: 30.0 } }
layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "boxes" }
"""
CONV, CONV_BIAS, LOC, LOC_BIAS = random(4, 3, 3, 3), random(4), random(5, 48), random(5)
PICTURES = RNG.normal(size=(2, 3, 6, 6)).astype(np.float32)


@pytest.fixture
def branches(tmp_path):
    path = tmp_path / "ssd.prototxt"
    write_network(path, BRANCHES, {"conv": [CONV, CONV_BIAS], "loc": [LOC, LOC_BIAS]})
    return path


def by_hand(pictures):
    """What each blob of the network holds, by the definitions of its layers."""
    windows = np.lib.stride_tricks.sliding_window_view(pictures, (3, 3), (2, 3))
    conv = np.maximum(np.einsum("nchwij,ocij->nohw", windows, CONV) + CONV_BIAS[:, None, None], 0)
    high = conv[:, 1:]
    loc = high.reshape(len(pictures), -1) @ LOC.T + LOC_BIAS
    exp = np.exp(loc - loc.max(1, keepdims=True))
    return {
        "data": pictures,
        "conv": conv,
        "low": conv[:, :1],
        "high": high,
        "loc": loc,
        "conf": exp / exp.sum(1, keepdims=True),
    }


@pytest.mark.parametrize(
    ("inputs", "outputs", "taken", "layers"),
    [
        ([], ["loc", "conf"], ["data"], ["conv", "relu", "parts", "loc", "soft"]),
        ([], ["conf", "low", "conv"], ["data"], ["conv", "relu", "parts", "loc", "soft"]),
        (["conv"], ["conf"], ["conv"], ["parts", "loc", "soft"]),
        (["high"], ["loc"], ["high"], ["loc"]),
        (["data"], ["conv"], ["data"], ["conv", "relu"]),
    ],
)
def test_a_network_is_cut_between_blobs_that_are_named(branches, inputs, outputs, taken, layers):
    """Before layers that are refused, in any order, and where others read the outputs as well."""
    values = by_hand(PICTURES)
    model = load(branches, inputs=inputs, outputs=outputs)
    assert [spec.name for spec in model.inputs] == taken
    assert [(s.name, s.shape) for s in model.outputs] == [(n, (None, *values[n].shape[1:])) for n in outputs]
    assert [layer.name for layer in model.layers][: len(layers)] == layers
    assert {layer.type for layer in model.layers[len(layers) :]} <= {"Split", "Silence"}
    assert (model.name, model.origin) == ("ssd", str(branches))
    written_again = write(read_net(Path(model.path))).model()
    session = onnxruntime.InferenceSession(written_again.SerializeToString())
    for name, found in zip(outputs, session.run(None, {name: values[name] for name in taken}), strict=True):
        np.testing.assert_allclose(found, values[name], rtol=1e-4, atol=1e-5)
    kept = set(read_weights(memoryview(Path(model.extra_files[0]).read_bytes())))
    assert kept == {"conv", "loc"} & set(layers)


def test_outputs_that_are_not_named_are_what_the_inputs_lead_to(zoo, tmp_path):
    model = load(zoo("cnn_caffe"), inputs=["pool"])
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == [
        "pool: float32 (?, 8, 4, 4)",
        "prob: float32 (?, 3)",
    ]
    again = load(zoo("cnn_caffe"), inputs=["pool"])
    assert (again.path, again.digest) == (model.path, model.digest)


def test_a_text_of_before_2014_is_cut(tmp_path):
    old = INPUT + "".join(
        f'layers {{ name: "{name}" type: {kind} bottom: "{bottom}" top: "{top}" }}\n'
        for name, kind, bottom, top in (("a", "RELU", "x", "x"), ("b", "TANH", "x", "y"), ("c", "SIGMOID", "y", "z"))
    )
    write_network(tmp_path / "old.prototxt", old, {})
    model = load(tmp_path / "old.prototxt", outputs=["z", "y"])
    session = onnxruntime.InferenceSession(write(read_net(Path(model.path))).model().SerializeToString())
    z, y = session.run(None, {"x": X})
    np.testing.assert_allclose(y, np.tanh(np.maximum(X, 0)), atol=1e-6)
    np.testing.assert_allclose(z, 1 / (1 + np.exp(-y)), atol=1e-6)


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ({"outputs": ["confs"]}, r"outputs: the network has no blob 'confs'.* conf"),
        ({"inputs": ["image"]}, r"inputs: the network has no blob 'image'"),
        ({"inputs": ["loc", "data"], "outputs": ["conf"]}, "The outputs do not depend on the input 'data'"),
        ({"inputs": ["low"], "outputs": ["conf"]}, "The outputs do not depend on the input 'low'"),
        ({"inputs": ["high", "data"], "outputs": ["low", "loc"]}, "The input 'high' is made by the layer 'parts'"),
        ({"inputs": ["loc"], "outputs": ["conf", "low"]}, "also need the input 'data'"),
        ({"outputs": ["data"]}, "The output 'data' is an input as well"),
        ({"outputs": ["loc", "loc"]}, "must name each blob once"),
        ({"outputs": ["boxes"]}, r"'prior' \(PriorBox\) is of a type"),
        ({"inputs": ["prior"], "outputs": ["boxes"]}, r"also need the input"),
        ({"inputs": ["low"], "outputs": ["low"]}, "is an input as well"),
    ],
)
def test_blobs_that_do_not_fit(branches, ends, words):
    with pytest.raises((SettingError, UnsupportedModelError), match=words):
        load(branches, **ends)


def test_a_text_that_is_written_is_read_the_same():
    escapes = """name: 'a"b' other: "it\\'s \\"so\\"" kind: MAX values: [1, -2.5e-7, 3f] inner < deep { empty {} } >"""
    for text in (CNN, BRANCHES, escapes):
        again = parse(written(parse(text)))
        assert again == parse(text)
        assert written(again) == written(parse(text))
    assert "kind: MAX" in written(parse(escapes))


def test_layers_that_are_refused_say_how_to_leave_them_out(branches):
    with pytest.raises(UnsupportedModelError, match="PriorBox") as caught:
        load(branches)
    assert "outputs=[" in caught.value.remedy

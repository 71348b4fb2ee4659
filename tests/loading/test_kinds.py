"""What layers do is the same whatever format a model is in."""

from collections import Counter
from itertools import combinations
from typing import get_args

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk
from deploykit.core.layers.kinds import WORK, LayerKind
from deploykit.core.model import Layer, Model
from deploykit.loading._contract import FORMATS


@pytest.mark.parametrize("kind", ["cnn_keras", "cnn_h5", "cnn_saved_model", "cnn_tflite"])
def test_one_model_has_the_same_heavy_layers_in_every_format(zoo, kind):
    """A convolution, a depthwise one, a dense layer, a sum of two branches and pooling, which TFLite writes as MEAN."""
    layers = dk.load(zoo(kind)).layers
    found = Counter(layer.kind for layer in layers)
    assert (found["convolution"], found["depthwise"], found["dense"]) == (1, 1, 1)
    assert found["arithmetic"] >= 1
    pooled = [layer for layer in layers if layer.kind == "pooling" or layer.type.upper() == "MEAN"]
    assert len(pooled) == 1
    assert not {"", "other"} & found.keys()


@pytest.mark.parametrize(("groups", "kind"), [(1, "convolution"), (2, "convolution"), (4, "depthwise")])
@pytest.mark.parametrize("quantized", [False, True])
def test_a_convolution_with_a_filter_for_each_channel_is_depthwise(tmp_path, groups, kind, quantized):
    filters = np.ones((8, 4 // groups, 3, 3), np.int8 if quantized else np.float32)
    nodes = [helper.make_node("Conv", ["x", "real" if quantized else "w"], ["y"], "conv", group=groups)]
    weights = [numpy_helper.from_array(filters, "w")]
    if quantized:
        nodes.insert(0, helper.make_node("DequantizeLinear", ["w", "s"], ["real"], "weights"))
        weights.append(numpy_helper.from_array(np.float32(0.1), "s"))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, s, s]) for n, c, s in (("x", 4, 8), ("y", 8, 6)))
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), tmp_path / "m.onnx")
    assert [x.kind for x in dk.load(tmp_path / "m.onnx").layers] == [*(["conversion"] if quantized else []), kind]


@pytest.mark.parametrize(
    ("form", "kind", "expected"),
    [
        ("onnx", "com.microsoft.FusedConv", "convolution"),
        ("onnx", "com.microsoft.QAttention", "attention"),
        ("onnx", "mine.Own", "other"),
        ("keras", "Bidirectional", "recurrent"),
        ("keras", "Embedding", "embedding"),
        ("keras", "my_layers>Conv2D", "other"),
        ("tflite", "FULLY_CONNECTED", "dense"),
        ("saved_model", "FusedBatchNormV3", "normalization"),
    ],
)
def test_a_type_means_a_kind(form, kind, expected):
    assert FORMATS.get(form).kind_of(Layer("layer", kind)) == expected


@pytest.mark.parametrize("form", list(FORMATS.all()), ids=lambda form: form.name)
def test_the_kinds_of_a_format_are_known_and_have_no_type_in_common(form):
    assert form.kinds.keys() <= set(get_args(LayerKind)) - {"", "other"}
    assert not [pair for pair in combinations(form.kinds, 2) if form.kinds[pair[0]] & form.kinds[pair[1]]]
    wanted = ("dense",) if form.name == "pmml" else ("convolution", "dense", "recurrent", "activation")
    assert all(form.kinds.get(kind) for kind in wanted)


def test_what_keras_offers_has_a_kind(made):
    """Layers that Keras has and the table lacks compute, wrap others or prepare data."""
    classes = made("layer_names")["names"]
    other = {name for name in classes if FORMATS.get("keras").kind_of(Layer("x", name)) == "other"}
    words = ("Conv", "Dense", "Attention", "LSTM", "GRU", "Norm", "Pool", "Embedding")
    assert [name for name in other if any(word in name for word in words)] == []


def test_summaries_that_were_stored_before_there_were_kinds_can_be_read(zoo):
    data = dk.load(zoo("cnn_onnx")).to_json()
    for layer in data["layers"]:
        del layer["kind"]
    assert {layer.kind for layer in Model.from_json(data).layers} == {""}
    assert "" not in WORK

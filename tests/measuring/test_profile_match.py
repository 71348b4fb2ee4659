"""Nodes of two graphs, each fused in its own way, are matched to the layers of one model."""

import pytest

from deploykit.measuring.profile_match import Profile, compare
from deploykit.runtimes._profile import NodeTime


def node(name, operator, kind, us, shape=(), **more):
    return NodeTime(name, operator, operator, kind, us, shape=shape, **more)


FLOAT = (
    node("net/block/relu_0", "Conv", "conv", 20, (1, 8, 14, 14)),
    node("net/block/pool", "MaxPool", "compute", 5, (1, 8, 7, 7)),
    node("net/block/relu_1", "Conv", "conv", 60, (1, 16, 7, 7)),
    node("ReorderOutput", "ReorderOutput", "move", 3, (1, 16, 7, 7)),
    node("net/head/dense", "Gemm", "matmul", 10, (1, 3)),
)


def test_fused_graphs_are_matched_by_name_then_by_order_and_shape():
    """Convolutions that took over the name of the activation fused into them, channels last, conversions between."""
    candidate = (
        node("image_q", "QuantizeLinear", "convert", 4, (1, 14, 14, 1)),
        node("Conv_1", "QLinearConv", "conv", 50, (1, 14, 14, 8), precision="int8"),
        node("net/block/pool", "NhwcMaxPool", "compute", 6, (1, 7, 7, 8), precision="int8"),
        node("Conv_2", "QLinearConv", "conv", 15, (1, 7, 7, 16), precision="int8", trait="signed"),
        node("net/head/dense", "QGemm", "matmul", 6, (1, 3), precision="int8"),
        node("out", "DequantizeLinear", "convert", 2, (1, 3)),
    )
    found = compare(Profile(FLOAT, 200.0), Profile(candidate, 150.0))
    by_node = {layer.node: layer for layer in found.layers}
    assert (by_node["Conv_1"].name, by_node["Conv_1"].float_ms, by_node["Conv_1"].ms) == ("relu_0", 0.020, 0.050)
    assert (by_node["Conv_2"].name, by_node["Conv_2"].ratio) == ("relu_1", 0.25)
    assert by_node["Conv_2"].trait == "signed"
    assert by_node["net/head/dense"].name == "net/head/dense"  # another folder: the shared beginning is not its own
    assert by_node["image_q"].float_ms is None
    assert by_node["out"].float_ms is None
    assert by_node["ReorderOutput"].ms is None
    assert found.outside_ms == pytest.approx(0.150 - 0.083)


def test_a_layer_that_is_gone_moves_no_other():
    """The first convolution was removed: the second is still the second, told by its shape."""
    candidate = (node("x", "Conv", "conv", 30, (1, 16, 7, 7)), node("y", "Gemm", "matmul", 5, (1, 3)))
    found = compare(Profile(FLOAT, 200.0), Profile(candidate, 50.0))
    assert [(x.node, x.float_ms) for x in found.layers if x.ms is not None] == [("x", 0.060), ("y", 0.010)]


def test_the_profilers_own_time_is_taken_off():
    """Small nodes cost the profiler more than the model: 4 µs each here, told by the time without it."""
    measured = tuple(node(str(i), "Relu", "compute", 4 + us) for i, us in enumerate((0, 1, 1, 50)))
    found = compare(Profile(measured, 52.0), Profile(measured, 52.0))
    assert [layer.ms for layer in found.layers] == pytest.approx([0.0, 0.001, 0.001, 0.050])
    noisy = compare(Profile(measured, 26.0), Profile(measured, 26.0))
    assert sum(layer.ms for layer in noisy.layers) == pytest.approx(0.026)
    assert noisy.layers[3].ms == pytest.approx(0.025)

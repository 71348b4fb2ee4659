"""Which nodes of two graphs belong together, and how far tensors are apart."""

import itertools

import numpy as np
import pytest

import deploykit as dk
from deploykit.loading._nodes import GraphNode, NodeWeight
from deploykit.measuring.graphs.diff import lay_over
from deploykit.measuring.graphs.errors import relative_error
from deploykit.measuring.graphs.fusing import fused
from deploykit.measuring.graphs.pairing import pair
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task
from deploykit.testing import models

RNG = np.random.default_rng(0)


def node(name, operator, kind, inputs, outputs, digest="", **more):
    weights = (NodeWeight(f"{name}_w", (8, 8), "float32", digest),) if digest else ()
    return GraphNode(name, operator, kind, tuple(inputs), tuple(outputs), weights, **more)


def chain(*parts):
    """Nodes in a row: (name, operator, kind, digest)."""
    tensors = ["x", *(f"{name}_out" for name, *_ in parts)]
    return [node(n, o, k, [tensors[i]], [tensors[i + 1]], d) for i, (n, o, k, d) in enumerate(parts)]


CONV = ("Conv", "convolution")
RELU = ("Relu", "activation")


def test_equal_weights_count_more_than_equal_names():
    """An exporter numbers its nodes: after a cut, ``conv_1`` is what ``conv_2`` was."""
    old = chain(("conv_0", *CONV, "a"), ("conv_1", *CONV, "b"), ("conv_2", *CONV, "c"))
    new = chain(("conv_0", *CONV, "a"), ("conv_1", *CONV, "c"))
    assert pair(old, new, same_format=True) == {0: (0, "name"), 2: (1, "weights")}


def test_nodes_without_names_are_found_beside_those_that_are_known():
    old = chain(("a", *CONV, "1"), ("b", *RELU, ""), ("c", "MaxPool", "pooling", ""), ("d", *CONV, "2"))
    new = chain(("k", *CONV, "1"), ("l", *RELU, ""), ("m", "MaxPool", "pooling", ""), ("n", *CONV, "2"))
    found = pair(old, new, same_format=True)
    assert found == {0: (0, "weights"), 1: (1, "structure"), 2: (2, "structure"), 3: (3, "weights")}


def test_what_only_its_order_shows_is_marked_as_a_guess():
    old = chain(("a", *CONV, "1"), ("b", *CONV, "2"))
    new = chain(("k", *CONV, "3"), ("l", *CONV, "4"))
    assert pair(old, new, same_format=True) == {0: (0, "order"), 1: (1, "order")}


def test_a_converter_puts_the_names_of_all_layers_into_that_of_one_operator():
    old = chain(("conv", "Conv2D", "convolution", "1"), ("norm", "BatchNormalization", "normalization", "2"),
                ("relu", "ReLU", "activation", ""))  # fmt: skip
    new = chain(("cnn/relu/Relu;cnn/norm/add;cnn/conv/Conv2D", "CONV_2D", "convolution", "3"))
    pairs = pair(old, new, same_format=False)
    assert pairs == {0: (0, "layer")}
    assert fused(old, new, pairs, same_format=False) == {1: 0, 2: 0}


def test_a_removed_activation_is_not_taken_for_a_fused_one():
    """The weights before it are as they were: nothing has taken it in."""
    old = chain(("a", *CONV, "1"), ("b", *RELU, ""), ("c", *CONV, "2"))
    new = chain(("a", *CONV, "1"), ("c", *CONV, "2"))
    pairs = pair(old, new, same_format=True)
    assert fused(old, new, pairs, same_format=True) == {}
    rows = lay_over(old, new, pairs, {}, [{}, {}], same_format=True)
    assert [row.state for row in rows] == ["same", "removed", "changed"]
    assert rows[2].changes == ("reads a instead of b",)


def test_values_contradict_what_the_place_suggests():
    """The convolution has other weights and the activation is gone; its output is not clipped: it was cut."""
    old = chain(("a", *CONV, "1"), ("b", *RELU, ""), ("c", *CONV, "2"))
    new = chain(("a", *CONV, "9"), ("c", *CONV, "2"))
    pairs = pair(old, new, same_format=True)
    gone = fused(old, new, pairs, same_format=True)
    assert gone == {1: 0}
    raw = RNG.normal(size=(4, 8))
    before = {"a_out": raw, "b_out": np.maximum(raw, 0), "c_out": raw}
    for after, state in ((raw * 1.01, "removed"), (np.maximum(raw * 1.01, 0), "fused")):
        rows = lay_over(old, new, pairs, gone, [before, {"a_out": after, "c_out": raw}], same_format=True)
        assert rows[1].state == state


def test_relative_error_against_numpy():
    old = RNG.normal(size=(3, 4, 5, 5)).astype(np.float32)
    new = old + RNG.normal(0, 0.01, old.shape).astype(np.float32)
    expected = np.linalg.norm((new - old).astype(float)) / np.linalg.norm(old.astype(float))
    error, left_out = relative_error(old, new)
    assert (error, left_out) == (pytest.approx(expected, rel=1e-5), 0)
    assert relative_error(old, np.moveaxis(new, 1, -1))[0] == pytest.approx(expected, rel=1e-5)
    assert relative_error(old, np.full_like(old, np.nan)) is None
    assert relative_error(old, new[:, :, :2, :3]) is None


def test_channels_that_are_left_are_those_with_the_smallest_error_in_order():
    old = RNG.normal(size=(2, 6, 3))
    for kept in itertools.combinations(range(6), 3):
        new = old[:, kept] + RNG.normal(0, 0.3, (2, 3, 3))
        least = min(itertools.combinations(range(6), 3), key=lambda c: np.linalg.norm(new - old[:, c]))
        expected = np.linalg.norm(new - old[:, least]) / np.linalg.norm(old[:, least])
        assert relative_error(old, new) == (pytest.approx(expected), 3)


def test_a_keras_file_beside_its_tflite_file_is_paired_by_the_names_of_layers(tmp_path):
    keras, tflite = (models.build(kind, tmp_path) for kind in ("cnn_keras", "cnn_tflite"))
    x = RNG.random((40, 8, 8, 1)).astype(np.float32)
    model = dk.load(keras)
    data = dk.Dataset.from_arrays(x, calibration_size=8).check(model)
    data.save(tmp_path / "data")
    sides = {"before": {"path": str(keras), "format": "keras"}, "after": {"path": str(tflite), "format": "tflite"}}
    arguments = {
        **sides, "data": str(tmp_path / "data"), "contract": data.checked.to_json(), "imports": [], "trusted": False,
    }  # fmt: skip
    found = shared().run(Task("deploykit.measuring.graphs.diff:diff_graphs", arguments, "tensorflow"))
    assert found["problem"] == ""
    rows = {row["before"]["name"]: row for row in found["rows"] if row["before"]}
    assert rows["conv"]["matched"] == "layer"
    assert [rows[name]["state"] for name in ("norm", "relu")] == ["fused", "fused"]
    assert rows["norm"]["into"] == rows["relu"]["into"] == rows["conv"]["after"]["name"]
    for name in ("conv", "depthwise", "add", "pool", "class"):
        assert rows[name]["after"] is not None, name
    assert rows["conv"]["error"] < 1e-5
    assert rows["add"]["error"] < 1e-5

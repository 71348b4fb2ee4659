import numpy as np
import pytest

from deploykit.surgery import layer_times
from deploykit.surgery.channels import keras_trace, labels
from deploykit.surgery.channels.budget import Expense, spread
from deploykit.surgery.channels.onnx_cut import cut
from deploykit.surgery.channels.onnx_trace import trace
from deploykit.surgery.layer_times import Times
from deploykit.surgery.reconstruction import keras_linear, onnx_linear
from tests.surgery import graphs, keras_models


def weighed(model):
    """A clock of which every run takes as long: a microsecond a weight, and five for everything else."""
    return 1e-6 * sum(w.size for w in graphs.weights(model).values() if w.ndim > 1) + 5e-6


def silent(*_words):
    """No progress."""


def test_costs_lie_on_straight_lines_between_points():
    expense = Expense(({0: 8}, {1: 4, -1: 4}), 2.0, ((0.25, 3.0), (0.5, 3.5), (1.0, 10.0)))
    assert expense.cost([1.0, 1.0]) == 20.0
    assert expense.cost([0.5, 1.0]) == 7.0
    assert expense.cost([1.0, 0.5]) == pytest.approx(2 * (3.5 + 0.5 * 6.5))  # three quarters are left
    assert expense.cost([0.375, 1.0]) == pytest.approx(2 * 3.25)
    assert expense.cost([0.125, 1.0]) == pytest.approx(2 * 1.5)


@pytest.mark.parametrize("name", ["chain", "residual", "depthwise", "grouped", "attention"])
def test_layers_are_timed_by_what_is_left_of_their_weights(name, monkeypatch):
    monkeypatch.setattr(layer_times, "seconds", weighed)
    traced = trace(graphs.graph(name))
    layers = list(onnx_linear.layers(traced).values())
    times = layer_times.measure(traced, layers, silent)
    assert times.layers.keys() == {layer.node.output[0] for layer in layers}
    for layer in layers:
        curve = times.layers[layer.node.output[0]]
        assert [left for left, _ in curve] == sorted({left for left, _ in curve})
        assert curve[-1] == (1.0, pytest.approx(1e-6 * layer.weights.size))
        np.testing.assert_allclose([t for _, t in curve], [1e-6 * left * layer.weights.size for left, _ in curve])
    assert Times.from_json(times.to_json()) == times


@pytest.mark.parametrize("name", ["chain", "residual", "depthwise", "grouped"])
def test_layers_of_both_formats_can_be_run_alone(name):
    """With inputs as wide as they are; no clock is looked at."""
    if name == "chain":
        traced = trace(graphs.graph(name))
        layers = onnx_linear.layers(traced)
    else:
        traced = keras_trace.trace(keras_models.build(name))
        layers = keras_linear.layers(traced.flat)
    for layer in layers.values():
        model, left = layer_times._alone(traced, layer, 1.0)
        assert left == 1.0
        shape = layer_times.opened(model).run(None, {"x": layer_times._noise(_input(model))})[0].shape
        expected = [size or shape[k] for k, size in enumerate(traced.shapes[layer.node.output[0]])]
        if layer.channels < 0 and not layer.is_product:
            expected = [expected[0], expected[-1], *expected[1:-1]]
        assert list(shape[1:]) == expected[1:]


def _input(model):
    return [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]


def test_the_sum_of_layers_is_brought_to_what_the_model_takes(monkeypatch):
    """Here it takes twice as long as its layers alone, and 5 µs that stay."""
    monkeypatch.setattr(layer_times, "seconds", weighed)
    traced = trace(graphs.graph("chain"))
    layers = list(onnx_linear.layers(traced).values())
    times = layer_times.measure(traced, layers, silent)
    monkeypatch.setattr(layer_times, "seconds", lambda model: 2 * (weighed(model) - 5e-6) + 5e-6)
    found = layer_times.fitted(times, traced, layers, lambda gone: cut(traced, set(gone)))
    assert found.rest == pytest.approx(5e-6)
    rankings = labels.ranked(traced.groups(), labels.magnitudes(traced.labels, traced.made, traced.constants, 2))
    parts = found.expenses(traced, layers, rankings)
    counts = spread(rankings, parts, 0.4)
    shares = [1.0 - n / len(r.group.components) for n, r in zip(counts, rankings, strict=True)]
    smaller = cut(traced, {c for n, r in zip(counts, rankings, strict=True) for c, _ in r.order[:n]})
    expected = sum(part.cost(shares) for part in parts)
    assert expected == pytest.approx(2 * (weighed(smaller) - 5e-6) + 5e-6)
    assert expected <= 0.6 * sum(part.cost([1.0] * len(shares)) for part in parts)


def test_a_model_that_cannot_be_run_by_itself_leaves_the_sum_of_its_layers():
    traced = trace(graphs.graph("chain"))
    layers = list(onnx_linear.layers(traced).values())
    times = layer_times.measure(traced, layers, silent, shares=(1.0, 0.5))
    assert layer_times.fitted(times, traced, layers, lambda gone: None) is times

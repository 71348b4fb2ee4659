import keras
import numpy as np
import onnx
import pytest

from deploykit.surgery.channels.keras_trace import trace as trace_keras
from deploykit.surgery.channels.onnx_trace import trace
from deploykit.surgery.reconstruction import keras_damage, onnx_damage, taylor
from deploykit.surgery.reconstruction.walk import Examples
from deploykit.training.objective import Objective
from deploykit.training.targets import Labels, Several
from tests.surgery import graphs, keras_models


def squares(count):
    """The mean square of the first output."""
    return Several({0: Labels(Objective("MeanSquaredError"), np.zeros((count, 1), np.float32))})


def dense(x, w1, b1, w2):
    """A layer with ReLU and one without, as ONNX."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> net (float[n, 3] x) => (float[n, 4] y) {
        a = Gemm(x, w1, b1)
        b = Relu(a)
        y = MatMul(b, w2) }"""
    )
    for name, value in (("w1", w1), ("b1", b1), ("w2", w2)):
        model.graph.initializer.append(graphs.numpy_helper.from_array(value, name))
    return trace(model), Examples({"x": x})


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    return [rng.normal(0.0, 1.0, size).astype(np.float32) for size in ((20, 3), (3, 5), (5,), (5, 4))]


def closed_form(x, w1, b1, w2, y):
    """mean over examples of |h · ∂CE/∂h| for the classes y, by NumPy."""
    h = np.maximum(x @ w1 + b1, 0.0)
    p = np.exp(h @ w2)
    p /= p.sum(1, keepdims=True)
    return np.abs(h * ((p - np.eye(w2.shape[1])[y]) @ w2.T)).mean(0)


def test_a_small_onnx_model_has_the_scores_of_the_closed_form(weights):
    y = np.random.default_rng(1).integers(0, 4, len(weights[0]))
    traced, examples = dense(*weights)
    goal = Several({0: Labels(Objective("SparseCategoricalCrossentropy", from_logits=True), y)})
    found = onnx_damage.gradients(traced, examples, goal)
    components = traced.labels.roots(traced.axes["w1"][1])
    np.testing.assert_allclose([found[int(c)] for c in components], closed_form(*weights, y), rtol=1e-4)


def test_a_small_keras_model_has_the_scores_of_the_closed_form(weights):
    x, w1, b1, w2 = weights
    features = keras.Input((3,))
    model = keras.Model(features, keras.layers.Dense(4, use_bias=False)(keras.layers.Dense(5, "relu")(features)))
    model.set_weights([w1, b1, w2])
    y = np.random.default_rng(1).integers(0, 4, len(x))
    traced = trace_keras(model)
    goal = Several({0: Labels(Objective("SparseCategoricalCrossentropy", from_logits=True), y)})
    found = keras_damage.gradients(traced, Examples({traced.flat.inputs[0]: x}), goal)
    components = traced.labels.roots(traced.made[0][1])
    np.testing.assert_allclose([found[int(c)] for c in components], closed_form(*weights, y), rtol=1e-4)


@pytest.mark.parametrize("name", ["chain", "residual", "attention", "attention_split"])
def test_scores_are_what_little_changes_of_the_gates_change_of_the_loss(name):
    """By ONNX Runtime, which computes no gradients: central differences."""
    traced, x = trace(graphs.graph(name)), graphs.examples(name, 4)
    norms = dict.fromkeys((c for g in traced.groups() for c in g.components), 0.0)
    places = taylor.gates(traced, onnx_damage._readers(traced))
    session = graphs.onnxruntime.InferenceSession(
        onnx_damage.gated(traced, places, 1).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ones = {f"{n}/gate": np.ones(taylor.shape(traced.axes[n], k, 1), np.float32) for n, k in places.items()}
    expected, step = dict(norms), 1e-2
    for tensor, place in places.items():
        roots = traced.labels.roots(traced.axes[tensor][place])
        for component in set(roots) - {0}:
            each = []
            for one in x:
                losses = []
                for sign in (1, -1):
                    gates = {key: value.copy() for key, value in ones.items()}
                    np.moveaxis(gates[f"{tensor}/gate"], place, 0)[roots == component] += sign * step
                    losses.append(float(np.square(session.run(None, {"x": one[None], **gates})[0]).mean()))
                each.append(abs(losses[0] - losses[1]) / (2 * step))
            expected[int(component)] += float(np.mean(each))
    found = onnx_damage.gradients(traced, Examples({"x": x}), squares(len(x)))
    keys = sorted(norms)
    scale = max(expected.values())
    np.testing.assert_allclose([found[c] for c in keys], [expected[c] for c in keys], rtol=0.02, atol=2e-3 * scale)


def test_each_example_counts_for_itself_in_a_batch_that_the_model_fixes():
    model, x = graphs.graph("chain"), graphs.examples("chain", 6)
    free = trace(model)
    apart = onnx_damage.gradients(free, Examples({"x": x}), squares(6))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    traced = trace(model)
    found = onnx_damage.gradients(traced, Examples({"x": x}, batch=2), squares(6))
    assert found.keys() == apart.keys()
    half = [2 * found[c] for c in apart]  # the loss is the mean of two examples
    np.testing.assert_allclose(half, list(apart.values()), rtol=1e-4)


@pytest.mark.parametrize("name", ["residual", "depthwise", "nested", "two_inputs", "attention", "masked"])
def test_keras_models_are_scored_alike_each_time(name):
    model = keras_models.build(name)
    traced, x = trace_keras(model), keras_models.examples(model, 5)
    examples = Examples(dict(zip(traced.flat.inputs, x, strict=True)))
    once, twice = (keras_damage.gradients(traced, examples, squares(5)) for _ in range(2))
    assert once == twice
    for group in traced.groups():
        assert any(once[c] for c in group.components)

import itertools

import numpy as np
import onnx
import onnx.parser
import pytest

from deploykit.surgery.channels import labels
from deploykit.surgery.channels.onnx_cut import cut
from deploykit.surgery.channels.onnx_trace import trace
from deploykit.surgery.reconstruction import least_squares, onnx_damage
from deploykit.surgery.reconstruction.least_squares import Reader, removal_order, solve, solve_each
from deploykit.surgery.reconstruction.onnx_linear import linear
from deploykit.surgery.reconstruction.onnx_solve import reconstruct
from deploykit.surgery.reconstruction.onnx_walk import Walk
from deploykit.surgery.reconstruction.walk import Examples
from tests.surgery import graphs


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(0.0, 1.0, (200, 6)) @ rng.normal(0.0, 1.0, (6, 6)) + 3.0
    return x, rng.normal(0.0, 1.0, (6, 4)), rng.normal(0.0, 1.0, (200, 4))


def closed_form(x, y, start, damping, *, bias):
    """The same minimum by an augmented system that NumPy solves."""
    center, middle = (x.mean(0), y.mean(0)) if bias else (0.0, 0.0)
    strength = np.sqrt(damping * np.square(x - center).sum() / x.shape[1] + 1e-9)
    rows = np.vstack([x - center, strength * np.eye(x.shape[1])])
    found = np.linalg.lstsq(rows, np.vstack([y - middle, strength * start]))[0]
    return found, middle - center @ found if bias else np.zeros(y.shape[1])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("samples", [200, 5])
def test_solved_weights_are_the_minimum(problem, bias, samples, monkeypatch):
    monkeypatch.setattr(least_squares, "_STRENGTHS", (0.01,))
    x, start, y = (problem[0][:samples], problem[1], problem[2][:samples])
    weights, shift = solve(x, y, start, bias=bias)
    expected = closed_form(x, y, start, least_squares.DAMPING if samples == 200 else 0.01, bias=bias)
    np.testing.assert_allclose(weights, expected[0], atol=1e-8)
    np.testing.assert_allclose(shift, expected[1], atol=1e-7)


def test_few_samples_are_not_fitted_exactly():
    rng = np.random.default_rng(3)
    x, truth = rng.normal(0.0, 1.0, (60, 50)), rng.normal(0.0, 1.0, (50, 1))
    start = truth + rng.normal(0.0, 0.1, truth.shape)
    noisy = x @ truth + rng.normal(0.0, 2.0, (60, 1))
    weights, _ = solve(x, noisy, start, bias=True)
    exact, _ = closed_form(x, noisy, start, least_squares.DAMPING, bias=True)
    assert np.linalg.norm(weights - truth) < 0.5 * np.linalg.norm(exact - truth)


def test_many_small_problems_are_solved_as_one_by_one(problem):
    x, start, y = problem
    inputs = np.stack([x[:, :3], x[:, 3:]])
    weights, shift = solve_each(inputs, y[:, :2].T, np.stack([start[:3, 0], start[3:, 1]]))
    for k, part in enumerate((slice(0, 3), slice(3, 6))):
        one, constant = solve(x[:, part], y[:, k : k + 1], start[part, k : k + 1], bias=True)
        np.testing.assert_allclose(weights[k], one[:, 0], atol=1e-8)
        np.testing.assert_allclose(shift[k], constant[0], atol=1e-7)


def least_loss(x, weights, kept):
    """Variance of the outputs that no weights on the kept inputs can give."""
    x = x - x.mean(0)
    y = x @ weights
    return np.square(y - x[:, kept] @ np.linalg.lstsq(x[:, kept], y)[0]).sum() / np.square(y).sum()


def test_costs_are_what_the_best_other_weights_cannot_give(problem, monkeypatch):
    monkeypatch.setattr(least_squares, "_TRUST", 1e12)
    monkeypatch.setattr(least_squares, "DAMPING", 1e-12)
    x, weights, _ = problem
    components = np.array([1, 2, 3])  # two features each
    reader = Reader(components, (1, 2, 3), x, weights)
    features = np.arange(6).reshape(3, 2)
    expected = {c: least_loss(x, weights, np.delete(features, c - 1, 0).reshape(-1)) for c in (1, 2, 3)}
    found = reader.costs()
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[c] for c in (1, 2, 3)], [expected[c] for c in (1, 2, 3)], rtol=1e-5)
    reader.remove({2})
    both = least_loss(x, weights, features[2])
    np.testing.assert_allclose(reader.costs()[1], both - expected[2], rtol=1e-4)


def test_components_go_in_the_order_of_the_least_damage(problem, monkeypatch):
    monkeypatch.setattr(least_squares, "_TRUST", 1e12)
    monkeypatch.setattr(least_squares, "DAMPING", 1e-12)
    x, weights, _ = problem
    order = removal_order((1, 2, 3, 4, 5, 6), [Reader(np.arange(1, 7), range(1, 7), x, weights)])
    assert len(order) == 5
    gone = []
    for component, damage in order:
        left = [c for c in range(1, 7) if c not in gone]
        best = min(left, key=lambda c: least_loss(x, weights, [k - 1 for k in left if k != c]))
        assert component == best
        gone.append(component)
        np.testing.assert_allclose(damage, least_loss(x, weights, [k - 1 for k in left if k != best]), rtol=1e-4)


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_inputs_of_a_layer_times_its_weights_are_its_outputs(name):
    traced, x = trace(graphs.graph(name)), graphs.examples(name, 3)
    walk = Walk(traced.model, Examples({"x": x}))
    seen = 0
    for node in traced.model.graph.node:
        walk.step()
        layer = linear(node, traced.constants)
        if layer is not None:
            output = walk.values[node.output[0]]
            places = layer.places(output.shape, np.random.default_rng(0))
            inputs, matrices = layer.inputs(walk.values[node.input[0]], output.shape, places), layer.matrices()
            width = inputs.shape[1] // len(matrices)
            parts = [
                inputs[:, k * width : (k + 1) * width].reshape(len(places), -1) @ matrix
                for k, matrix in enumerate(matrices)
            ]
            bias = traced.constants[node.input[2]] if len(node.input) > 2 else 0.0
            np.testing.assert_allclose(np.hstack(parts) + bias, layer.answers(output, places), atol=1e-4)
            np.testing.assert_array_equal(layer.restored(matrices), layer.weights)
            seen += 1
        walk.forget()
    assert seen


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_padding_that_the_runtime_works_out_is_understood(auto_pad):
    model = graphs.graph("chain")
    node = model.graph.node[2]
    node.attribute.append(graphs.onnx.helper.make_attribute("auto_pad", auto_pad))
    walk = Walk(model, Examples({"x": graphs.examples("chain", 3)}))
    for _ in range(2):
        walk.step()
        walk.forget()
    kept = walk.values["b"]
    walk.step()
    output = walk.values["c"]
    layer = linear(node, graphs.weights(model))
    places = layer.places(output.shape, np.random.default_rng(0))
    found = layer.inputs(kept, output.shape, places).reshape(len(places), -1) @ layer.matrices()[0]
    np.testing.assert_allclose(found, layer.answers(output, places), atol=1e-4)


@pytest.mark.parametrize("budget", [1, 4000, 1 << 30])
@pytest.mark.parametrize("name", ["residual", "attention"])
def test_a_walk_computes_what_the_model_does_whatever_it_may_hold(name, budget):
    model, x = graphs.graph(name), graphs.examples(name, 20)
    walk = Walk(model, Examples({"x": x}), budget=budget)
    for _ in model.graph.node:
        if walk.wanted > walk.count:
            walk.take_in(walk.wanted)
        walk.step()
        walk.forget()
    assert list(walk.values) == ["y"]
    np.testing.assert_allclose(walk.values["y"], graphs.run(model, x[: walk.count]), rtol=1e-4, atol=1e-4)
    assert walk.count == (20 if budget == 1 << 30 else walk.count)


def test_a_walk_feeds_batches_of_the_size_that_a_model_fixes():
    model, x = graphs.graph("chain"), graphs.examples("chain", 6)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    node = next(n for n in model.graph.node if n.op_type == "Flatten")
    node.op_type = "Reshape"
    node.input.append("fixed")
    model.graph.initializer.append(graphs.numpy_helper.from_array(np.array([2, 6], np.int64), "fixed"))
    walk = Walk(model, Examples({"x": x}, batch=2))
    for _ in model.graph.node:
        walk.step()
        walk.forget()
    np.testing.assert_allclose(walk.values["y"], graphs.run(graphs.graph("chain"), x), atol=1e-5)


def pruned(name, share):
    """The original, the cut model and the solved one, with the channels the layers behind miss least removed."""
    model, x = graphs.graph(name), graphs.examples(name, 400)
    traced, examples = trace(model), Examples({"x": x})
    rankings = onnx_damage.orders(traced, examples)
    gone = {c for r in rankings for c, _ in r.order[: int(len(r.group.components) * share)]}
    smaller = cut(traced, gone)
    return model, smaller, reconstruct(traced, gone, smaller, examples)


@pytest.mark.parametrize("name", graphs.CUT)
def test_solved_weights_answer_nearer_to_the_original(name):
    model, smaller, solved = pruned(name, 0.35)
    x = np.random.default_rng(8).normal(0.0, 1.0, (100, *graphs.shape_of(name))).astype(np.float32)
    given, one_shot, found = (graphs.run(m, x) for m in (model, smaller, solved))
    errors = [np.square(value - given).mean() for value in (one_shot, found)]
    assert errors[1] < 0.9 * errors[0]
    again = pruned(name, 0.35)[2]
    assert again.SerializeToString() == solved.SerializeToString(), "the same seed gives the same file"


def test_a_channel_that_repeats_another_is_missed_first_and_not_missed_at_all():
    model = graphs.graph("chain")
    w = {name: values.copy() for name, values in graphs.weights(model).items()}
    w["w1"][5], w["b1"][5] = 2 * w["w1"][2], 2 * w["b1"][2]  # behind a Relu it is twice the other one
    for tensor in model.graph.initializer:
        tensor.CopyFrom(graphs.numpy_helper.from_array(w[tensor.name], tensor.name))
    traced, examples = trace(model), Examples({"x": graphs.examples("chain", 400)})
    ranking = next(r for r in onnx_damage.orders(traced, examples) if len(r.group.components) == 8)
    first = ranking.order[0][0]
    places = traced.labels.roots(traced.axes["w1"][0])
    assert int(np.flatnonzero(places == first)[0]) in (2, 5)
    solved = reconstruct(traced, {first}, cut(traced, {first}), examples)
    x = graphs.examples("chain", 50)
    given = graphs.run(model, x)
    np.testing.assert_allclose(graphs.run(solved, x), given, atol=0.02 * np.abs(given).max())


@pytest.mark.parametrize("name", ["attention", "attention_split", "attention_sliced"])
def test_heads_go_by_what_the_product_behind_them_loses(name, monkeypatch):
    monkeypatch.setattr(least_squares, "_TRUST", 1e12)
    monkeypatch.setattr(least_squares, "DAMPING", 1e-12)
    traced, x = trace(graphs.graph(name)), graphs.examples(name, 300)
    heads = next(g for g in traced.groups() if len(g.components) == 4)
    ranking = next(r for r in onnx_damage.orders(traced, Examples({"x": x})) if r.group == heads)
    partial = graphs.graph(name)
    partial.graph.output[0].CopyFrom(onnx.helper.make_empty_tensor_value_info("o2"))
    rows = graphs.run(partial, x).reshape(-1, 16).astype(np.float64)
    features = np.arange(16).reshape(4, 4)
    losses = [
        least_loss(rows, graphs.weights(partial)["wo"], np.delete(features, head, 0).reshape(-1)) for head in range(4)
    ]
    first, damage = ranking.order[0]
    assert traced.labels.roots(traced.axes["o2"][2])[4 * int(np.argmin(losses))] == first
    np.testing.assert_allclose(damage, min(losses), rtol=1e-2)


def test_the_mean_activation_is_what_the_next_layer_reads():
    traced, x = trace(graphs.graph("chain")), graphs.examples("chain", 30)
    found = onnx_damage.means(traced, Examples({"x": x}))
    first = np.maximum(_conv(x, graphs.weights(traced.model)), 0.0)
    expected = dict(zip(traced.labels.roots(traced.axes["w1"][0]), np.abs(first).mean((0, 2, 3)), strict=True))
    for component, value in expected.items():
        np.testing.assert_allclose(found[int(component)], value, rtol=1e-4)


def _conv(x, w):
    """The first layer of the chain, by NumPy."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(x), 8, 8, 8))
    for i, j in itertools.product(range(3), range(3)):
        out += np.einsum("nchw,oc->nohw", padded[:, :, i : i + 8, j : j + 8], w["w1"][:, :, i, j])
    return out + w["b1"][None, :, None, None]


def test_rankings_by_a_score_add_up_shares():
    group = labels.Group((4, 7, 9), ("a",))
    (ranking,) = labels.ranked([group], {4: 3.0, 7: 1.0, 9: 4.0})
    assert ranking.order == ((7, 0.125), (4, 0.5))


def test_a_walk_passes_graphs_inside_nodes():
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> g (float[n, 4] x) => (float[n, 4] y) {
            a = Neg(x) c = ReduceMax<keepdims=0>(a) z = Sub(c, c) b = Less(z, c)
            y = If(b) <then_branch = t () => (float[n, 4] p) { p = Abs(a) },
                       else_branch = e () => (float[n, 4] q) { q = Relu(a) }>
        }"""
    )
    x = np.random.default_rng(0).normal(0.0, 1.0, (6, 4)).astype(np.float32)
    walk = Walk(model, Examples({"x": x}))
    for _ in model.graph.node:
        walk.step()
        walk.forget()
    np.testing.assert_array_equal(walk.values["y"], graphs.run(model, x))

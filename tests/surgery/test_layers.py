"""Parts that can be skipped, by graphs that are written down without them."""

from functools import partial

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from deploykit.surgery.channels.onnx_axes import plain
from deploykit.surgery.channels.onnx_trace import trace
from deploykit.surgery.layers import onnx_loss
from deploykit.surgery.layers.loss import loss
from deploykit.surgery.layers.onnx_spans import skipped, spans
from deploykit.surgery.layers.spans import Span, chosen, separate
from deploykit.surgery.reconstruction.onnx_solve import reconstruct
from deploykit.surgery.reconstruction.walk import Examples
from tests.surgery import graphs

#: Graph → the spans it has: name of the node → start and end.
SPANS = {
    "chain": {},
    "residual": {"layer_c": ("b", "c"), "layer_d": ("b", "d")},
    "concat": {},
    "depthwise": {"layer_t": ("c", "t"), "layer_v": ("a", "v")},
    "grouped": {},
    "attention": {
        "layer_q0": ("x", "q1"), "layer_k0": ("x", "k0"), "layer_v0": ("x", "v0"), "layer_z": ("o2", "z"),
        "layer_r": ("x", "r"), "layer_y": ("r", "y"),
    },
}  # fmt: skip


def found_in(model, x):
    examples = Examples({"x": x})
    return spans(model, partial(onnx_loss.shapes, model, examples)), examples


@pytest.mark.parametrize("name", list(SPANS))
def test_layers_and_blocks_that_keep_the_shape_are_found(name):
    found, _ = found_in(plain(graphs.graph(name)), graphs.examples(name))
    assert {s.name: (s.start, s.end) for s in found} == SPANS[name]


def test_a_span_knows_what_goes_with_it():
    found, _ = found_in(plain(graphs.graph("residual")), graphs.examples("residual"))
    layer, block = found
    assert layer.nodes == ("layer_c",)
    assert block.nodes == ("layer_c", "layer_d")
    assert layer.weights == block.weights == 8 * 8 * 9


def test_a_skipped_block_is_the_graph_without_it():
    model = plain(graphs.graph("residual"))
    without = skipped(model, [("b", "d")])
    text = """
        a = Conv<pads=[1,1,1,1]>(x, w1)
        n = BatchNormalization(a, g, h, m, v)
        b = Relu(n)
        e = Relu(b)
        f = Flatten(e)
        y = MatMul(f, w3)
    """
    lines = "\n".join(line.strip() for line in text.strip().splitlines())
    wanted = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[n,3,8,8] x) => (float y) {{{lines}}}'
    )
    wanted.graph.output[0].CopyFrom(model.graph.output[0])
    wanted.graph.initializer.extend(t for t in model.graph.initializer if t.name not in {"w2", "b2"})
    onnx.checker.check_model(without)
    assert [n.op_type for n in without.graph.node] == [n.op_type for n in wanted.graph.node]
    assert {t.name for t in without.graph.initializer} == {t.name for t in wanted.graph.initializer}
    x = graphs.examples("residual")
    np.testing.assert_array_equal(graphs.run(without, x), graphs.run(wanted, x))


def test_spans_that_follow_each_other_go_together_and_outputs_keep_their_names():
    model = plain(graphs.graph("attention"))
    without = skipped(model, [("x", "r"), ("r", "y")])
    x = graphs.examples("attention")
    np.testing.assert_array_equal(graphs.run(without, x), x)
    assert [n.op_type for n in without.graph.node] == ["Identity"]


def test_damage_is_the_share_of_the_outputs_that_changes():
    model = plain(graphs.graph("attention"))
    x = graphs.examples("attention", 40)
    found, examples = found_in(model, x)
    losses = {span.name: damage for span, damage in onnx_loss.ordered(model, found, examples)}
    given = graphs.run(model, x).astype(np.float64)
    for span in found:
        lost = graphs.run(skipped(model, [(span.start, span.end)]), x) - given
        expected = np.square(lost).mean() / np.square(given - given.mean(0)).mean()
        assert losses[span.name] == pytest.approx(expected, rel=1e-4)
    assert list(losses.values()) == sorted(losses.values())


def test_answers_that_are_classes_count_what_differs():
    wanted = {"y": np.array([1, 2, 3, 4]), "z": np.zeros((4, 1), np.float32)}
    assert loss(wanted, {"y": np.array([1, 2, 0, 0]), "z": np.zeros((4, 1), np.float32)}) == 0.25


def test_layers_inside_a_block_that_goes_do_not_count():
    one, two, whole, other = (
        Span(name, "Conv", name, f"{name}!", nodes, 1)
        for name, nodes in (("a", ("a",)), ("b", ("b",)), ("ab", ("a", "b", "+")), ("c", ("c",)))
    )
    assert chosen([one, two, whole, other], 1) == [one]
    assert chosen([one, whole, two, other], 2) == [whole, other]
    assert separate([one, two, whole, other]) == 2


def test_solving_again_finds_the_product_of_a_linear_layer_that_goes():
    rng = np.random.default_rng(0)
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> '
        "g (float[n,6] x) => (float[n,3] y) { h = MatMul(x, a) y = MatMul(h, b) }"
    )
    a, b = rng.normal(0.0, 1.0, (6, 6)).astype(np.float32), rng.normal(0.0, 1.0, (6, 3)).astype(np.float32)
    model.graph.initializer.extend([numpy_helper.from_array(a, "a"), numpy_helper.from_array(b, "b")])
    model = plain(model)
    x = rng.normal(0.0, 1.0, (4000, 6)).astype(np.float32)
    made = reconstruct(trace(model), (), skipped(model, [("x", "h")]), Examples({"x": x}))
    assert [n.output[0] for n in made.graph.node] == ["y"]
    np.testing.assert_allclose(graphs.weights(made)["b"], a @ b, atol=0.02)


@pytest.mark.parametrize(("name", "share"), [("residual", 0.5), ("depthwise", 0.5), ("attention", 0.9)])
def test_solving_again_brings_answers_back_on_examples_it_has_not_seen(name, share):
    model = plain(graphs.graph(name))
    found, _ = found_in(model, graphs.examples(name))
    span = next(s for s in found if s.name in {"layer_d", "layer_v", "layer_r"})
    x = np.random.default_rng(3).normal(0.0, 1.0, (900, *graphs.shape_of(name))).astype(np.float32)
    cut = skipped(model, [(span.start, span.end)])
    made = reconstruct(trace(model), (), cut, Examples({"x": x}))
    seen = graphs.examples(name, 50)
    given, one, two = (graphs.run(m, seen) for m in (model, cut, made))
    assert np.square(two - given).mean() < share * np.square(one - given).mean()

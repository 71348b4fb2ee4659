import numpy as np
import pytest

from deploykit.surgery.channels import labels
from deploykit.surgery.channels.budget import spread
from deploykit.surgery.channels.onnx_cut import cut, masked
from deploykit.surgery.channels.onnx_expenses import expenses
from deploykit.surgery.channels.onnx_trace import trace
from tests.surgery import graphs

#: Sizes of the groups of channels that each graph has, counted by hand.
GROUPS = {
    "chain": [8, 6],
    "residual": [8],
    "concat": [6, 8, 10],
    "depthwise": [8, 4],
    "grouped": [2, 3],
    "transposed": [8, 6],
    "attention": [4, 24],
    "attention_split": [4, 24],
    "attention_sliced": [4, 24],
    "attention_of_any_length": [4, 24],
    "attention_of_what_is_left": [4, 24],
    "attention_of_parts": [4, 24],
    "channels_last": [],
    "flattened": [8, 10],
}


def half(traced):
    scores = labels.magnitudes(traced.labels, traced.made, traced.constants, 2)
    rankings = labels.ranked(traced.groups(), scores)
    return {c for r in rankings for c, _ in r.order[: len(r.group.components) // 2]}


@pytest.mark.parametrize("name", graphs.CUT)
def test_a_cut_model_computes_what_the_masked_original_does(name):
    model, x = graphs.graph(name), graphs.examples(name)
    traced = trace(model)
    gone = half(traced)
    smaller = cut(traced, gone)
    expected = graphs.run(masked(traced, gone), x)
    np.testing.assert_allclose(graphs.run(smaller, x), expected, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected - graphs.run(model, x)).max() > 1e-3, "nothing was masked"
    sizes = [sum(w.size for w in graphs.weights(m).values()) for m in (traced.model, smaller)]
    assert sizes[1] < 0.75 * sizes[0]


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_groups_are_those_counted_by_hand(name):
    assert sorted(len(g.components) for g in trace(graphs.graph(name)).groups()) == sorted(GROUPS[name])


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_removing_nothing_changes_nothing(name):
    model, x = graphs.graph(name), graphs.examples(name)
    traced = trace(model)
    np.testing.assert_array_equal(graphs.run(cut(traced, ()), x), graphs.run(model, x))


def test_an_operator_without_a_rule_keeps_its_channels_and_is_named():
    model = graphs.graph("chain")
    node = next(n for n in model.graph.node if n.op_type == "Relu")
    node.op_type, node.name = "LRN", "odd"
    node.attribute.append(graphs.onnx.helper.make_attribute("size", 3))
    traced = trace(model)
    assert traced.frozen == {"LRN": ["odd"]}
    assert [len(g.components) for g in traced.groups()] == [6]


def test_the_heads_of_an_attention_go_as_a_whole():
    traced = trace(graphs.graph("attention"))
    heads = next(g for g in traced.groups() if len(g.components) == 4)
    smaller = graphs.weights(cut(traced, heads.components[:1]))
    assert {name: smaller[name].shape for name in ("wq", "wk", "wv", "bq", "wo")} == {
        "wq": (16, 12), "wk": (16, 12), "wv": (16, 12), "bq": (12,), "wo": (12, 16),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["attention_of_any_length", "attention_of_what_is_left", "attention_of_parts"])
def test_heads_go_where_the_length_is_free(name):
    traced = trace(graphs.graph(name))
    heads = next(g for g in traced.groups() if len(g.components) == 4)
    gone = heads.components[1:3]
    smaller = cut(traced, gone)
    assert graphs.weights(smaller)["wq"].shape == (16, 8)
    for length in (1, 3, 9):
        x = graphs.examples(name, 2, length)
        np.testing.assert_allclose(
            graphs.run(smaller, x), graphs.run(masked(traced, gone), x), rtol=1e-4, atol=1e-5
        )  # fmt: skip
    again = trace(smaller)
    assert sorted(len(g.components) for g in again.groups()) == [2, 24]
    twice = cut(again, next(g for g in again.groups() if len(g.components) == 2).components[:1])
    assert graphs.weights(twice)["wo"].shape == (4, 16)
    assert len(twice.graph.node) <= len(traced.model.graph.node)


@pytest.mark.parametrize("name", ["attention_split", "attention_sliced"])
def test_a_head_takes_its_part_of_queries_keys_and_values_from_one_layer(name):
    traced = trace(graphs.graph(name))
    heads = next(g for g in traced.groups() if len(g.components) == 4)
    smaller = graphs.weights(cut(traced, heads.components[1:2]))
    whole = graphs.weights(traced.model)["wqkv"].reshape(16, 3, 4, 4)
    np.testing.assert_array_equal(smaller["wqkv"], np.delete(whole, 1, axis=2).reshape(16, 36))


def test_something_stays_of_every_part_of_a_split():
    traced = trace(graphs.graph("concat"))
    parts = [group for group in traced.groups() if len(group.components) == 10]
    (ranking,) = labels.ranked(parts, {c: float(c) for c in parts[0].components})
    gone = {c for c, _ in ranking.order[:6]}  # the lowest six are all that the first part has
    (kept,) = traced.labels.spared([ranking], gone)
    assert kept == ranking.order[5][0]
    assert not traced.labels.spared([ranking], gone - {kept})
    x = graphs.examples("concat")
    smaller = cut(traced, gone - {kept})
    np.testing.assert_allclose(
        graphs.run(smaller, x), graphs.run(masked(traced, gone - {kept}), x), rtol=1e-4, atol=1e-5
    )


def test_norms_are_summed_over_the_filters_of_a_component():
    traced = trace(graphs.graph("grouped"))
    scores = labels.magnitudes(traced.labels, traced.made, traced.constants, 1)
    found = {c: scores[c] for g in traced.groups() for c in g.components}
    w = graphs.weights(traced.model)
    first = np.abs(w["w1"]).reshape(4, 2, -1).sum((0, 2))  # the same place in each of four groups
    second = np.abs(w["w2"]).reshape(4, 3, -1).sum((0, 2))
    np.testing.assert_allclose(sorted(found.values()), sorted([*first, *second]), rtol=1e-6)


@pytest.mark.parametrize(
    ("count", "ratio", "multiple", "kept"),
    [(64, 0.5, 1, 32), (64, 0.5, 8, 32), (24, 0.5, 8, 16), (6, 0.5, 8, 3), (10, 0.0, 8, 10), (5, 0.95, 1, 1)],
)
def test_what_stays_is_a_multiple_where_there_are_so_many(count, ratio, multiple, kept):
    assert labels.kept_count(count, ratio, multiple) == kept


@pytest.mark.parametrize("kind", ["parameters", "macs"])
@pytest.mark.parametrize("name", ["chain", "residual", "depthwise"])
def test_a_spread_saves_the_share_asked_for_where_it_hurts_least(name, kind):
    traced = trace(graphs.graph(name))
    rankings = labels.ranked(traced.groups(), labels.magnitudes(traced.labels, traced.made, traced.constants, 2))
    found = expenses(traced, rankings, kind)
    counts = spread(rankings, found, 0.4)
    shares = [1 - n / len(r.group.components) for n, r in zip(counts, rankings, strict=True)]
    whole, left = (sum(e.cost(s) for e in found) for s in ([1.0] * len(rankings), shares))
    assert left <= 0.6 * whole
    for k, count in enumerate(counts):  # one step less anywhere would not do
        if count:
            less = [*shares]
            less[k] += 1 / len(rankings[k].group.components)
            assert sum(e.cost(less) for e in found) > left


def test_parameters_and_products_of_a_model_are_counted():
    traced = trace(graphs.graph("chain"))
    rankings = labels.ranked(traced.groups(), {})
    shares = [1.0] * len(rankings)
    assert sum(e.cost(shares) for e in expenses(traced, rankings, "parameters")) == 8 * 27 + 6 * 72 + 24
    assert sum(e.cost(shares) for e in expenses(traced, rankings, "macs")) == 64 * 8 * 27 + 9 * 6 * 72 + 24

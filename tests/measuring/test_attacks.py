"""Attacks on classifiers of which the truth is known: linear ones, whose margin falls by at most ε · Σ|w|."""

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import DatasetError
from deploykit.measuring.attacks import Aim, Attacked, margin, square_attack

EPSILON = 0.1


def say(*_):
    pass


def aim(shape=(6, 6), count=60, epsilon=EPSILON):
    rng = np.random.default_rng(0)
    examples = rng.random((count, *shape))
    return Aim("image", examples, rng.integers(0, 2, count), 0.0, 1.0, epsilon)


def linear(weights):
    """Margins of the classifier that answers 1 where the weighted sum is above its mean."""

    def margins(examples, labels):
        found = examples.reshape(len(examples), -1) @ weights - weights.sum() / 2
        return np.where(labels == 1, found, -found)

    return margins


def least(target, weights):
    """The smallest margin that there is within ε and the range of values: each number goes as far as it can."""
    signs = np.where(target.labels == 1, 1, -1)[:, None] * weights
    flat = target.examples.reshape(len(target.examples), -1)
    down = np.minimum(flat - target.low, target.epsilon)
    up = np.minimum(target.high - flat, target.epsilon)
    return linear(weights)(target.examples, target.labels) - np.where(signs > 0, signs * down, -signs * up).sum(1)


def test_a_margin_is_what_the_label_is_ahead():
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [np.nan, 0.5, 0.4]])
    np.testing.assert_allclose(margin(scores, np.array([0, 2, 1])), [0.5, -0.1, -1.0])


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 3), (3, 6, 6), (24,)])
def test_it_breaks_what_can_be_broken_and_nothing_else(shape):
    weights = np.random.default_rng(1).normal(size=int(np.prod(shape)))
    target = aim(shape)
    asked = []

    def watched(examples, labels):
        asked.append(examples)
        return linear(weights)(examples, labels)

    right = square_attack(watched, target, 400, 0, say)
    clean = linear(weights)(target.examples, target.labels) > 0
    breakable = clean & (least(target, weights) <= 0)
    assert not (right & ~clean).any()
    assert right[clean & ~breakable].all()
    assert (clean & ~right).sum() > 0.5 * breakable.sum() > 3
    assert all(examples.shape[1:] == shape for examples in asked)
    assert min(examples.min() for examples in asked) >= 0
    assert max(examples.max() for examples in asked) <= 1
    assert len(asked) <= 401


def test_nothing_is_changed_by_more_than_it_may():
    target, seen = aim(count=5), []

    def never(examples, labels):
        seen.append(np.abs(examples[:, None] - target.examples[None]).max((2, 3)).min(1).max())
        return np.ones(len(labels))

    assert square_attack(never, target, 30, 0, say).all()
    assert max(seen) <= EPSILON + 1e-12
    assert max(seen) > 0.9 * EPSILON


def test_an_example_fares_the_same_whoever_is_beside_it():
    weights = np.random.default_rng(1).normal(size=36)
    target = aim()
    whole = square_attack(linear(weights), target, 100, 7, say)
    part = Aim("image", target.examples[:9], target.labels[:9], 0.0, 1.0, EPSILON)
    np.testing.assert_array_equal(square_attack(linear(weights), part, 100, 7, say), whole[:9])


def test_right_is_what_is_right_under_both():
    found = Attacked((True, True, True), (True, False, True), (True, True, False))
    assert found.both == (True, False, False)
    assert Attacked((True,), (), (True,)).both == (True,)


# -- in a sweep --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A linear classifier of two classes, and its weights: of class 1 minus those of class 0."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(16, 2)).astype(np.float32)
    bias = (-weights.sum(0) / 2).astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["numbers", "w", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    ends = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", size])]
        for name, size in (("numbers", 16), ("probabilities", 2))
    ]
    held = [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph(nodes, "straight", *ends, held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path_factory.mktemp("straight") / "straight.onnx"
    onnx.save(made, path)
    return dk.load(path), (weights[:, 1] - weights[:, 0]).astype(np.float64)


@pytest.fixture(scope="module")
def numbers(straight):
    rng = np.random.default_rng(3)
    x = rng.random((200, 16)).astype(np.float32)
    return dk.Dataset.from_arrays(x, (x @ straight[1] - straight[1].sum() / 2 > 0).astype(np.int64))


@pytest.mark.long(seconds=8)
def test_a_sweep_says_how_robust_each_candidate_is(straight, numbers, tmp_path):
    model, weights = straight
    space = dk.Space([dk.Recipe(()), dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
    asked = {"store": tmp_path / "store", "launches": 0, "attacks": 60, "strength": 0.05}
    report = dk.sweep(model, numbers, space, **asked)
    target = Aim.of(report.data, report.contract, 60, 0.05, 0)
    truth = (linear(weights)(target.examples, target.labels) > 0) & (least(target, weights) > 0)
    original = next(row for row in report.rows if not row.candidate.recipe.steps).measurement
    assert original.scored("accuracy_under_pgd").value == pytest.approx(truth.mean(), abs=1e-9)
    assert original.scored("accuracy_under_square").value >= truth.mean()
    assert original.scored("robust_accuracy").value == pytest.approx(truth.mean(), abs=1e-9)
    assert 0.2 < truth.mean() < 0.95
    for row, record in zip(report.rows, report.to_frame().to_dict("records"), strict=True):
        robust = row.measurement.scored("robust_accuracy")
        assert (robust.examples, record["robust_accuracy"]) == (60, robust.value)
        parts = [row.measurement.scored(f"accuracy_under_{name}").value for name in ("pgd", "square")]
        assert robust.value <= min(parts)
    assert "Robust, %" in str(report)
    assert "Robust accuracy" in report.choice_for(report.rows[0].key).explain()
    again = dk.sweep(model, numbers, space, **asked)
    assert [r.measurement.scores for r in again.rows] == [r.measurement.scores for r in report.rows]
    plain = dk.sweep(model, numbers, space, store=tmp_path / "plain", launches=0)
    assert plain.rows[0].measurement.scored("robust_accuracy") is None
    assert plain.to_frame()["robust_accuracy"].isna().all()
    assert "Robust, %" not in str(plain)


def test_what_cannot_be_attacked_is_refused(straight):
    unlabeled = dk.Dataset.from_arrays(np.random.default_rng(0).random((100, 16)).astype(np.float32))
    with pytest.raises(DatasetError, match=r"Attacks are for classifiers .*on labeled data.*leave out attacks="):
        dk.sweep(straight[0], unlabeled, dk.Space([dk.Recipe(())], [dk.Target("onnxruntime")]), launches=0, attacks=5)

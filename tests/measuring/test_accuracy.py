"""Scores paired with the baseline, for every metric."""

import numpy as np
import pytest

from deploykit.core.errors import CandidateError, DatasetError, SettingError
from deploykit.measuring.accuracy import score
from deploykit.metrics._choose import choose
from deploykit.metrics._contract import METRICS
from deploykit.metrics._custom import Custom

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 400)
ORIGINAL = np.eye(4)[LABELS] * 2 + RNG.random((400, 4))


def damaged(share):
    outputs = ORIGINAL.copy()
    chosen = RNG.permutation(400)[: int(400 * share)]
    outputs[chosen] = np.roll(outputs[chosen], 1, axis=1)
    return outputs


def test_accuracy_change_is_a_paired_difference():
    metric = METRICS.get("accuracy")
    base, worse = (metric.values(o, LABELS) for o in (ORIGINAL, damaged(0.1)))
    found = score(metric, worse, base)
    assert found.change.value == pytest.approx(worse.mean() - base.mean())
    assert found.change.high < 0
    assert found.drop.value == -found.change.value
    assert found.drop.low == -found.change.high
    assert found.p_value < 0.001


def test_errors_change_relatively():
    metric = METRICS.get("mean_absolute_error")
    truth = RNG.normal(size=(300, 1))
    base = metric.values(truth + RNG.normal(0, 1, (300, 1)), truth)
    found = score(metric, base * 1.1, base)
    assert found.change.value == pytest.approx(0.1)
    assert found.drop.value == pytest.approx(0.1)
    assert not found.higher_is_better


def test_not_finite_is_a_failure():
    metric = METRICS.get("mean_squared_error")
    values = np.array([1.0, np.nan])
    with pytest.raises(CandidateError, match="not finite for 1 of 2"):
        score(metric, values, np.ones(2))


def test_nan_outputs_are_misses():
    outputs = ORIGINAL.copy()
    outputs[0] = np.nan
    assert METRICS.get("accuracy").values(outputs, LABELS)[0] == 0


def test_top_5_of_ten():
    scores = np.tile(np.arange(10.0), (3, 1))
    assert METRICS.get("top_5_accuracy").values(scores, np.array([9, 5, 4])).tolist() == [1, 1, 0]


def test_auto_takes_what_suits():
    assert choose("auto", ORIGINAL, LABELS, "scores").name == "accuracy"
    assert choose("auto", ORIGINAL[:, :1], RNG.random(400), "values").name == "mean_absolute_error"
    assert choose("auto", ORIGINAL, None, "scores").name == "agreement"
    assert choose("auto", ORIGINAL, None, "embedding").name == "cosine_similarity"
    assert choose("auto", np.zeros((400, 4, 4)), None, "values").name == "output_fidelity"
    assert choose("auto", LABELS, LABELS, "classes").name == "accuracy"
    masks = np.zeros((400, 3, 3), np.int64)
    assert choose("auto", np.zeros((400, 3, 3, 5)), masks, "scores").name == "mean_iou"
    assert choose("auto", np.zeros((400, 3, 5)), masks[:, 0], "scores").name == "position_accuracy"
    tags, tagged = ("O", "B-X", "I-X"), np.ones((400, 3), np.int64)
    assert choose("auto", np.zeros((400, 3, 3)), tagged, "scores", tags).name == "token_f1"
    assert choose("auto", np.zeros((400, 3, 3)), tagged, "scores", tags, by_example=True).name == "position_accuracy"
    assert choose("auto", ORIGINAL, LABELS, "embedding").name == "recall_at_k"
    assert choose("auto", np.zeros((400, 3, 3, 5)), None, "scores").name == "position_agreement"
    assert choose("auto", np.zeros((400, 3)), np.zeros((400, 3), np.int64), "several").name == "label_f1"


def test_labels_that_no_metric_takes_are_refused():
    with pytest.raises(DatasetError, match="No metric compares labels"):
        choose("auto", ORIGINAL, np.zeros((400, 2), np.int64), "scores")


def test_a_metric_that_does_not_suit_says_why():
    with pytest.raises(DatasetError, match="needs integer class labels"):
        choose("accuracy", ORIGINAL, RNG.random(400))
    with pytest.raises(SettingError, match="known: accuracy"):
        choose("acuracy", ORIGINAL, LABELS)


def test_a_function_is_a_metric():
    def margin(outputs, labels):
        return outputs[np.arange(len(labels)), labels]

    metric = choose(margin, ORIGINAL, LABELS)
    assert metric.name == "margin"
    assert metric.values(ORIGINAL, LABELS).shape == (400,)
    with pytest.raises(SettingError, match="one value for each example"):
        Custom(lambda outputs, labels: 0.5).values(ORIGINAL, LABELS)
    with pytest.raises(SettingError, match="ZeroDivisionError"):
        Custom(lambda outputs, labels: 1 / 0).values(ORIGINAL, LABELS)


def test_fidelity_of_equal_outputs_is_one():
    metric = METRICS.get("output_fidelity")
    assert metric.values(ORIGINAL, ORIGINAL).tolist() == [1.0] * 400
    assert (metric.values(ORIGINAL * 1.1, ORIGINAL) < 0.95).all()


def test_fidelity_of_outputs_with_infinities():
    metric = METRICS.get("output_fidelity")
    masked = np.where(ORIGINAL > 0.5, -np.inf, ORIGINAL)
    assert metric.values(masked, masked).tolist() == [1.0] * 400
    lost = metric.values(ORIGINAL, masked)  # numbers in place of infinities are as wrong as can be
    assert (lost[np.isinf(masked).any(axis=1)] == 0).all()


def test_several_class_numbers_are_not_scores():
    numbers = np.argsort(-ORIGINAL, axis=1)  # the four classes, the likeliest first
    assert choose("auto", numbers[:, 0], LABELS, "classes").values(numbers[:, 0], LABELS).mean() == 1.0
    with pytest.raises(DatasetError, match=r"No metric compares labels.*\(4,\) per example, read as classes"):
        choose("auto", numbers, LABELS, "classes")

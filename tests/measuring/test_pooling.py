"""Intervals of metrics that are not means: beside plain means, beside brute force, and their coverage."""

import numpy as np
import pytest

from deploykit.measuring.accuracy import compare, score
from deploykit.measuring.pooling import paired_change
from deploykit.metrics._contract import Pooled, Summed


class Mean(Pooled):
    """A mean, as a pooled metric: all that is said of it is known."""

    name, label = "mean", "mean"

    def unsuitable(self, outputs, truth):
        return ""

    def parts(self, outputs, truth):
        return {"values": outputs}

    def pool(self, parts, weights):
        return (weights @ parts["values"]) / weights.sum(axis=1)


class Ratio(Summed):
    """A ratio of two sums."""

    name, label, higher_is_better, relative = "ratio", "ratio", False, True

    def unsuitable(self, outputs, truth):
        return ""

    def sums(self, outputs, truth):
        return outputs

    def of_sums(self, sums):
        with np.errstate(invalid="ignore"):
            return sums[..., 0] / sums[..., 1]


@pytest.mark.parametrize("count", [40, 3000])  # one by one, and in groups
def test_pseudo_values_of_a_mean_are_its_values(count):
    values = np.random.default_rng(0).normal(3, 2, count)
    found = Mean().values(values, values)
    assert found.mean() == pytest.approx(values.mean())
    assert found.std(ddof=1) == pytest.approx(values.std(ddof=1), rel=0.05)
    if count == 40:
        np.testing.assert_allclose(found, values)


def test_sums_are_left_out_as_examples_are():
    rng = np.random.default_rng(1)
    parts = {"sums": rng.random((30, 2)) + 0.1}
    np.testing.assert_allclose(Ratio().leave_out(parts), Pooled.leave_out(Ratio(), parts))


def test_the_interval_of_a_mean_is_that_of_students_t():
    rng = np.random.default_rng(2)
    before = rng.normal(0, 1, 200)
    after = before + rng.normal(-0.1, 0.5, 200)
    pooled = compare(Mean(), after, before, before)
    plain = score(Mean(), after, before)
    assert pooled.value == pytest.approx(plain.value)
    assert pooled.change.value == pytest.approx(plain.change.value)
    assert pooled.change.low == pytest.approx(plain.change.low, abs=0.01)
    assert pooled.change.high == pytest.approx(plain.change.high, abs=0.01)
    assert pooled.p_value == pytest.approx(plain.p_value)
    assert pooled.drop.low == -pooled.change.high


def test_equal_models_do_not_differ():
    values = np.random.default_rng(3).random((50, 2))
    found = compare(Ratio(), values, values, values)
    assert (found.change.low, found.change.high, found.p_value) == (0.0, 0.0, 1.0)


def test_a_metric_that_is_undefined_without_a_few_examples_says_nothing():
    values = np.zeros((20, 2))
    values[0] = 1  # a third of the draws have no denominator
    assert paired_change(Ratio(), {"sums": values * 2}, {"sums": values + np.array([0, 1e-9])})[1].high == np.inf


@pytest.mark.long
def test_intervals_cover_the_truth():
    """The ratio of two means whose truth is known, relative to another one."""
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        base = rng.gamma(2, 1, (80, 2)) + 0.2
        after = base * np.array([1.3, 1.0]) * rng.lognormal(-0.02, 0.2, (80, 2))
        _, change, _ = paired_change(Ratio(), {"sums": after}, {"sums": base}, draws=400)
        covered += change.low <= 0.3 <= change.high
    assert covered >= 182  # of 190 wanted: below by chance once in 300

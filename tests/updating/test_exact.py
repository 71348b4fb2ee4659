"""The gate's statistics against enumeration, simulation and SciPy's own tests."""

import numpy as np
import pytest
from scipy import stats

from deploykit.updating import exact


def enumerated(count, share, margin, alpha):
    """Probabilities of both claims at the margin, from the multinomial distribution itself, table by table."""
    below = above = 0.0
    worse, better = (share + margin) / 2, (share - margin) / 2
    for w in range(count + 1):
        for b in range(count + 1 - w):
            chance = stats.multinomial.pmf([w, b, count - w - b], count, [worse, better, 1 - share])
            if chance < 1e-12:
                continue
            p_beyond, p_within = exact.paired_tests(b, w, count, margin, alpha)
            below += chance * (p_beyond <= alpha)
            above += chance * (p_within <= alpha)
    return below, above


@pytest.mark.parametrize(("share", "margin"), [(0.1, 0.1), (0.3, 0.1), (0.9, 0.2)])
def test_the_error_rates_hold_at_the_margin_in_samples_that_can_be_enumerated(share, margin):
    below, above = enumerated(24, share, margin, 0.05)
    assert below <= 0.05
    assert above <= 0.05


def test_both_tests_have_power_where_the_bound_is_not_reached():
    p_beyond, p_within = exact.paired_tests(better=60, worse=60, count=6000, margin=0.01, alpha=0.01)
    assert p_beyond < 0.01 < p_within
    p_beyond, p_within = exact.paired_tests(better=30, worse=180, count=6000, margin=0.01, alpha=0.01)
    assert p_within < 0.01 < p_beyond


def test_the_p_value_is_near_the_normal_one_in_large_samples():
    better, worse, count, margin = 900, 1060, 60_000, 0.005
    spread = np.sqrt((better + worse) / count - ((worse - better) / count) ** 2) / np.sqrt(count)
    expected = stats.norm.cdf(((worse - better) / count - margin) / spread)
    p_beyond, _ = exact.paired_tests(better, worse, count, margin, 0.01)
    assert p_beyond == pytest.approx(expected + 0.001, abs=0.002)


def test_a_copy_of_the_incumbent_needs_the_least_examples():
    least = exact.least_examples(0.01, 0.01)
    assert exact.paired_tests(0, 0, least, 0.01, 0.01)[0] <= 0.01 < exact.paired_tests(0, 0, least - 1, 0.01, 0.01)[0]
    assert 0.99**least < 0.01  # a drop of 1 % would show in as many examples with 99 % probability


@pytest.mark.parametrize("share", [0.02, 0.06])
def test_the_number_of_examples_that_is_stated_gives_the_power_that_is_stated(share):
    count = exact.examples_needed(0.01, share, 0.01, 0.9)
    rng = np.random.default_rng(7)
    for drop, claim in ((0.0, 0), (0.02, 1)):
        differ = max(share, drop)
        drawn = rng.multinomial(count, [(differ + drop) / 2, (differ - drop) / 2, 1 - differ], 120)
        right = [exact.paired_tests(int(b), int(w), count, 0.01, 0.01)[claim] <= 0.01 for w, b, _ in drawn]
        assert np.mean(right) >= 0.9 - 3 * np.sqrt(0.09 / len(right))
        fewer = count // 3
        drawn = rng.multinomial(fewer, [(differ + drop) / 2, (differ - drop) / 2, 1 - differ], 120)
        assert (
            np.mean([exact.paired_tests(int(b), int(w), fewer, 0.01, 0.01)[claim] <= 0.01 for w, b, _ in drawn]) < 0.8
        )


def test_numbers_get_the_more_careful_of_two_tests():
    values = np.random.default_rng(1).normal(-0.1, 1.0, 400)
    p_beyond, p_within = exact.value_tests(values)
    t = stats.ttest_1samp(values, 0.0, alternative="less").pvalue
    assert t <= p_beyond < t + 0.02
    assert p_within > 0.5
    assert exact.value_tests(np.full(50, -0.5)) == (0.0, 1.0)
    assert exact.value_tests(values[:20]) == (1.0, 1.0)


def test_a_rare_great_loss_is_not_missed_as_by_students_t():
    """One example in 300 loses much, so that the mean is 0: in half of such samples t is sure that it is below 0."""
    rng = np.random.default_rng(3)
    losses = np.where(rng.random(300) < 1 / 300, 299.0, -1.0) + rng.normal(0, 0.01, 300)
    claimed = np.concatenate([np.full(299, -1.0) + rng.normal(0, 0.01, 299), [150.0]])
    assert stats.ttest_1samp(claimed, 0.0, alternative="less").pvalue < exact.value_tests(claimed)[0]
    assert exact.value_tests(losses)[0] >= stats.ttest_1samp(losses, 0.0, alternative="less").pvalue


def test_what_no_number_of_examples_decides_is_none():
    assert exact.examples_needed(0.0001, 0.5, 0.01, 0.9) is None
    assert exact.values_needed(1e6, 0.001, 0.01, 0.9) is None


def test_a_limit_of_which_twice_is_more_than_all():
    assert exact.examples_needed(0.9, 0.05, 0.01, 0.9) < 100

"""Intervals and tests, against known values and by simulation."""

import math

import numpy as np
import pytest

from deploykit.measuring.statistics import holm, paired_binary, share, t_interval, t_test


def test_t_interval_of_a_textbook_sample():
    interval = t_interval([5.1, 4.9, 5.6, 5.2, 4.7])
    assert interval.value == pytest.approx(5.1)
    assert interval.half_width == pytest.approx(
        2.776445 * np.std([5.1, 4.9, 5.6, 5.2, 4.7], ddof=1) / math.sqrt(5), rel=1e-5
    )


def test_one_value_says_nothing():
    assert t_interval([1.0]).low == -math.inf
    assert t_test([1.0]) == 1.0


def test_mcnemar_is_the_exact_binomial_test():
    _, p_value = paired_binary(2, 10, 100)
    assert p_value == pytest.approx(2 * sum(math.comb(12, k) for k in range(3)) / 2**12)


def test_no_flips_still_leave_doubt():
    interval, p_value = paired_binary(0, 0, 1000)
    assert interval.value == 0
    assert interval.low < 0 < interval.high
    assert interval.high == pytest.approx(-interval.low)
    assert p_value == 1.0


def test_the_paired_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        draw = rng.random(600)
        better, worse = int((draw < 0.01).sum()), int((draw > 0.98).sum())
        interval, _ = paired_binary(better, worse, 600)
        covered += interval.low <= -0.01 <= interval.high
    assert covered >= 0.93 * 400


def test_holm_stops_at_the_first_that_fails():
    assert holm([0.001, 0.04, 0.03]) == [True, False, False]
    assert holm([0.001, 0.01, 0.02]) == [True, True, True]
    assert holm([]) == []


def test_a_share_has_the_published_score_interval():
    """81 of 263, and others: Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    for (hits, count), (low, high) in {
        (81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718),
    }.items():  # fmt: skip
        found = share(hits, count)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)

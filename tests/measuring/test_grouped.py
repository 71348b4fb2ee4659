"""Intervals of examples that come in groups: beside plain formulas, and how often they cover what is true."""

import itertools

import numpy as np
import pytest
from scipy import stats

from deploykit.core.contract import OutputMeaning
from deploykit.measuring import calibration
from deploykit.measuring.accuracy import Paired, compare, score
from deploykit.measuring.grouped import as_groups, design_effect, numbered, paired_binary_groups, share_of_groups
from deploykit.measuring.pooling import paired_change
from deploykit.measuring.statistics import paired_binary, share
from deploykit.metrics._contract import METRICS
from deploykit.reporting.evidence import class_changes

ACCURACY, SQUARES = METRICS.get("accuracy"), METRICS.get("mean_squared_error")


def videos(rng, count, frames, alike, worse, better):
    """Losses and gains of frames: those of a video are alike with this correlation (Dirichlet-multinomial)."""
    change, groups = [], []
    for video in range(count):
        shares = np.array([worse, better, 1 - worse - better])
        own = rng.dirichlet(shares * (1 - alike) / alike) if 0 < alike < 1 else shares
        own = np.eye(3)[rng.choice(3, p=shares)] if alike == 1 else own
        size = int(rng.integers(frames // 2, 2 * frames))
        change += rng.choice([-1, 1, 0], size, p=own / own.sum()).tolist()
        groups += [f"{video:03}.mp4"] * size
    return np.array(change), np.array(groups)


def hits(change):
    """Before and after, as hits and misses."""
    return (change <= 0).astype(np.float64), np.where(change < 0, 0.0, 1.0)


@pytest.mark.parametrize("alike", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("worse", "better"), [(0.03, 0.03), (0.12, 0.06), (0.01, 0.0)])
def test_the_interval_of_frames_covers_what_is_true(alike, worse, better):
    rng = np.random.default_rng(3)
    covered = naive = false = runs = 0
    for _ in range(150):
        change, groups = videos(rng, 30, 20, alike, worse, better)
        before, after = hits(change)
        found, plain = score(ACCURACY, after, before, groups), score(ACCURACY, after, before)
        assert found.change.value == plain.change.value == pytest.approx(change.mean())
        runs += 1
        covered += found.change.low <= better - worse <= found.change.high
        naive += plain.change.low <= better - worse <= plain.change.high
        false += found.p_value < 0.05
    assert covered / runs >= 0.93
    if alike:
        assert naive / runs < 0.8  # frames were counted as if each said something of its own
    if worse == better:
        assert false / runs <= 0.07


def test_the_interval_of_a_mean_covers_what_is_true():
    rng = np.random.default_rng(4)
    own = np.repeat(np.arange(25), rng.integers(5, 40, 25))
    inside = [0, 0]
    for _ in range(300):
        values = 0.2 + rng.normal(0, 1, 25)[own] + rng.normal(0, 0.3, len(own))
        for place, groups in enumerate((own, None)):
            paired = Paired(SQUARES, numbered(groups))
            paired.add(values[:50], np.zeros(50))  # in parts
            paired.add(values[50:], np.zeros(len(values) - 50))
            found = paired.score()
            inside[place] += found.change.low <= 0.2 <= found.change.high
    assert inside[0] / 300 == pytest.approx(0.95, abs=0.03)
    assert inside[1] / 300 < 0.6


def test_groups_of_one_size_are_as_their_means():
    rng = np.random.default_rng(5)
    values, own = rng.normal(0, 1, (12, 8)), np.repeat(np.arange(12), 8)
    np.testing.assert_allclose(as_groups(values.ravel(), own), values.mean(axis=1))
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values.mean(axis=1)))
    metric = METRICS.get("mean_absolute_error")
    base = np.full(96, 1.0)
    found = score(metric, base + values.ravel(), base, own)
    assert (found.change.low, found.change.high) == pytest.approx((low, high))  # relative to 1
    assert found.groups == 12
    assert found.p_value == pytest.approx(stats.ttest_1samp(values.mean(axis=1), 0).pvalue)


def test_the_interval_of_a_ratio_of_means_is_that_of_the_bootstrap_of_groups():
    rng = np.random.default_rng(6)
    sizes = rng.integers(5, 15, 80)
    own = np.repeat(np.arange(80), sizes)
    before = (rng.gamma(4, 1, 80)[own] + rng.random(len(own))) * 2
    after = before * (1.1 + 0.2 * rng.normal(0, 1, 80)[own])
    found = score(METRICS.get("mean_absolute_error"), after, before, own)
    sums = np.stack([np.bincount(own, weights=v) for v in (after, before)])
    drawn = rng.integers(0, 80, (4000, 80))
    ratios = sums[0][drawn].sum(axis=1) / sums[1][drawn].sum(axis=1) - 1
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert found.change.value == pytest.approx(after.mean() / before.mean() - 1)
    assert (found.change.low, found.change.high) == pytest.approx((low, high), abs=0.12 * (high - low))


def test_a_pooled_metric_draws_groups():
    rng = np.random.default_rng(7)
    own = np.repeat(np.arange(40), 25)
    labels = np.repeat(rng.integers(0, 3, 40), 25)
    right = rng.random(40)[own] < 0.8
    before = np.eye(3)[np.where(right, labels, (labels + 1) % 3)]
    flipped = rng.random(40)[own] < 0.15  # all frames of a video change together
    after = np.eye(3)[np.where(flipped, (labels + 2) % 3, before.argmax(axis=1))]
    metric = METRICS.get("macro_f1")
    found, plain = (compare(metric, after, before, labels, groups) for groups in (own, None))
    assert (found.value, found.change.value) == (plain.value, plain.change.value)
    assert (found.groups, found.examples) == (40, 1000)
    assert (found.change.high - found.change.low) > 3 * (plain.change.high - plain.change.low)
    parts = [metric.parts(side, labels) for side in (after, before)]
    drawn = []
    for _ in range(2000):
        weights = np.bincount(rng.integers(0, 40, 40), minlength=40)[own][None].astype(float)
        drawn.append(float(metric.pool(parts[0], weights)[0] - metric.pool(parts[1], weights)[0]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.change.low, found.change.high) == pytest.approx((low, high), abs=0.25 * (high - low))


def test_groups_of_one_example_are_examples():
    assert numbered(np.arange(5)) is None
    assert numbered(None) is None
    rng = np.random.default_rng(8)
    before, after = hits(rng.choice([-1, 1, 0], 200, p=[0.1, 0.05, 0.85]))
    assert score(ACCURACY, after, before, rng.permutation(200)) == score(ACCURACY, after, before)


def test_the_test_of_hits_tries_the_signs_of_all_groups():
    differences, sizes = np.array([3.0, -1, 2, 0, 4, -2, 5]), np.full(7, 6.0)
    _, p_value = paired_binary_groups(differences, sizes, 14, 3)
    moved = differences[differences != 0]
    sums = [abs(np.dot(signs, moved)) for signs in itertools.product((-1, 1), repeat=6)]
    assert p_value == pytest.approx(np.mean(np.array(sums) >= abs(moved.sum())))
    ones = np.array([1.0] * 9 + [-1.0] * 3 + [0.0] * 20)
    assert paired_binary_groups(ones, np.ones(32), 9, 3)[1] == pytest.approx(paired_binary(9, 3, 32)[1])


def test_videos_without_a_flip_are_counted_one_by_one():
    found, _ = paired_binary_groups(np.zeros(40), np.full(40, 30.0), 0, 0)
    assert found.high == pytest.approx(paired_binary(0, 0, 40)[0].high, rel=0.05)
    assert found.high > 10 * paired_binary(0, 0, 1200)[0].high
    assert design_effect(np.zeros(40), np.full(40, 30.0), 0) == 30
    alone, p_value = paired_binary_groups(np.array([-3.0]), np.array([30.0]), 0, 3)
    assert (alone.low, alone.high, p_value) == (-1, 1, 1)  # one video says nothing of others


def test_the_interval_of_each_class_counts_videos():
    rng = np.random.default_rng(9)
    own = np.repeat(np.arange(60), 20)
    labels = own % 2
    before = np.eye(2)[labels]
    after = np.eye(2)[np.where((own % 20 == 0), 1 - labels, labels)]  # whole videos of class 0 turn
    meaning = OutputMeaning("y", "scores", "scored", "float32")
    found, plain = (
        {r.name: r for r in class_changes.compare(after, before, labels, ["a", "b"], meaning=meaning, groups=g)}
        for g in (own, None)
    )
    assert found["a"].change.value == plain["a"].change.value == pytest.approx(-0.1)
    wanted, _ = paired_binary(0, 3, 30)  # 3 of 30 videos
    assert found["a"].change.low == pytest.approx(wanted.low, abs=0.03)
    assert plain["a"].change.low > -0.14
    assert (plain["a"].sure, found["a"].sure) == (True, False)
    shares = rng.dirichlet([2, 2], 60)[own]
    sharper = shares**3 / (shares**3).sum(axis=1, keepdims=True)
    gaps = [calibration.Gaps.of(each, each.argmax(axis=1), labels) for each in (shares, sharper)]
    wide, narrow = (calibration.change(*gaps, groups=groups) for groups in (own, None))
    assert wide.high - wide.low > 2.5 * (narrow.high - narrow.low)


def test_pooled_changes_of_one_group_are_unknown():
    metric = METRICS.get("macro_f1")
    labels = np.arange(40) % 2
    before, after = np.eye(2)[labels], np.eye(2)[np.where(np.arange(40) < 4, 1 - labels, labels)]
    parts = [metric.parts(side, labels) for side in (after, before)]
    _, change, p_value = paired_change(metric, *parts, groups=np.zeros(40))
    assert (change.low, change.high, p_value) == (-np.inf, np.inf, 1.0)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_the_interval_of_a_share_covers_what_is_true(alike):
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(300):
        sizes = rng.integers(5, 25, 30)
        own = np.repeat(np.arange(30), sizes)
        whole = rng.random(30)[own] < 0.8
        hits = np.where(rng.random(len(own)) < alike, whole, rng.random(len(own)) < 0.8)
        found = share_of_groups(hits, own)
        assert found.value == pytest.approx(hits.mean())
        covered += found.low <= 0.8 <= found.high
    assert covered / 300 >= 0.92
    every = share_of_groups(np.ones(300, bool), np.repeat(np.arange(30), 10))
    student = stats.t.ppf(0.975, 29)
    assert every.low == pytest.approx(30 / (30 + student**2))  # Wilson's for thirty videos, and not 300 frames
    assert share(30, 30).low == pytest.approx(stats.binomtest(30, 30).proportion_ci(method="wilson").low)

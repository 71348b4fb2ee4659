"""Percentiles of histograms against NumPy's of the values themselves, and what is an alarm."""

import numpy as np
import pytest

from deploykit.core.result import Interval
from deploykit.core.settings.monitoring import MonitorSettings
from deploykit.monitoring.operation.latency import Slowness, failing, quantile
from deploykit.monitoring.operation.performance import Counts, Exported, PerformanceWatch

BOUNDS = tuple(1e-6 * (1.5 if half else 1.0) * 2**octave for octave in range(27) for half in (0, 1))
SIZES = tuple(2**octave for octave in range(13))


def histogram(seconds):
    return tuple(np.bincount(np.searchsorted(BOUNDS, seconds), minlength=len(BOUNDS) + 1).tolist())


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_quantile_is_that_of_the_values_within_its_bucket(share):
    seconds = np.random.default_rng(1).lognormal(-7, 0.8, 5000)
    found = quantile(histogram(seconds), BOUNDS, share)
    truth = np.quantile(seconds, share)
    place = np.searchsorted(BOUNDS, truth)
    assert found.value in (BOUNDS[place], BOUNDS[place + 1])
    assert found.low <= truth <= found.high


def test_its_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    truth = float(np.exp(-7 + 0.8 * 2.3263478740408408))  # the 99th percentile of that distribution
    held = 0
    for _ in range(400):
        found = quantile(histogram(rng.lognormal(-7, 0.8, 2000)), BOUNDS, 0.99)
        held += found.low <= truth <= found.high
    assert held >= 380  # the ends are those of buckets, so it holds more often than in 95 %


def test_too_few_requests_say_nothing_of_a_percentile():
    assert quantile(histogram([0.001] * 999), BOUNDS, 0.99) is None
    assert quantile(histogram([0.001] * 1000), BOUNDS, 0.99) is not None


def test_the_interval_of_a_share_is_wilson_s():
    # From Wilson (1927), by the formula with z = 1.96: 3 of 100.
    found = failing(3, 100)
    assert (found.value, found.low, found.high) == pytest.approx((0.03, 0.010254, 0.084521), abs=1e-5)
    assert failing(0, 0) == Interval(0.0, 0.0, 1.0)


def test_an_alarm_takes_three_windows_and_ends_after_three():
    slow = Slowness(1.0)
    high, low = Interval(2.0, 1.5, 3.0), Interval(0.5, 0.4, 0.6)
    assert [slow.add(high, at) for at in (10.0, 20.0)] == [False, False]
    assert not slow.add(low, 30.0)
    assert [slow.add(high, at) for at in (40.0, 50.0, 60.0)] == [False, False, True]
    assert (slow.since, slow.worst) == (40.0, 2.0)
    assert slow.add(None, 70.0)  # nothing came, so nothing is said
    assert [slow.add(low, at) for at in (80.0, 90.0, 100.0)] == [True, True, False]
    assert slow.since is None


def watch(**settings):
    exported = Exported(Interval(1.0, 1.0, 1.0), 2.0, 1)
    return PerformanceWatch(exported, BOUNDS, SIZES, MonitorSettings.of(settings))


def told(found):
    return {(kind, subject): finding for kind, subject, finding in found}


def running(watched, windows, rng, *, scale, failed=0):
    """Windows of 3,000 requests whose run stage has a 99th percentile of so many times two milliseconds."""
    counts, at, said = windows
    for _ in range(4):
        seconds = rng.uniform(0, 0.002 * scale / 0.99, 3000)
        runs = np.add(counts.stages.get("run", [0] * (len(BOUNDS) + 1)), histogram(seconds))
        counts = Counts(counts.answered + 3000, counts.failed + failed, 0, {"run": tuple(runs.tolist())})
        at += 10.0
        said = said | told(watched.add(counts, at))
    return counts, at, said


def test_a_slow_stage_is_named_with_since_when_and_how_many_requests():
    watched, rng = watch(), np.random.default_rng(3)
    start = Counts(stages={"run": (0,) * (len(BOUNDS) + 1)})
    assert told(watched.add(start, 0.0)) == {}
    state = running(watched, (start, 0.0, {}), rng, scale=1)
    assert state[2]["latency", "run"] is None
    stage = watched.window.stages[0]
    assert stage.exported_p99_ms == 2.0
    assert stage.p99_ms.low <= 2.0 <= stage.p99_ms.high
    state = running(watched, (state[0], state[1], {}), rng, scale=4)
    found = state[2]["latency", "run"]
    assert found.since == 40.0
    assert found.text.startswith("p99 is 4")
    assert "× the exported figure since" in found.text
    assert "run stage" in found.text
    assert 0.4 < found.share < 0.6  # half of a uniform distribution up to four times lies above twice
    state = running(watched, (state[0], state[1], {}), rng, scale=1)
    assert state[2]["latency", "run"] is None


def test_larger_batches_may_take_longer():
    watched, rng = watch(), np.random.default_rng(4)
    counts = Counts(stages={"run": (0,) * (len(BOUNDS) + 1)}, batches=(0,) * (len(SIZES) + 1))
    list(watched.add(counts, 0.0))
    runs, batches, found = np.zeros(len(BOUNDS) + 1, int), np.zeros(len(SIZES) + 1, int), {}
    for window in range(1, 6):
        runs += histogram(rng.uniform(0, 0.008, 3000))
        batches[2] += 3000  # four examples each
        now = Counts(3000 * window, stages={"run": tuple(runs.tolist())}, batches=tuple(batches.tolist()),
                     examples=12000 * window)  # fmt: skip
        found |= told(watched.add(now, 10.0 * window))
    assert found["latency", "run"] is None
    assert watched.window.stages[0].exported_p99_ms == 8.0


def test_failed_requests_are_an_alarm_and_refused_ones_are_not():
    watched, rng = watch(), np.random.default_rng(5)
    start = Counts(stages={"run": (0,) * (len(BOUNDS) + 1)})
    list(watched.add(start, 0.0))
    state = running(watched, (start, 0.0, {}), rng, scale=1, failed=0)
    assert state[2]["errors", ""] is None
    state = running(watched, (state[0], state[1], {}), rng, scale=1, failed=150)
    found = state[2]["errors", ""]
    assert found.since == 40.0
    assert found.share == pytest.approx(150 / 3150, rel=0.01)


def test_a_stream_that_stops_is_an_alarm_until_it_goes_on():
    watched = watch()
    counts = Counts()
    list(watched.add(counts, 0.0))
    found = {}
    for window in range(1, 6):
        counts = Counts(100 * window)
        found |= told(watched.add(counts, 10.0 * window))
    assert found["silence", ""] is None
    assert told(watched.add(counts, 100.0))["silence", ""] is None
    stopped = told(watched.add(counts, 120.0))["silence", ""]
    assert stopped.since == 50.0
    assert "Nothing has come for 70 s" in stopped.text
    assert told(watched.add(Counts(501), 130.0))["silence", ""] is None


def test_counts_that_begin_again_are_counted_from_nothing():
    assert Counts(5, stages={"run": (1, 2)}).since(Counts(100, stages={"run": (4, 4)})).answered == 5

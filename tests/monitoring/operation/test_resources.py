"""Trends against SciPy's, leaks that are there and that are not, and this process's own memory."""

import os

import numpy as np
import psutil
import pytest

from deploykit.monitoring.operation.resources import Growth, Meter, Resources, trend


def test_a_trend_is_theil_and_sen_s_as_scipy_has_it():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    times = np.arange(40.0)
    values = 3.0 + 0.25 * times + rng.standard_t(2, 40)
    found, truth = trend(times, values), stats.theilslopes(values, times, 0.95)
    assert found.value == pytest.approx(truth.slope)
    assert found.low == pytest.approx(truth.low_slope, abs=0.01)
    assert found.high == pytest.approx(truth.high_slope, abs=0.01)


def growing(per_hour, *, minutes=60, noise=1e6, seed=1):
    growth, rng = Growth(), np.random.default_rng(seed)
    for second in range(0, 60 * minutes, 5):
        growth.add(second, 2e8 + per_hour * second / 3600 + rng.normal(0, noise))
    return growth


def test_a_leak_is_found_with_how_much_it_is():
    found = growing(4e7).leaks
    assert found.low <= 4e7 <= found.high
    assert found.value == pytest.approx(4e7, rel=0.05)


@pytest.mark.parametrize("seed", range(20))
def test_noise_and_a_slow_warming_up_are_no_leak(seed):
    assert growing(0.0, noise=5e6, seed=seed).leaks is None
    assert growing(1e6, seed=seed).leaks is None


def test_before_ten_minutes_nothing_is_said():
    assert growing(4e8, minutes=9).per_hour is None


def test_what_a_process_takes_is_what_the_system_says():
    meter = Meter()
    meter.read([os.getpid()], 1.0)
    found = meter.read([os.getpid(), 2**22 + 1], 2.0)  # the second one is not there
    assert found.memory_bytes == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)
    assert found.threads >= 1
    assert 0 <= found.steal <= 1


def test_a_machine_that_is_shared_is_called_so():
    usual = {"cpu": 1.0, "memory_bytes": 1, "threads": 1, "files": 1}
    assert Resources(**usual, steal=0.0, frequency=1.0).slowed == ""
    assert "20%" in Resources(**usual, steal=0.2, frequency=None).slowed
    assert "50%" in Resources(**usual, steal=0.0, frequency=0.5).slowed

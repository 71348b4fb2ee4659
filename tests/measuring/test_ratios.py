"""From launches to claims: simulated launches with a known truth."""

import math
from dataclasses import replace

import numpy as np
import pytest

from deploykit.measuring.latency import Launch, Series
from deploykit.measuring.ratios import latencies, log_ratios, noise


def launches(levels, count=10, spread=0.01, seed=0, runs=20):
    """Launches whose sessions have an offset of their own, as real ones do."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        series = {}
        for key, level in levels.items():
            offset = math.exp(rng.normal(0, spread))
            blocks = [level * offset * np.exp(rng.normal(0, 0.03, runs)) for _ in range(5)]
            series[key] = Series(
                tuple(int(np.median(b)) for b in blocks),
                tuple(int(t) for b in blocks for t in b),
                int(level * 5 * runs),
            )
        found.append(Launch(index, series))
    return found


TRUTH = {"baseline": 1e6, "clone": 1e6, "fast": 0.5e6, "same": 1e6, "slow": 3e6}


def test_speedups_and_claims():
    found = latencies(launches(TRUTH), {"baseline": None, "fast": "same", "same": None, "slow": None})
    assert found["baseline"].claim == "baseline"
    assert found["fast"].claim == "faster"
    assert found["fast"].speedup.low < 2 < found["fast"].speedup.high
    assert found["fast"].speedup_same_runtime.value == pytest.approx(2, rel=0.05)
    assert found["slow"].claim == "slower"
    assert found["same"].claim in {"same", "unclear"}
    assert found["same"].speedup_same_runtime is None
    assert found["fast"].p50_ms.value == pytest.approx(0.5, rel=0.05)


def test_a_percentile_needs_samples_in_its_tail():
    few = latencies(launches(TRUTH, count=4), {"fast": None})["fast"]
    many = latencies(launches(TRUTH, count=10), {"fast": None})["fast"]
    assert few.runs == 400
    assert few.p99_ms is None
    assert many.p99_ms > many.p90_ms > many.p50_ms.value


def test_equal_models_are_rarely_called_different():
    """A/A: the margin and Holm's correction keep false claims away even though every session has its own offset."""
    false = 0
    for seed in range(60):
        levels = {"baseline": 1e6, "clone": 1e6, **{f"copy{i}": 1e6 for i in range(5)}}
        found = latencies(launches(levels, seed=seed), {f"copy{i}": None for i in range(5)})
        false += any(v.claim in {"faster", "slower"} for v in found.values())
    assert false <= 1


def test_intervals_over_launches_cover_the_truth():
    covered = sum(
        (interval := latencies(launches(TRUTH, seed=s), {"fast": None})["fast"].speedup).low <= 2 <= interval.high
        for s in range(60)
    )
    assert covered >= 53


def test_a_noisy_machine_is_named():
    found = latencies(launches(TRUTH, spread=0.2, count=3), {"same": None})["same"]
    assert "noisy" in found.flags
    assert "inconclusive" in found.flags
    assert found.claim == "unclear"
    assert not noise(launches(TRUTH)).noisy


def test_a_failed_series_is_left_out():
    made = launches(TRUTH)
    made[3].series["fast"] = Series(error={"type": "CandidateCrash", "message": "died", "remedy": "", "log": ""})
    assert len(log_ratios(made, "fast", "baseline")) == 9
    assert latencies(made, {"fast": None, "ghost": None}).keys() == {"fast"}


def test_what_the_hypervisor_took_is_told():
    some = [replace(launch, seconds=2.0, steal_seconds=0.5 * (i % 2)) for i, launch in enumerate(launches(TRUTH))]
    found = latencies(some, {"fast": None})
    assert found["fast"].steal == pytest.approx(0.125)

"""Capacity: the queueing model against formulas that are exact, and a plan from a real server."""

import math

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import GoalMissed, SettingError
from deploykit.serving.capacity import plan as planning
from deploykit.serving.capacity.measured import MeasuredWorker
from deploykit.serving.capacity.queueing import (
    WorkerSpeed,
    highest_rate,
    quantile_ms,
    simulate,
    spread_of,
    waiting,
)  # fmt: skip
from deploykit.testing.exporters import exportable

MEAN = 0.01
#: A hundred a second, with times of an exponential distribution, and all alike.
RANDOM = WorkerSpeed(((1, 1 / MEAN),), spread_of(np.random.default_rng(0).exponential(1, 200_000), 2000))
CONSTANT = WorkerSpeed(((1, 1 / MEAN),))


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_worker_is_the_queue_of_the_formulas(load):
    rate = load / MEAN
    times = simulate(RANDOM, rate, requests=100_000)
    # M/M/1: times are exponential with this mean, so that quantiles are known as well.
    mean = MEAN / (1 - load)
    assert times.mean() == pytest.approx(mean, rel=0.06)
    assert quantile_ms(times, 0.99) == pytest.approx(1000 * mean * math.log(100), rel=0.12)
    # M/D/1: Pollaczek and Khinchine.
    assert simulate(CONSTANT, rate).mean() == pytest.approx(MEAN * (1 + load / (2 * (1 - load))), rel=0.05)


def test_waiting_is_that_of_the_formulas():
    assert waiting(70, MEAN, 1, 1) == pytest.approx(MEAN * 0.7 / 0.3)
    assert waiting(70, MEAN, 0, 1) == pytest.approx(MEAN * 0.7 / 0.3 / 2)
    # Two servers, one erlang: Erlang's C is 1/3.
    assert waiting(100, MEAN, 1, 2) == pytest.approx(MEAN / 3)
    assert waiting(200, MEAN, 1, 2) == math.inf


def test_the_shortest_queue_is_between_one_queue_and_chance():
    rate = 4 * 0.8 / MEAN
    shared = MEAN + waiting(rate, MEAN, 1, 4)
    chance = MEAN / (1 - 0.8)
    least = simulate(RANDOM, rate, workers=4, balancing="least").mean()
    assert shared < least < simulate(RANDOM, rate, workers=4).mean()
    assert simulate(RANDOM, rate, workers=4, requests=200_000).mean() == pytest.approx(chance, rel=0.1)


def test_a_worker_that_joins_requests_is_faster_when_there_are_more():
    speed = WorkerSpeed(((1, 100.0), (4, 250.0)))
    assert speed.highest == 250
    assert speed.seconds()[1:] == pytest.approx([1 / 100, 1 / 150, 1 / 200, 1 / 250])
    assert simulate(speed, 150).mean() < 0.05  # a queue of the first speed alone would grow without end


def test_the_highest_rate_is_where_p99_meets_the_limit():
    # M/M/1: p99 is ln(100) / (100 - rate).
    assert highest_rate(RANDOM, 100) == pytest.approx(100 - math.log(100) / 0.1, rel=0.06)
    assert highest_rate(RANDOM, 1) == 0


def test_a_plan_has_enough_workers_and_no_more():
    worker = MeasuredWorker(RANDOM, 7.0, 46.0, 9000.0, 50_000_000)
    found = planning.plan(worker, 1000, 200, 0.3)
    most = min(found["at_limit"], 70)
    assert (found["workers"] - 1) * most < 1000 <= found["workers"] * most
    assert found["planned"].p99_ms <= 200
    assert found["shared_p99_ms"] < found["planned"].p99_ms
    assert found["planned"].at_once == pytest.approx(0.7 / 0.3, rel=0.15)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("capacity")
    return dk.export(exportable("cnn_onnx", folder), folder / "out")


@pytest.mark.long
@pytest.mark.alone
def test_a_real_worker_is_planned_with_and_its_server_asked(artifact):
    found = dk.capacity(
        artifact, rate=100, p99_ms=60_000, price=2.0, check=True, rounds=1, seconds=0.1, progress=lambda _: None
    )
    assert found.workers == 1
    assert [number for number, _ in found.worker.speed.rates] == [1, 2, 3, 4, 6, 8, 12, 16, 32]
    assert np.mean(found.worker.speed.spread) == pytest.approx(1)
    assert [point.load for point in found.loads] == pytest.approx([0.5, 0.7, 0.85])
    assert all(0 < point.real_p50_ms <= point.real_p99_ms for point in found.loads)
    assert found.memory_bytes > 1e7
    # One worker, which takes a core or a little more, does 100 a second: a million takes 2.8 hours.
    assert found.per_million >= 2.0 * 1e6 / 100 / 3600
    assert "100 requests/s, p99 within 60000 ms" in str(found)
    assert found._repr_html_().count("<table") == 2
    assert dk.Capacity.from_json(found.to_json()) == found


@pytest.mark.alone
def test_a_limit_that_nothing_keeps_is_refused(artifact):
    with pytest.raises(GoalMissed, match=r"A request that is alone takes .* no number of workers keeps that within"):
        dk.capacity(artifact, rate=1, p99_ms=0.001, rounds=1, seconds=0.02, progress=lambda _: None)


@pytest.mark.parametrize("given", [{"rate": 0}, {"p99_ms": -1}, {"headroom": 1}, {"rounds": 0}, {"price": -1}])
def test_what_is_out_of_range_is_refused_by_name(artifact, given):
    with pytest.raises(SettingError, match=next(iter(given))):
        dk.capacity(artifact, **{"rate": 1, "p99_ms": 1, **given})

"""Who gets how many launches. The launches are made up, so that it is known who is faster."""

import random
from pathlib import Path

import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.measuring.latency import Launch, Series, Timer

pytestmark = [pytest.mark.alone, pytest.mark.long]

_LAUNCHES = 8


class _Clock:
    """Launches in which a session takes as long as its file is large, give or take some noise."""

    def __init__(self):
        self.noise = 0.001
        self.launches = []
        self.crash = None

    def launch(self, timer, index, entries, say=None):
        self.launches.append([e.key for e in entries])
        if self.crash is not None and len(self.launches) > self.crash:
            raise dk.errors.StoreError("the disk is full.")
        rng = random.Random(f"{index} {self.noise}")
        series = {}
        for entry in entries:
            near = 1000 * Path(entry.path).stat().st_size * (1 + rng.gauss(0, self.noise))
            times = tuple(int(near * (1 + 0.001 * rng.random())) for _ in range(20))
            series[entry.key] = Series(times[:5], times, sum(times))
        return Launch(index, series, 0.01)


@pytest.fixture
def clock(monkeypatch):
    found = _Clock()
    monkeypatch.setattr(Timer, "launch", lambda timer, *args, **options: found.launch(timer, *args, **options))
    return found


@pytest.fixture
def sweep(onnx_model, images, tmp_path):
    space = dk.Space([Recipe((Step("quantize_static"),)), Recipe((Step("quantize_dynamic"),))], [Target("onnxruntime")])

    def run(**options):
        return dk.sweep(
            onnx_model, images, space, store=tmp_path / "s", launches=_LAUNCHES, progress=lambda _p: None, **options
        )

    return run


def test_the_budget_goes_to_the_front(clock, sweep):
    rows = {r.label: r.measurement.latency for r in sweep().rows}
    assert rows["original"].launches == _LAUNCHES
    assert rows["original"].claim == "baseline"
    for label in ("int8 static", "int8 dynamic"):  # larger files, so slower here, and no more accurate
        assert rows[label].launches == 3
        assert "screened" in rows[label].flags
        assert rows[label].claim == "slower"


def test_without_adaptation_all_get_all_launches(clock, sweep):
    sweep()
    assert {r.measurement.latency.launches for r in sweep(adaptive=False).rows} == {_LAUNCHES}
    before = len(clock.launches)
    again = sweep()
    assert len(clock.launches) == before
    assert not any("screened" in r.measurement.latency.flags for r in again.rows)


def test_a_second_sweep_times_nothing_and_says_the_same(clock, sweep):
    first = sweep()
    before = len(clock.launches)
    assert sweep().rows == first.rows
    assert len(clock.launches) == before


def test_what_an_interrupted_sweep_has_timed_is_not_timed_again(clock, sweep):
    clock.crash = 5
    with pytest.raises(dk.errors.StoreError):
        sweep()
    clock.crash = None
    clock.launches.clear()
    rows = sweep().rows
    assert len(clock.launches) == _LAUNCHES - 5
    assert rows[0].measurement.latency.launches == _LAUNCHES


def test_a_noisy_host_gets_more_launches_and_is_named(clock, sweep):
    clock.noise = 0.2
    latency = sweep().rows[0].measurement.latency
    assert latency.launches == 2 * _LAUNCHES
    assert "noisy" in latency.flags

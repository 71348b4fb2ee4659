"""How much time is left: what is known of it, and what a sweep shows."""

import shutil

import pytest

import deploykit as dk
from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.measuring.latency import Launch, Series
from deploykit.measuring.ratios import BASELINE, CLONE, launches_needed, steady
from deploykit.planning.durations import OVERHEAD_S, Durations, Units
from deploykit.planning.history import History, Unit
from deploykit.planning.screening import Standing, launched, likely, losing, standings
from deploykit.sweeping.forecast import Forecast

pytestmark = [pytest.mark.alone, pytest.mark.long]


@pytest.fixture
def durations(onnx_model, images, tmp_path):
    return Durations(Units(onnx_model, images), History(tmp_path / "durations.json"))


def unit(name, parameters=200_000):
    return Unit("step", name, "light", parameters=parameters, examples=200)


def test_what_waits_for_something_else_comes_after_it(durations):
    one = durations.history.expect(unit("a")).seconds + OVERHEAD_S
    durations.expect("a", unit("a"))
    durations.expect("b", unit("b"), ("a",))
    durations.expect("c", unit("c"))
    assert durations.left(1) == pytest.approx(3 * one)
    assert durations.left(9) == pytest.approx(2 * one)
    durations.finish("a")
    assert durations.left(9) == pytest.approx(one)


def test_work_of_a_kind_that_took_twice_as_long_is_expected_to_do_so_again(durations):
    usual = durations.history.expect(unit("a")).seconds
    for place in range(3):
        durations.expect(f"a{place}", unit("a"))
    durations.finish("a0", 2 * usual)
    assert durations.left(1) == pytest.approx(2 * (2 * usual + OVERHEAD_S))
    assert durations.seconds(unit("other")) < 1.2 * usual  # half a second says little about other work


def test_the_time_left_of_running_work_falls_and_never_ends_before_it_does(durations, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("deploykit.planning.durations.time.monotonic", lambda: now[0])
    durations.expect("a", unit("a"))
    whole = durations.left(1)
    durations.begin("a")
    now[0] += whole / 2
    assert durations.left(1) == pytest.approx(whole / 2)
    now[0] += 10 * whole
    assert 0 < durations.left(1) < whole / 2


def launch(index, drift):
    """A launch in which the clone takes as much longer as ``drift`` says."""
    times = (1_000_000,) * 5
    return Launch(index, {
        BASELINE: Series(times, times, 1), CLONE: Series(tuple(int(t * (1 + drift)) for t in times), times, 1),
    }, 1.0)  # fmt: skip


def test_a_noisy_host_is_expected_to_add_launches():
    quiet = [launch(i, 0.001 * (-1) ** i) for i in range(6)]
    noisy = [launch(i, 0.03 * (-1) ** i) for i in range(6)]
    assert launches_needed(quiet, 6, 20) == 6
    assert launches_needed(quiet, 10, 20) == 10
    assert launches_needed(quiet[:2], 10, 20) == 10
    assert launches_needed(noisy, 10, 20) == 20
    assert 20 < launches_needed(noisy, 10, 100) < 60


def test_a_launch_that_was_disturbed_adds_as_many_as_make_up_for_it():
    """Against the rule that decides it, with as many quiet launches as it takes."""
    quiet = [launch(i, 0.002 * (-1) ** i) for i in range(40)]
    launches = [*quiet[:5], launch(5, 0.08), *quiet[6:]]
    real = next(count for count in range(10, 40) if steady(launches[:count]))
    assert 10 < real < 30
    assert launches_needed(launches[:9], 10, 40) == pytest.approx(real, abs=3)
    assert launches_needed(launches[:real], 10, 40) == real


def test_only_the_models_that_are_kept_are_timed_after_the_screen(durations):
    target = Target("onnxruntime")
    forecast = Forecast(durations, 10, 3, 20, 60.0, [target] * 6, 1.0)
    one = durations.sessions([target])
    assert forecast.seconds() == pytest.approx(6 * one * 10)
    forecast.screening([[target] * 6], [1])
    assert forecast.seconds() == pytest.approx(6 * one * 2 + 6 * one * 7)
    forecast.keeping([target] * 3)
    assert forecast.seconds() == pytest.approx(6 * one * 2 + 3 * one * 7)
    forecast.finishing([[target] * 2], [7])
    assert forecast.seconds() == pytest.approx(2 * one * 7)


def test_the_screen_is_expected_to_drop_what_another_candidate_beats():
    fast = Standing("cpu", 0.0, time=0.25)
    assert losing({"fast": fast, "slow": Standing("cpu", 0.001, time=0.3)}) == {"slow"}
    assert losing({"fast": fast, "near": Standing("cpu", 0.001, time=0.27)}) == set()  # not by so much
    assert losing({"fast": fast, "better": Standing("cpu", -0.001, time=0.3)}) == set()
    assert losing({"fast": fast, "elsewhere": Standing("gpu", 0.001, time=0.3)}) == set()
    assert losing({"fast": fast, "unseen": Standing("cpu", 0.001)}) == set()
    assert losing({"base": Standing("cpu", 0.0, time=1.0), "x": Standing("cpu", 0.03, 0.02, 0.5)}, 0.01) == {"x"}


def test_launches_are_expected_between_what_is_usual_and_what_the_screen_leaves():
    assert launched(1.0, asked=10, screen=3, kept=1.0) == pytest.approx(1.0)
    assert launched(0.8, asked=10, screen=3, kept=0.0) == pytest.approx((0.8 + 0.3) / 2)
    assert launched(0.8, asked=10, screen=3, kept=0.5) == pytest.approx((0.8 + 0.65) / 2)


def test_a_candidate_is_expected_to_be_like_those_with_the_same_techniques(swept):
    rows = swept[1].rows
    (static,) = (row.measurement for row in rows if row.label == "int8 static")
    target = rows[0].candidate.target
    more = {
        "like": Candidate(Recipe((Step("quantize_static", {"per_channel": True}),)), target),
        "unlike": Candidate(Recipe((Step("quantize_float16"),)), target),
        "elsewhere": Candidate(Recipe((Step("quantize_static"),)), Target("litert")),
    }
    found = likely(rows, more)
    assert list(found) == ["like"]
    assert found["like"].time == pytest.approx(1 / static.latency.speedup.value)
    assert found["like"].drop == pytest.approx(static.score.drop.value)
    assert standings(rows)[rows[1].key].time == pytest.approx(1 / rows[1].measurement.latency.speedup.value)


def test_a_sweep_begins_with_the_plan_s_estimate_and_never_runs_backward(onnx_model, images, small_space, tmp_path):
    events = []
    store = tmp_path / "s"
    expected = dk.plan(onnx_model, images, small_space, store=store, launches=2).expected
    dk.sweep(onnx_model, images, small_space, store=store, launches=2, progress=events.append)
    first = next(e.seconds_left for e in events if e.seconds_left is not None)
    assert first == pytest.approx(expected.seconds, rel=0.05)
    shares = [e.share for e in events]
    assert shares == sorted(shares)
    assert (shares[-1], events[-1].seconds_left) == (1.0, 0.0)
    assert all(e.timed <= e.evaluated <= e.built <= e.candidates for e in events)
    assert (events[-1].candidates, events[-1].built, events[-1].timed) == (3, 3, 3)


def test_candidates_of_an_earlier_sweep_do_not_count(swept, onnx_model, images, tmp_path):
    store, events = shutil.copytree(swept[0], tmp_path / "copy"), []
    other = dk.Space([Recipe((Step("quantize_static", {"per_channel": True}),))], [Target("onnxruntime")])
    report = dk.sweep(onnx_model, images, other, store=store, launches=2, progress=events.append)
    assert len(report.rows) == 4
    assert {e.candidates for e in events} == {2}
    assert events[-1].timed == 2

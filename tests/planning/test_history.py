"""Durations: kept for a user and a machine, scaled to other models, and never in the way."""

from dataclasses import replace

import pytest

from deploykit.planning.history import History, Recorder, Unit

STEP = Unit("step", "quantize/onnx", "light", "a", "model", 400_000, 200)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "durations.json"


def remember(path, *pairs):
    recorder = Recorder()
    for unit, seconds in pairs:
        recorder.note(unit, seconds, 1000)
    recorder.save(path)


def test_a_fresh_machine_has_typical_durations(path):
    guess = History(path).expect(replace(STEP, parameters=200_000))
    assert (guess.how, guess.seconds) == ("typical", 0.4)


def test_the_same_settings_count_before_the_same_model_and_that_before_others(path):
    other = replace(STEP, model="other", settings="b")
    remember(path, (STEP, 1.0), (replace(STEP, settings="b"), 5.0), (other, 70.0))
    history = History(path)
    assert history.expect(STEP).seconds == 1.0
    assert history.expect(replace(STEP, settings="c")).seconds == 3.0
    assert history.expect(replace(STEP, model="third")).how == "other models"


def test_more_examples_take_longer_in_proportion_and_larger_models_less_than_that(path):
    remember(path, (STEP, 2.0))
    history = History(path)
    assert history.expect(replace(STEP, examples=600)).seconds == pytest.approx(6.0)
    larger = history.expect(replace(STEP, model="other", parameters=4_000_000))
    assert 2.0 < larger.seconds < 20.0


def test_of_more_candidates_a_smaller_share_gets_all_launches(path):
    few = Unit("launches", "screened", "screened", "3 bits", "model", 400_000, 5)
    remember(path, *[(few, 2.0)] * 5)
    many = replace(few, settings="6 bits", examples=40)
    assert 0.9 <= History(path).expect(many).seconds < 1.3
    assert 1.8 < History(path).expect(few).seconds <= 2.0


def test_launches_a_noisy_host_adds_are_expected_on_average(path):
    unit = Unit("launches", "full", "full", "2 bits", "model", 400_000, 2)
    typical = History(path).expect(unit)
    assert typical.how == "typical"
    remember(path, (unit, 2.2), (replace(unit, settings="3 bits", model="other"), 1.0))
    found = History(path).expect(unit)
    assert found.seconds == pytest.approx((2.2 + 1.0 + typical.seconds) / 3)
    assert found.how == "this model"
    assert History(path).expect(replace(unit, model="new")).how == "other models"


def test_another_machine_tells_nothing(path, monkeypatch):
    remember(path, (STEP, 50.0))
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    assert History(path).expect(STEP).how == "typical"


def test_only_the_latest_durations_are_kept(path):
    for seconds in range(1, 9):
        remember(path, (STEP, float(seconds)))
    assert History(path).expect(STEP).seconds == 6.0
    assert History(path).size_bytes(STEP) == 1000


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 1}', b'{"version": 1, "entries": [{"unit": 3}]}'])
def test_a_broken_file_is_as_none_and_is_replaced(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    assert History(path).expect(STEP).how == "typical"
    remember(path, (STEP, 1.5))
    assert History(path).expect(STEP).seconds == 1.5
    assert not list(path.parent.glob("*.tmp"))


def test_a_cache_that_cannot_be_written_disturbs_nobody(tmp_path):
    (tmp_path / "cache").write_text("a file")
    remember(tmp_path / "cache" / "durations.json", (STEP, 1.0))
    assert History(tmp_path / "cache" / "durations.json").expect(STEP).how == "typical"

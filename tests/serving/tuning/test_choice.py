"""Which row is chosen, and what is said about it."""

import pytest

from deploykit.core.errors import GoalMissed, SettingError
from deploykit.core.result import Failure, Interval
from deploykit.core.serial import dump, parse
from deploykit.core.settings.serving import ServingSettings
from deploykit.serving.tuning.grid import TuningGrid
from deploykit.serving.tuning.rows import TuningRow, choose
from deploykit.serving.tuning.tuning import Tuning


def row(rate, p99_ms, settings=(1, 1, 8), concurrency=8, *, off=0.02, confirmed=True, **more):
    def about(value):
        return Interval(value, value * (1 - off), value * (1 + off))

    return TuningRow(
        "onnxruntime", ServingSettings(*settings), concurrency, about(rate), about(p99_ms / 2), about(p99_ms),
        rounds=5 if confirmed else 2, confirmed=confirmed, requests=5000, **more,
    )  # fmt: skip


def failed(settings, cause="A worker exited during startup (status -9)."):
    return TuningRow("onnxruntime", ServingSettings(*settings), 8, failure=Failure("serving", "WorkerDeath", cause))


def tuning(*rows, p99_ms=20.0, **more):
    grid = TuningGrid.of(["onnxruntime"], [1, 8, 32], 2)
    return Tuning("served/cnn", "cnn", {}, p99_ms, grid, rows, 60, 360, ServingSettings(1, 1, 8), **more)


def test_the_highest_rate_whose_p99_holds_is_chosen():
    rows = [row(1000, 5), row(3000, 25, (2, 1, 32), 32), row(2000, 15, (2, 1, 8))]
    assert choose(rows, 20.0) is rows[2]
    assert choose(rows, 10.0) is rows[0]
    assert choose(rows, 30.0) is rows[1]


def test_the_far_end_of_p99_must_hold():
    rows = [row(1000, 5), row(2000, 19.9, (2, 1, 8))]
    assert choose(rows, 20.0) is rows[0]


def test_rates_that_are_the_same_leave_the_choice_to_processes_and_threads():
    rows = [row(2000, 5, (2, 2, 8)), row(2030, 5, (2, 1, 8)), row(1990, 5, (1, 2, 4)), row(1900, 5, (1, 1, 8))]
    assert choose(rows, 20.0) is rows[2]


def test_what_was_measured_in_turns_counts_first():
    rows = [row(3000, 5, (2, 2, 8), confirmed=False), row(2000, 5, (2, 1, 8))]
    assert choose(rows, 20.0) is rows[1]
    assert choose([rows[0], row(2000, 50, (2, 1, 8))], 20.0) is rows[0]


def test_the_closest_is_given_where_none_holds():
    rows = [row(3000, 60, (2, 2, 8)), row(2000, 50, (2, 1, 8)), failed((1, 1, 8))]
    assert choose(rows, 20.0) is rows[1]
    assert not tuning(*rows).met
    with pytest.raises(GoalMissed, match="No p99 is confirmed to hold; the closest: ONNX Runtime with 2 workers"):
        tuning(*rows).require()
    with pytest.raises(GoalMissed):
        tuning(*rows).apply()


def test_there_is_no_choice_where_all_failed():
    found = tuning(failed((1, 1, 8)), failed((2, 1, 8)))
    with pytest.raises(SettingError, match=r"No settings could be measured\. A worker exited during startup"):
        _ = found.best
    assert found.explain() == "Nothing could be measured: 2 settings failed."
    assert "failed: A worker exited" in str(found)
    assert "failed: A worker exited" in found._repr_mimebundle_()["text/html"]


def test_it_says_what_tuning_is_worth():
    found = tuning(row(1000, 8), row(2500, 12, (2, 1, 16), 32, stages_ms={"decode": 0.1, "queue": 3.0, "run": 0.9}))
    assert found.explain().splitlines() == [
        "Best: ONNX Runtime with 2 workers, 1 thread, batches up to 16: 2,500 ± 50 requests/s at 32 connections, p99 "
        "12.0 ± 0.2 ms (limit 20 ms).",
        "Without tuning (1 worker, 1 thread, batches up to 8): 1,000 ± 20 requests/s at 8 connections, p99 8.0 ± 0.2 "
        "ms; the best has 2.50× its rate.",
        "A request's time in the server: decode 0.10 ms, queue 3.0 ms, run 0.90 ms; requests mostly wait for their "
        "turn: a faster model or more cores would raise the rate.",
        "Measured 2 of 72 points in 60 rounds, 17 % of the 360 that all would take.",
    ]


def test_it_says_what_makes_its_numbers_doubtful():
    unsure = row(1000, 8, off=0.3, sender_cpu=0.97)
    said = tuning(TuningRow(**{**vars(unsure), "requests": 300}), failed((2, 1, 8)), finished=False).explain()
    assert "The rate is uncertain by 30 %: run it again when nothing else runs on this machine." in said
    assert "Sending took its whole core: the server may be able to do more." in said
    assert "p99 rests on 300 requests: give more time (seconds=) to be surer." in said
    assert "1 of them failed; the rows say why." in said
    assert "stopped early" in said


def test_it_round_trips_as_json():
    found = tuning(row(1000, 8, stages_ms={"run": 0.5}), failed((2, 1, 8)), environment={"cores": 2, "load": [0.1]})
    assert Tuning.from_json(parse(dump(found.to_json()))) == found


def test_the_curve_joins_the_loads_of_the_same_settings():
    """Batches that are larger than the connections are measured once, as the smallest of them."""
    found = tuning(
        row(500, 2, (2, 1, 1), 1), row(1800, 6, (2, 1, 8), 8), row(2500, 12, (2, 1, 16), 32),
        row(450, 2, (1, 1, 1), 1), row(1000, 8, (1, 1, 8), 8), row(1100, 30, (1, 1, 8), 32),
        row(900, 9, (1, 2, 8), 8, confirmed=False), failed((2, 2, 8)),
    )  # fmt: skip
    points = {line: [] for line in ("best settings", "without tuning", "other settings")}
    for point in found.points():
        points[point["line"]].append((point["concurrency"], point["rate"]))
    assert points == {
        "best settings": [(1, 500), (8, 1800), (32, 2500)],
        "without tuning": [(1, 450), (8, 1000), (32, 1100)],
        "other settings": [(8, 900)],
    }
    other = next(p for p in found.points() if p["line"] == "other settings")
    assert (other["rate_low"], other["rate_high"]) == (900, 900), "two rounds give no interval worth drawing"


@pytest.mark.parametrize("dark", [False, True])
def test_the_chart_is_drawn_and_described(dark):
    found = tuning(row(1000, 8), row(2500, 12, (2, 1, 16), 32))
    chart = found.chart(dark=dark)
    assert "<svg" in chart._repr_mimebundle_()["image/svg+xml"]
    assert "2,500 ± 50 requests/s at 32 connections" in chart.description
    assert "best within 20 ms" in dump(chart.to_dict()).decode()


def test_a_notebook_shows_it_in_light_and_dark():
    shown = tuning(row(1000, 8), row(2500, 12, (2, 1, 16), 32))._repr_mimebundle_()
    assert "dk-light" in shown["text/html"]
    assert "dk-dark" in shown["text/html"]
    assert "2 workers, 1 thread, batches up to 16" in shown["text/plain"]


def test_rows_are_a_data_frame():
    frame = tuning(row(1000, 8), row(2500, 12, (2, 1, 16), 32), failed((2, 2, 8))).to_frame()
    assert frame["best"].tolist() == [False, True, False]
    assert frame["workers"].tolist() == [1, 2, 2]
    assert frame["rate"].isna().tolist() == [False, False, True]

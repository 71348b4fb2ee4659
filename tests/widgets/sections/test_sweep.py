from types import SimpleNamespace

from deploykit_widgets.sections.sweep import Pace, counts, sentence
from deploykit_widgets.state import State

from deploykit.reporting.events import Progress


def test_a_sweep_is_late_when_its_end_has_moved_away():
    pace = Pace()
    assert not pace.late(0, None)
    assert not pace.late(10, 200)
    assert not pace.late(110, 100)
    assert not pace.late(110, 145)  # within what was said
    assert pace.late(110, 160)
    assert not pace.late(150, 90)  # it has caught up


def test_seconds_more_are_not_late_and_each_run_has_its_own_expectation():
    pace = Pace()
    assert not pace.late(0, 8)
    assert not pace.late(8, 9)
    assert pace.late(8, 11)
    assert not pace.late(20, None)  # paused
    assert not pace.late(500, 100)


def test_counts_are_of_the_sweep_that_runs_not_of_what_the_store_holds(tmp_path):
    rows = [SimpleNamespace(status="measured")] * 18
    progress = Progress(
        "latency", "timing all 6 models, round 2 of 3", 3, 9, candidates=5, built=5, evaluated=5, timed=2
    )
    state = State(tmp_path, sweep="running", progress=progress, report=SimpleNamespace(rows=rows))
    assert counts(state) == (2, 0, 5)
    bold, words, _soft, left = sentence(state)
    assert bold == "5 built · 2 timed of 5"
    assert words == " · timing all 6 models, round 2 of 3"
    assert left == "estimating time left"
    state.sweep, state.took_s = "done", 12.0
    assert sentence(state)[0] == "Done: 5 measured"
    state.sweep = "idle"
    assert counts(state) == (18, 0, 18)


def test_who_holds_the_machine_does_not_fill_the_strip(tmp_path):
    doing = "waiting: another deploykit process is working on this machine"
    progress = Progress("latency", doing, 3, 9, candidates=5, detail="process 7: python, since noon")
    state = State(tmp_path, sweep="running", progress=progress)
    assert sentence(state)[1] == " · waiting: another deploykit process is working on this machine"

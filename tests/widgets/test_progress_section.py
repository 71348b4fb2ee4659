from deploykit_widgets.progress_section import Pace


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

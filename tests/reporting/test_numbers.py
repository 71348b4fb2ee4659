"""Digits follow the uncertainty."""

import math

import pytest

from deploykit.core.events import Progress
from deploykit.core.result import Interval
from deploykit.reporting import numbers
from deploykit.reporting.progress import Lines, TerminalBar, duration, line


def test_plus_minus():
    assert numbers.plus_minus(Interval(0.0944, 0.0931, 0.0957), 3) == "0.094 ± 0.001"
    assert numbers.plus_minus(Interval(0.5, 0.49999, 0.50001), 3) == "0.500 ± 0.001"
    assert numbers.plus_minus(Interval(0.5, -math.inf, math.inf), 2) == "0.50"


def test_points():
    assert numbers.points(Interval(-0.0031, -0.0055, -0.0007)) == "−0.31 ± 0.24"
    assert numbers.points(Interval(-0.01, -0.03, -0.005)) == "−1.00 [−3.00, −0.50]"


@pytest.mark.parametrize(
    ("share", "shown"), [(0.01, "1.0"), (0.0025, "0.25"), (0.0007, "0.07"), (0.00125, "0.125"), (0, "0.0")]
)
def test_limits_keep_all_their_digits(share, shown):
    assert numbers.limit(share) == f"{shown} pp"
    assert numbers.limit(share, relative=True) == f"{shown} %"


def test_times():
    assert numbers.times(Interval(2.789, 2.75, 2.83)) == "×2.79 [2.75, 2.83]"
    assert numbers.times(None) == "—"


def test_kilobytes():
    assert numbers.kilobytes(1_394_739) == "1,395"
    assert numbers.kilobytes(4321) == "4.3"


def test_digits():
    assert numbers.digits_for([0.001, 0.002, 0.5]) == 3
    assert numbers.digits_for([]) == 3


@pytest.mark.parametrize(
    ("seconds", "shown"), [(2, "5 s"), (42, "40 s"), (100, "1 min 40 s"), (120, "2 min"), (3700, "1 h")]
)
def test_durations_have_two_units(seconds, shown):
    assert duration(seconds).startswith(shown)


def test_a_line_of_progress():
    doing = "timing all 9 models, round 2 of 3"
    progress = Progress("latency", doing, 40, 48, failed=3, seconds_left=100, candidates=18, built=12, timed=8)
    assert line(progress) == f"12 built · 8 timed of 18 · {doing} · 3 failed · about 1 min 40 s left"
    building = Progress("build", "float16", 2, 48, candidates=18, built=2, evaluated=1)
    assert line(building) == "2 built · 1 evaluated of 18 · float16"


def test_a_bar_fits_its_line(capsys):
    bar = TerminalBar()
    bar(Progress("build", "x" * 500, 1, 2))
    bar(Progress("done", "2 measured", 2, 2))
    shown = capsys.readouterr().err
    assert shown.endswith("done: 2 measured\n")
    assert all(len(part) < 130 for part in shown.split("\r"))


def test_lines_are_few(capsys):
    lines = Lines()
    for done in range(100):
        lines(Progress("build", "converting", done, 100))
    lines(Progress("done", "all", 100, 100))
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("words", ["cancelled; finished work is kept", "stopped: the disk is full."])
def test_the_end_of_a_sweep_is_said_once(words, capsys):
    Lines()(Progress("cancelled", words, 1, 2, share=0.5, candidates=2))
    assert capsys.readouterr().out == f"[ 50 %] {words}\n"

"""Digits follow the uncertainty."""

import json
import math
import random
from pathlib import Path

import pytest

from deploykit.core.result import Interval
from deploykit.reporting import numbers
from deploykit.reporting.events import Progress
from deploykit.reporting.progress import Lines, TerminalBar, duration, line


def around(value, half):
    return Interval(value, value - half, value + half)


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        (around(0.0387, 0.00012), "0.0387 ± 0.0001"),
        (around(0.0387, 0.0096), "0.039 ± 0.010"),
        (around(0.0944, 0.0013), "0.094 ± 0.001"),
        (around(1234.6, 12.4), "1235 ± 12"),
        (around(0.5, 1e-9), "0.500000 ± 0.000001"),
        (Interval(0.5, 0.5, 0.5), "0.500 ± 0.001"),
        (Interval(0.52345, -math.inf, math.inf), "0.523"),
    ],
)
def test_milliseconds_have_the_digits_of_their_interval(interval, shown):
    assert numbers.milliseconds(interval) == shown


def test_points():
    assert numbers.points(Interval(-0.0031, -0.0055, -0.0007)) == "−0.31 ± 0.24"
    assert numbers.points(Interval(-0.01, -0.03, -0.005)) == "−1.00 [−3.00, −0.50]"
    assert numbers.points(Interval(-0.00001, -0.00002, 0.0)) == "0.00 ± 0.01"


@pytest.mark.parametrize(
    ("value", "shown"), [(17.31, "17.3×"), (4.81, "4.81×"), (1.0, "1.00×"), (0.372, "0.37×"), (431.0, "431×")]
)
def test_ratios_in_sentences_are_those_of_the_table(value, shown):
    assert numbers.ratio(value) == shown
    assert numbers.times(Interval(value, value, value)).startswith(shown)


_CASES = Path(__file__).parents[2] / "widgets" / "tests" / "numbers.json"


def cases():
    """What both formatters must write: ties, ends of ranges, and many values of all magnitudes."""
    rng, found = random.Random(6), []
    intervals = [(0.125, 0.124, 0.126), (0.5, 0.5, 0.5), (2.675, 2.665, 2.685), (9.995, 9.9, 10.1), (99.95, 99, 101)]
    intervals += [(17.3, 16.9, 17.7), (0.0387, 0.0386, 0.0388), (1.0, 0.5, 3e7), (0.0, -0.001, 0.001)]
    for _ in range(300):
        value = 10 ** rng.uniform(-4, 4)
        half = value * 10 ** rng.uniform(-5, 0.3)
        intervals.append((value, value - half, value + half * rng.choice((1, 1, 1.7))))
    kinds = {"milliseconds": numbers.milliseconds, "times": numbers.times, "amount": numbers.amount}
    for ends in intervals:
        interval = Interval(*ends)
        found += [{"kind": kind, "given": list(ends), "shown": write(interval)} for kind, write in kinds.items()]
        found.append(
            {"kind": "beside", "given": [1.3 * ends[0], *ends], "shown": numbers.beside(1.3 * ends[0], interval)}
        )
        shares = [(end - 0.3) / 100 for end in ends]
        found.append({"kind": "points", "given": shares, "shown": numbers.points(Interval(*shares))})
        found.append({"kind": "score", "given": [ends[0], 1], "shown": numbers.score(ends[0], relative=True)})
        found.append({"kind": "score", "given": [ends[0] / 9, 0], "shown": numbers.score(ends[0] / 9, relative=False)})
        size = round(1e4 * ends[0])
        found.append({"kind": "kilobytes", "given": [size], "shown": numbers.kilobytes(size)})
        found.append({"kind": "megabytes", "given": [size], "shown": numbers.megabytes(size)})
    return found


def test_the_browser_has_the_same_cases():
    """``python tests/reporting/test_numbers.py`` writes them; vitest reads them."""
    assert json.loads(_CASES.read_text(encoding="utf-8")) == cases()


@pytest.mark.parametrize(
    ("share", "shown"), [(0.01, "1.0"), (0.0025, "0.25"), (0.0007, "0.07"), (0.00125, "0.125"), (0, "0.0")]
)
def test_limits_keep_all_their_digits(share, shown):
    assert numbers.limit(share) == f"{shown} pp"
    assert numbers.limit(share, relative=True) == f"{shown} %"


def test_times():
    assert numbers.times(Interval(2.789, 2.75, 2.83)) == "2.79× [2.75, 2.83]"
    assert numbers.times(Interval(17.31, 16.9, 17.72)) == "17.3× [16.9, 17.7]"
    assert numbers.times(None) == "—"


def test_kilobytes():
    assert numbers.kilobytes(1_394_739) == "1,395"
    assert numbers.kilobytes(4321) == "4.3"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.2, "1 s"), (2, "2 s"), (42, "40 s"), (58, "1 min"), (100, "1 min 40 s"), (120, "2 min"), (3700, "1 h")],
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


@pytest.mark.parametrize(
    ("phase", "doing", "words"),
    [
        ("cancelled", "cancelled; finished work is kept", "cancelled; finished work is kept"),
        ("failed", "the disk is full.", "stopped: the disk is full."),
        ("failed", "", "stopped"),
    ],
)
def test_the_end_of_a_sweep_is_said_once(phase, doing, words, capsys):
    Lines()(Progress(phase, doing, 1, 2, share=0.5, candidates=2))
    assert capsys.readouterr().out == f"[ 50 %] {words}\n"


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases())
    _CASES.write_text(f"[\n{lines}\n]\n", encoding="utf-8")

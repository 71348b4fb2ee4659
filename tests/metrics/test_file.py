"""A metric in a file of one's own."""

import numpy as np
import pytest

from deploykit.core.errors import SettingError
from deploykit.core.settings.option import options_of, python_file
from deploykit.core.settings.options import SweepOptions
from deploykit.metrics._choose import choose, identity

OUTPUTS, LABELS = np.eye(3)[[0, 1, 2, 2]], np.array([0, 1, 2, 0])
TEXT = """import numpy as np
from os import getpid

def misses(outputs, labels):
    assert getpid() != {pid}
    return (outputs.argmax(axis=1) != labels).astype(float)

misses.higher_is_better = False

def _helper():
    pass
"""


@pytest.fixture
def file(tmp_path):
    import os

    path = tmp_path / "mine.py"
    path.write_text(TEXT.format(pid=os.getpid()))
    return path


def test_it_runs_in_a_child_and_says_its_direction(file):
    found = choose(str(file), OUTPUTS, LABELS, "scores")
    assert (found.name, found.higher_is_better, found.relative) == ("misses", False, False)
    assert found.values(OUTPUTS, LABELS).tolist() == [0, 0, 0, 1]
    assert choose(f"{file}:misses", OUTPUTS, LABELS, "scores").name == "misses"


def test_another_content_is_another_metric(file):
    before = identity(str(file), LABELS)
    file.write_text(file.read_text() + "\n# other\n")
    assert identity(str(file), LABELS) != before
    assert identity("accuracy", LABELS) == "accuracy"


def test_a_file_without_such_a_function_is_one_clear_error(file, tmp_path):
    with pytest.raises(SettingError, match=r"mine\.py has no function other for a metric; it has misses, _helper"):
        identity(f"{file}:other", LABELS)
    file.write_text("x = 1\n")
    with pytest.raises(SettingError, match="has no function for a metric; it has none"):
        identity(str(file), LABELS)
    file.write_text("def a(o, y): ...\ndef b(o, y): ...\n")
    with pytest.raises(SettingError, match="has several functions for a metric; it has a, b"):
        identity(str(file), LABELS)
    file.write_text("def a(o, y:\n")
    with pytest.raises(SettingError, match="is not Python"):
        identity(str(file), LABELS)
    file.write_text("def a(o, y):\n    return 1 / 0\n")
    with pytest.raises(SettingError, match="ZeroDivisionError"):
        choose(str(file), OUTPUTS, LABELS, "scores").values(OUTPUTS, LABELS)
    file.write_text("def a(o, y):\n    return [1.0]\n")
    with pytest.raises(SettingError, match=r"shape \(1,\), expected \(4,\)"):
        choose(str(file), OUTPUTS, LABELS, "scores").values(OUTPUTS, LABELS)


def test_the_option_takes_files_and_settings(file, tmp_path):
    option = options_of(SweepOptions)["metric"]
    for value in (str(file), f"{file}:misses", "recall_at_k:5", "f1:0.3", "auto", "accuracy"):
        assert option.check(value) == value
    for value, why in (
        (str(tmp_path / "none.py"), r"File .*none\.py does not exist \(metric\)"),
        ("recall_at_k:0", "must be given a whole number from 1"),
        ("f1:2", "must be given a number between 0 and 1"),
        ("accuracy:3", "has no setting"),
        ("f2", "f2"),
    ):
        with pytest.raises(SettingError, match=why):
            option.check(value)
    assert python_file("a.py:f") == python_file("a.py") == "a.py"
    assert python_file("a.pyx") == python_file(".py") == python_file("recall_at_k:5") == ""

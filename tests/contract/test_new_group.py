"""Adding an import group is one file: its children find its modules imported, and plans know what it costs."""

import sys
import time
from pathlib import Path

import pytest

from deploykit.core.errors import SettingError
from deploykit.planning import arithmetic
from deploykit.planning.history import History, Unit
from deploykit.sandbox.groups._contract import GROUPS
from deploykit.sandbox.supervisor import Supervisor, default_method
from deploykit.sandbox.task import Task

_ENTRY_POINTS = "[deploykit.sandbox.groups]\nsound = sound_group:ADAPTER\n"
MODULES = ["wave", "colorsys", "tensorflow", "onnxruntime"]


@pytest.fixture(autouse=True)
def installed(install):
    install(
        Path(__file__).parent / "example" / "sound_group.py",
        "[deploykit.sandbox.groups]\nsound = sound_group:ADAPTER\n",
    )


@pytest.fixture
def supervisor(tmp_path):
    made = Supervisor(tmp_path / "logs")
    yield made
    made.close()


def seen(supervisor):
    return supervisor.run(Task("sound_group:seen", {"modules": MODULES}, group="sound", fresh=True))


def test_children_find_its_modules_and_variables(supervisor, monkeypatch):
    monkeypatch.setenv("SOUND_TMPDIR", "/mine")
    monkeypatch.setenv("SOUND_MODE", "slow")
    first = seen(supervisor)
    assert first["loaded"] in (["wave"], ["wave", "colorsys"])
    assert first["variables"] == {"SOUND_TMPDIR": "/nowhere", "SOUND_LEVEL": "2", "SOUND_MODE": "slow"}


@pytest.mark.skipif(default_method() != "fork", reason="spawned children import nothing later")
def test_the_rest_is_imported_while_there_is_nothing_to_do(supervisor):
    end = time.monotonic() + 60
    while "colorsys" not in seen(supervisor)["loaded"]:
        assert time.monotonic() < end, "colorsys was not imported in 60 s"
        time.sleep(0.3)


def test_plans_take_its_costs(tmp_path):
    history = History(tmp_path / "durations.json")
    assert history.expect(Unit("start", "sound", "sound")).seconds == 7.0
    assert history.expect(Unit("step", "a", "sound", parameters=200_000)).seconds == 3.0
    assert history.expect(Unit("start", "gone", "gone")).seconds == 1.0  # of a package that was uninstalled
    assert arithmetic.seconds("step", "sound", 10, 0, 0) == 4.0


def test_the_registry_lists_it_and_imports_none_of_its_modules():
    assert GROUPS.names() == ("light", "sound", "tensorflow", "tf_keras", "torch", "tvm")
    assert GROUPS.get("sound").label == "sound"
    assert "a_package_that_is_not_installed" not in sys.modules


def test_a_group_that_is_not_there_is_refused_before_anything_starts(supervisor):
    with pytest.raises(SettingError, match=r"Unknown import group 'soun'.*did you mean 'sound'.*light"):
        supervisor.run(Task("sound_group:seen", {"modules": []}, group="soun"))

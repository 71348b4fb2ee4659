"""Selections that are saved with a store; the browser tests click, close and come back."""

import json

import pytest
from deploykit_widgets.memory import FILE, Given, Memory
from deploykit_widgets.workbench import Workbench

import deploykit as dk
from deploykit.testing import models as tiny

#: What the first version wrote, for a cell with two launches.
FIRST = {
    "version": 1,
    "given": {"model": "", "data": "", "space": "quick", "launches": "2", "declared": "[]"},
    "model": "", "data": None, "declared": {}, "goal": {"max_drop": 0.02, "minimize": "size"},
    "launches": 5,
    "choice": {"a": "", "b": ""}, "tab": "explore",
}  # fmt: skip


@pytest.fixture
def restored(tmp_path):
    opened = []

    def make(saved):
        (tmp_path / FILE).write_text(json.dumps(saved), "utf-8")
        bench = Workbench(store=tmp_path, launches=2)
        opened.append(bench)
        memory = Memory(bench._commands, bench._sections["space"], Given(launches=2))
        bench._desk.post(memory.begin)
        assert bench._desk.settle()
        bench._desk.post(memory._write)
        assert bench._desk.settle()
        return bench._state, json.loads((tmp_path / FILE).read_text("utf-8"))

    yield make
    for bench in opened:
        bench.close()


@pytest.mark.parametrize(
    ("losers", "options"),
    [("measure", {}), ("untimed", {"max_drop": True, "racing": False}), ("stop", {"max_drop": True})],
)
def test_options_of_the_first_version_are_read(restored, losers, options):
    first = {"losers": losers, "adaptive": False, "sensitivity": True, "search": "grid", "budget": ""}
    state, written = restored({**FIRST, "options": first})
    assert state.problems.get("sweep", "") == ""
    assert state.goal.max_drop == 0.02
    assert dict(state.options) == {"launches": 5, "adaptive": False, **options, "sensitivity": True}
    assert written["version"] == 2
    assert written["launches"] == 5
    assert written["options"] == {"adaptive": False, **options, "sensitivity": True}


def test_what_was_written_is_restored_but_for_options_that_are_not_known(restored):
    options = {"max_drop": True, "racing": False, "search": "random", "budget": "90 s", "of_a_later_version": 3}
    state, written = restored({**FIRST, "version": 2, "options": options})
    assert state.problems.get("sweep", "") == ""
    known = {name: value for name, value in options.items() if name != "of_a_later_version"}
    assert dict(state.options) == {"launches": 5, **known}
    assert written["options"] == known


def test_inputs_that_were_synthesized_are_synthesized_again(restored, tmp_path):
    model = tiny.build("cnn_onnx", tmp_path)
    settings = {"method": "generator", "examples": 16, "steps": 2}
    kept = {**FIRST, "version": 2, "options": {}, "model": str(model)}
    state, written = restored({**kept, "data": {"synthesis": {"settings": settings, "alone": True}}})
    assert state.problems.get("data", "") == ""
    wanted = dk.synthesize(dk.load(model), **settings, progress=lambda _: None)
    assert state.data.digest == wanted.digest
    assert written["data"] == {"synthesis": {"settings": settings, "alone": True}}

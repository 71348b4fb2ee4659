"""What happens when things are asked for at the same time: while something loads, runs, or is being closed."""

import contextlib
import shutil
import threading

import numpy as np
import pytest
from deploykit_widgets.sections._space_summary import button
from deploykit_widgets.sections.candidate import CandidateSection
from deploykit_widgets.sections.data import DataSection
from deploykit_widgets.sections.model import ModelSection
from deploykit_widgets.sections.serve import ServeSection

import deploykit as dk
from deploykit.core.errors import Cancelled, SettingError
from deploykit.serving import server as serving
from deploykit.storage.store import Store


class Slow:
    """An array that is there when the test says so."""

    def __init__(self, values):
        self.values = values
        self.ready = threading.Event()

    def __array__(self, *_arguments, **_options):
        assert self.ready.wait(60)
        return self.values

    def __len__(self):
        return len(self.values)


@pytest.fixture
def slow():
    made = Slow(np.zeros((50, 1, 8, 8), np.float32))
    yield made
    made.ready.set()


@pytest.fixture
def do(commands):
    """Does something on the desk, and waits for that alone."""

    def run(work):
        done = threading.Event()
        commands.desk.post(lambda: (work(), done.set()))
        assert done.wait(60)

    return run


def test_the_latest_data_count_whichever_are_read_first(commands, do, slow, data):
    do(lambda: commands.use(data=(slow, None), name="first"))
    do(lambda: commands.use(data=data, name="second"))
    slow.ready.set()
    assert commands.desk.settle()
    assert (commands.state.data, commands.state.data_name) == (data, "second")
    assert commands.state.busy == frozenset()


def test_nothing_runs_on_inputs_that_are_about_to_change(finished, do, slow, space):
    state = finished.state
    do(lambda: state.change(space=space))
    do(lambda: finished.use(data=(slow, None), name="x"))
    assert button(state)["reason"] == "The data are still being read."
    do(finished.start)
    assert finished.ended.wait(60)
    assert "the data are still being read" in state.problems["sweep"]
    assert not state.sweeping
    slow.ready.set()
    assert finished.desk.settle()
    assert (state.sweep, state.report, state.problems["sweep"]) == ("idle", None, "")
    assert state.data_name == "x"


def test_inputs_that_come_during_a_sweep_are_not_taken(finished, do, slow, data):
    state = finished.state
    do(lambda: finished.use(data=(slow, None), name="x"))
    do(lambda: state.change(sweep="running"))
    slow.ready.set()
    assert finished.desk.settle()
    assert state.data is data
    assert state.report is not None
    assert "Cancel it first" in state.problems["data"]
    do(lambda: state.change(sweep="idle"))


def test_reading_can_be_given_up(finished, do, slow, data):
    do(lambda: finished.use(data=(slow, None), name="x"))
    assert "data" in finished.state.busy
    do(DataSection(finished).commands()["cancel_data"])
    assert finished.state.busy == frozenset()
    slow.ready.set()
    assert finished.desk.settle()
    assert (finished.state.data, finished.state.data_name) == (data, "")
    assert finished.state.report is not None  # nothing has changed


def test_who_loads_a_model_is_told_when_nobody_waits_any_more(commands, do):
    told = [threading.Event() for _ in range(3)]
    for cancel in told:
        do(lambda cancel=cancel: commands._long("model", lambda: cancel.wait(60), lambda _done: None, cancel=cancel))
    assert [c.is_set() for c in told] == [True, True, False]
    do(ModelSection(commands).commands()["cancel_model"])
    assert told[2].is_set()
    assert commands.state.busy == frozenset()


@pytest.mark.parametrize("panel", ["export", "serve"])
def test_one_thing_at_a_time_leaves(finished, do, tmp_path, panel):
    gate = threading.Event()
    do(lambda: finished._long(panel, lambda: gate.wait(60), lambda _done: None))
    do(lambda: finished.export(str(tmp_path / "served"), "folder") if panel == "export" else finished.serve(0))
    assert "Wait for it." in finished.state.problems[panel]
    gate.set()
    assert finished.desk.settle()
    assert finished.state.problems[panel] == ""
    assert not (tmp_path / "served").exists()
    assert finished.state.server is None


# -- closing --------------------------------------------------------------------------------------------------------


def test_a_sweep_that_was_just_starting_does_not_outlive_the_close(commands, do, model, data, space):
    commands.state.change(model=model, data=data, space=space)
    handles = []
    keep = commands.ends.keep
    commands.ends.keep = lambda handle, end: (handles.append(handle), keep(handle, end))
    commands.close()
    do(commands.start)
    assert commands.ended.wait(120)
    assert not handles[0].running
    assert commands.handle is None


def test_a_server_that_was_just_starting_does_not_outlive_the_close(finished, do, store, tmp_path):
    artifact = dk.export(dk.Report.open(store).best(), tmp_path / "served")
    before = set(serving._live)
    do(lambda: finished.state.change(artifact=artifact))
    finished.close()
    do(lambda: ServeSection(finished).commands()["serve"](port=0))
    assert finished.desk.settle()
    assert finished.state.server is None
    assert set(serving._live) == before


def test_a_pass_over_the_layers_does_not_outlive_the_close(finished, do, store, tmp_path):
    report = dk.Report.open(shutil.copytree(store, tmp_path / "copy"))
    do(lambda: finished.state.change(report=report))
    finished.close()
    later = CandidateSection(finished).commands()["candidate_measure"](level=0)
    with pytest.raises(Cancelled, match="closed"):
        later.work()
    assert finished.desk.settle()
    assert finished.state.measuring is None
    with Store(report.path).writer():
        pass  # no process holds the store


def test_a_closed_workbench_runs_nothing(open_workbench, model, data, space):
    bench = open_workbench(model, data, space=space)
    bench.close()
    with pytest.raises(SettingError, match="closed"):
        bench.run()


def test_who_waits_for_a_sweep_is_let_go_by_the_close(open_workbench, model, data, space):
    bench = open_workbench(model, data, space=space)
    closing = threading.Thread(target=bench.close)
    bench._state.observe(lambda: bench._state.sweep == "running" and closing.start(), "sweep")
    with contextlib.suppress(Cancelled):  # nothing was known yet
        assert not bench.run().finished
    closing.join(60)
    assert not bench._commands.handle.running


# -- what the store holds -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(tmp_path_factory, store, model, data, space):
    """A store with a sweep on other data after the first."""
    folder = shutil.copytree(store, tmp_path_factory.mktemp("both") / "runs")
    rng = np.random.default_rng(1)
    other = dk.Dataset.from_arrays(
        rng.random((200, 1, 8, 8), np.float32), rng.integers(0, 3, 200), classes=data.classes, calibration_size=20
    )
    dk.sweep(model, other, space, store=folder, launches=0, progress=lambda _progress: None)
    return folder, other


def test_an_earlier_sweep_is_found_behind_a_later_one(both, open_workbench, model, data, space):
    folder, other = both
    for given, timed in ((data, True), (other, False)):
        bench = open_workbench(model, given, space=space, store=folder)
        assert bench.report.data.digest == given.check(model).digest
        assert (bench.report.row(bench.report.baseline).measurement.latency is not None) == timed
    assert dk.Report.open(folder, data=data).rows == dk.Report.open(folder, model=model, data=data).rows
    with pytest.raises(dk.errors.StoreError, match="no sweep of this model"):
        dk.Report.open(folder, model=model, data=(data.splits["train"].inputs[data.inputs[0]], None))


def test_evidence_is_that_of_the_data_that_are_shown(both, finished, do, ask, model):
    folder, other = both
    section = CandidateSection(finished)
    seen = []
    for report in (dk.Report.open(folder, data=finished.state.data), dk.Report.open(folder, model=model, data=other)):
        do(lambda report=report: finished.state.change(report=report))
        key = next(r.key for r in report.rows if r.key != report.baseline)
        found, _ = ask(section, "candidate_flips", key=key)
        assert found["total"] == len(report.choice_for(key).flips().rows)
        classes, _ = ask(section, "candidate_classes", key=key)
        seen.append(classes["rows"])
    assert seen[0] != seen[1]

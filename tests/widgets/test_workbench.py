"""The Workbench on a tiny model, with real sweeps and a real server, without a browser."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import SettingError
from deploykit.core.result import Failure
from deploykit.storage.store import Store

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def opened(open_workbench, page_of):
    """A Workbench and the page that shows it."""

    def make(*arguments, **options):
        bench = open_workbench(*arguments, **options)
        return bench, page_of(bench.widget, bench._desk)

    return make


@pytest.fixture
def done(opened, model, data, space, store):
    return opened(model, data, store=store, space=space)


# -- before a sweep -------------------------------------------------------------------------------------------------


def test_without_a_model_it_asks_for_paths_and_loads_what_they_name(opened, model_path, tmp_path, data):
    bench, page = opened()
    assert page.sections["app"]["tab"] == "model"
    assert page.sections["space"]["run"]["reason"]
    page.do("load_model", path=str(model_path))
    hint = {"words": "cnn_onnx.onnx", "done": False, "wrong": False}  # not before data are known to fit
    assert page.sections["app"]["tabs"][0] == {"name": "model", "title": "Model", **hint}
    split = data.splits["train"]
    np.savez(tmp_path / "data.npz", x=split.inputs[data.inputs[0]] * 255, y=split.labels)
    page.do("load_data", path=str(tmp_path / "data.npz"), scale="1/255", reshape="")
    assert page.sections["app"]["problems"] == {}
    assert page.sections["space"]["run"]["reason"] == ""
    found = {"dk": dk}
    exec(re.search(r"^data = .*?\)$", bench.code, re.MULTILINE | re.DOTALL).group(), found)
    assert found["data"].digest == bench._state.data.digest


def test_given_both_it_begins_with_exploring(opened, model, data, space):
    _, page = opened(model, data, space=space)
    assert page.sections["app"]["tab"] == "explore"
    assert page.sections["sweep"]["state"] == "idle"
    assert page.rows == {}


def test_a_model_or_data_that_cannot_be_used_are_sentences_and_end_a_run(opened, model, tmp_path):
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("missing.onnx", "empty.onnx"):
        bench, page = opened(tmp_path / name, (np.zeros((200, 1, 8, 8), np.float32), None))
        assert name in page.sections["app"]["problems"]["model"]
        with pytest.raises(SettingError, match=name):
            bench.run()
    _, page = opened(model, str(tmp_path / "nothing.npz"))
    assert "nothing.npz" in page.sections["app"]["problems"]["data"]
    _, page = opened(model, (np.zeros((200, 5), np.float32), None))
    assert "(1, 8, 8)" in page.sections["app"]["problems"]["plan"]  # said before any work
    assert page.sections["space"]["run"]["reason"]


def test_a_space_may_be_a_preset_a_file_or_made_in_code(opened, model, data, space, tmp_path):
    space.save(tmp_path / "space.json")
    for given in (space, str(tmp_path / "space.json")):
        bench, _ = opened(model, data, space=given)
        assert bench._state.space == space
        assert len(bench._state.plan.candidates) == 2
    _, page = opened(model, data, space=dk.Space.preset("balanced"))
    assert page.sections["space"]["preset"] == "balanced"


def test_a_bad_argument_is_an_error_at_once(model, data, open_workbench):
    with pytest.raises(SettingError, match="quik"):
        dk.Workbench(model, data, space="quik")
    with pytest.raises(SettingError, match="launches"):
        dk.Workbench(model, data, launches=1)
    with pytest.raises(SettingError, match="tradeoff"):
        open_workbench(model, data).panel("trade-off")


# -- a sweep --------------------------------------------------------------------------------------------------------


def test_results_of_an_earlier_sweep_are_shown_at_once(done, opened, model, data, space, store):
    bench, page = done
    assert sorted(page.rows) == sorted(r.key for r in bench.report.rows)
    assert page.sections["tradeoff"]["best"]["key"] == bench.report.best().key
    other = dataclasses.replace(data, classes=())
    assert opened(model, other, store=store, space=space)[0].report is None  # other data, other results


def test_a_click_starts_the_sweep_and_the_kernel_stays_free(opened, model, data, space):
    bench, page = opened(model, data, space=space)
    phases = []
    bench._state.observe(lambda: phases.append(bench._state.sweep), "sweep")
    page.post("start")
    assert not bench._commands.ended.is_set()  # the click came back, the sweep continues
    assert bench._commands.ended.wait(300)
    assert bench._desk.settle()
    assert phases == ["starting", "running", "done"]
    assert page.sections["sweep"]["bold"] == "Done: 2 measured"
    assert {r["status"] for r in page.rows.values()} == {"measured"}
    assert [tab["words"] for tab in page.sections["app"]["tabs"] if tab["name"] == "explore"] == ["2 of 2"]
    assert bench.choice.key == bench.report.best().key
    assert page.sections["space"]["run"]["reason"]  # nothing is left to do
    whole = json.dumps([m for m, _ in page.messages])
    assert len(whole) < 1_000_000


def test_pause_cancel_and_resume(opened, model, data, space):
    bench, page = opened(model, data, space=space)
    commands, state = bench._commands, bench._state
    paused = threading.Event()
    state.observe(lambda: state.sweep == "running" and commands.pause(), "sweep")
    state.observe(lambda: state.sweep == "paused" and paused.set(), "sweep")
    page.post("start")
    assert paused.wait(120)
    assert bench._desk.settle()
    assert page.sections["sweep"]["bold"] == "Paused"
    page.post("cancel")
    assert commands.ended.wait(120)
    assert bench._desk.settle()
    assert page.sections["sweep"]["state"] == "cancelled"
    assert "nothing is lost" in page.sections["sweep"]["words"]
    assert "sweep" not in page.sections["app"]["problems"]
    state._observers[-2:] = []  # no more pausing
    commands.ended.clear()
    page.post("resume")
    assert commands.ended.wait(300)
    assert bench._desk.settle()
    assert page.sections["sweep"]["state"] == "done"


def test_run_waits_prints_progress_and_returns_the_report(done, capsys):
    bench, _ = done
    report = bench.run()
    assert report.finished
    assert "done: 2 measured" in capsys.readouterr().out
    assert repr(bench) == "Workbench('cnn_onnx', 2 measured and 0 failed of 2)"


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system cannot send a signal to a thread")
def test_an_interrupt_cancels_and_gives_the_report_so_far(open_workbench, model, data, space):
    bench = open_workbench(model, data, space=space)
    main = threading.main_thread().ident
    interrupted = []

    def interrupt():
        if not interrupted and bench._state.report is not None:
            interrupted.append(True)
            signal.pthread_kill(main, signal.SIGINT)

    bench._state.observe(interrupt, "report")
    report = bench.run()
    assert interrupted
    assert bench._state.sweep == "cancelled"
    assert len(report.rows) == 2
    assert bench.run().finished  # it continues where it was


def test_an_unusable_store_is_a_sentence_and_an_error_of_run(opened, model, data, space, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("a file")
    bench, page = opened(model, data, store=taken, space=space)
    page.post("start")
    bench._desk.settle()
    assert bench._commands.ended.wait(60)
    bench._desk.settle()
    assert "is a file; a store is a folder" in page.sections["app"]["problems"]["sweep"]
    assert page.sections["sweep"]["state"] == "failed"
    with pytest.raises(dk.DeploykitError, match="is a file"):
        bench.run()


def test_inputs_cannot_be_changed_under_a_sweep(opened, model, data, space):
    bench, page = opened(model, data, space=space)
    bench._desk.post(lambda: bench._state.change(sweep="running"))
    page.do("load_model", path="other.onnx")
    assert "Cancel it first" in page.sections["app"]["problems"]["model"]
    assert bench._state.model is model
    bench._desk.post(lambda: bench._state.change(sweep="idle"))


@pytest.mark.long
def test_one_candidate_is_run_anew(opened, model, data, space, store, tmp_path):
    """A failed one is tried again, a measured one is timed more often; nothing else is."""
    folder = shutil.copytree(store, tmp_path / "copy")
    report = dk.Report.open(folder)
    place, row = next((i, r) for i, r in enumerate(report.rows) if r.key != report.baseline)
    opened_store = Store(folder)
    failure = Failure("build", "CandidateCrash", "signal 11", "leave it out", "")
    opened_store.put_row(opened_store.sweep()[0], place, dataclasses.replace(row, status="failed", failure=failure))
    bench, page = opened(model, data, space=space, store=folder)
    assert page.rows[row.key]["status"] == "failed"

    def again():
        bench._commands.ended.clear()
        assert page.do("again", key=row.key)[0]["ok"]
        assert bench._commands.ended.wait(300)
        assert bench._desk.settle()
        assert page.sections["sweep"]["state"] == "done"

    again()
    assert page.rows[row.key]["status"] == "measured"
    before = page.rows[row.key]["launches"]
    again()
    assert page.rows[row.key]["launches"] >= 2 * before
    assert page.rows.keys() == {r.key for r in report.rows}
    assert bench.report.baseline == report.baseline
    assert bench._state.space == space  # what is chosen stays chosen
    assert not page.do("again", key="stranger")[0]["ok"]


# -- after it -------------------------------------------------------------------------------------------------------


def test_clicks_are_code(done, tmp_path):
    bench, page = done
    other = next(r.key for r in bench.report.rows if r.key != bench.report.best().key)
    page.do("pick", a=other, b="")
    assert page.sections["code"]["line"] == f'choice = report.choice_for("{other}")'
    page.do("pick", a="", b="")
    page.do("set_goal", max_drop=1, minimize="compressed_size")  # as a browser sends a whole number
    assert page.sections["code"]["line"] == 'choice = report.best(max_drop=1.0, minimize="compressed_size")'
    page.do("set_goal", max_drop=0.5, minimize="compressed_size")
    assert page.sections["code"]["line"] == 'choice = report.best(max_drop=0.5, minimize="compressed_size")'
    assert bench.choice.key == bench.report.best(minimize="compressed_size", max_drop=0.5).key
    path = tmp_path / "script.py"
    path.write_text(bench.code + f"assert choice.key == {bench.choice.key!r}, choice\n", "utf-8")
    ran = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.long
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_saved_notebook_does_the_same_under_papermill(done, tmp_path, elsewhere):
    """Also with another store, which is what its first cell tells people to do."""
    bench, page = done
    page.do("set_goal", max_drop=0.9, minimize="size")
    path = tmp_path / "mine.ipynb"
    saved = page.do("save_notebook", path=str(tmp_path / "mine"))[0]["value"]
    assert saved["taken"] is False
    assert saved["place"]["path"] == path.as_posix()
    assert page.do("save_notebook", path=str(path))[0]["value"] == {"saved": "", "taken": True}
    command = [sys.executable, "-m", "papermill", str(path), str(tmp_path / "out.ipynb"), "-k", "python3"]
    command += ["-p", "store", "runs/elsewhere"] if elsewhere else []
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    words = json.dumps(json.loads((tmp_path / "out.ipynb").read_text("utf-8"))["cells"])
    assert bench.choice.result.label in words
    if elsewhere:
        report = dk.Report.open(tmp_path / "runs" / "elsewhere")
        assert report.data.digest == bench.report.data.digest


@pytest.mark.long
def test_a_notebook_saved_before_a_sweep_has_the_data_that_no_file_holds(
    opened, model, data, space, tmp_path, monkeypatch
):
    """Also data that have a name in the notebook they come from, which the saved one does not know."""
    monkeypatch.chdir(tmp_path)
    bench, page = opened(model, data, space=space)
    bench._desk.post(lambda: bench._state.change(data_name="data"))
    page.do("save_notebook", path="mine.ipynb")
    command = [sys.executable, "-m", "papermill", "mine.ipynb", "out.ipynb", "-k", "python3", "-p", "max_drop", "0.9"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    report = dk.Report.open(tmp_path / "runs")
    assert sorted(r.key for r in report.rows) == sorted(c.key for c in bench._state.plan.candidates)


def test_a_notebook_saved_into_another_folder_finds_its_files_from_there(
    opened, model, data, space, tmp_path, monkeypatch
):
    """A notebook runs in its own folder, not in that of the notebook it was saved from."""
    monkeypatch.chdir(tmp_path)
    bench, page = opened(model, data, space=space)
    page.do("save_notebook", path="reports/monday/mine.ipynb")
    cells = json.loads((tmp_path / "reports/monday/mine.ipynb").read_text("utf-8"))["cells"]
    given = {}
    exec("".join(cells[1]["source"]), given)
    folder = tmp_path / "reports" / "monday"
    assert given["store"] == "../../runs"
    assert (folder / given["model_path"]).resolve() == Path(model.path).resolve()
    assert 'dk.Dataset.open("mine-data")' in "".join(cells[2]["source"])
    assert (folder / "mine-data").is_dir()
    assert 'store="runs"' in bench.code  # the cell's own folder is another one


def test_a_panel_alone_shows_the_same(done, page_of):
    bench, page = done
    alone = page_of(bench.panel("tradeoff"), bench._desk)
    assert alone.surface.panels == ["tradeoff"]
    assert alone.rows == page.rows
    alone.do("set_goal", max_drop=0.2, minimize="size")
    assert page.sections["tradeoff"]["maxDrop"] == 0.2


def test_close_cancels_the_sweep(opened, model, data, space):
    bench, page = opened(model, data, space=space)
    page.post("start")
    bench._desk.settle()
    handle = bench._commands.handle
    bench.close()
    assert not handle.running


# -- without widgets ------------------------------------------------------------------------------------------------


def test_viewers_without_widgets_get_results_and_code(done, open_workbench, model, data, space):
    bundle = done[0]._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "application/vnd.deploykit.workbench.v1+json"}
    assert "<table" in bundle["text/html"]
    assert "<svg" in bundle["text/html"] or "<img" in bundle["text/html"]
    assert "import deploykit as dk" in bundle["text/html"]
    assert len(json.dumps(bundle)) < 2_000_000
    before = open_workbench(model, data, space=space)._repr_mimebundle_()
    assert "2 candidates" in before["text/html"]


def test_text_from_models_is_text_without_widgets_too(open_workbench, model, data):
    evil = dataclasses.replace(model, warnings=(HOSTILE,), origin=f"/{HOSTILE}.onnx")
    shown = open_workbench(evil, data)._repr_mimebundle_()["text/html"]
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    assert "<img src=x" not in shown

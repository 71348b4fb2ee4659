"""The Workbench on a tiny model, with real sweeps and a real server, without a browser."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import ipywidgets as widgets
import pytest
from deploykit_widgets import samples
from deploykit_widgets.candidate_panel import describe
from deploykit_widgets.export_panel import refusal
from deploykit_widgets.results_table import results_table

import deploykit as dk
from deploykit.core.errors import SettingError
from deploykit.core.registry import registry
from deploykit.core.result import Failure

HOSTILE = "<img src=x onerror=alert(1)>"


def everything(widget):
    """A widget and all below it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from everything(child)


def words(bench):
    """All text the Workbench shows, as HTML."""
    return "\n".join(
        w.value for w in everything(bench.widget) if isinstance(w, widgets.HTML) and "<style>" not in w.value
    )


# -- before a sweep -------------------------------------------------------------------------------------------------


def test_without_a_model_it_asks_for_paths_and_loads_what_they_name(open_workbench, model_path, tmp_path, data):
    import numpy as np

    bench = open_workbench()
    assert bench.tabs.selected_index == 0
    assert bench.space_panel.run.disabled
    assert "Load a model and data" in bench.space_panel.summary.value

    bench.model_panel.path.value = str(model_path)
    bench.model_panel.load.click()
    assert bench._desk.settle()
    assert "104" in bench.model_panel.content.value
    assert "cnn_onnx.onnx" in bench.tabs.titles[0]

    split = data.splits["train"]
    np.savez(tmp_path / "data.npz", x=split.inputs[data.inputs[0]] * 255, y=split.labels)
    bench.data_panel.path.value = str(tmp_path / "data.npz")
    bench.data_panel.scale.value = "1/255"
    bench.data_panel.load.click()
    assert bench._desk.settle()
    assert bench._state.problems.get("data", "") == ""
    assert "Preprocessing" in bench.data_panel.content.value
    assert not bench.space_panel.run.disabled
    found = {"dk": dk}
    exec(re.search(r"^data = .*?\)$", bench.code, re.MULTILINE | re.DOTALL).group(), found)
    assert found["data"].digest == bench._state.data.digest


def test_it_shows_model_data_and_what_would_run(open_workbench, model, data, space):
    bench = open_workbench(model, data, space=space)
    assert bench.tabs.selected_index == 2
    assert all(layer.name in bench.model_panel.content.value for layer in model.layers)
    assert bench.data_panel.content.value.count('<img width="56" src="data:image/png;base64,') == 12
    assert "Few samples" in bench.data_panel.content.value
    assert "<b>2 candidates</b>" in bench.space_panel.summary.value
    assert "No results yet" in bench.tradeoff_panel.empty.value
    assert bench.tradeoff_panel.chart is None
    assert bench.sweep_strip.widget.layout.display == "none"


def test_every_technique_and_runtime_has_a_check_box_with_its_reason_when_it_cannot_be_used(
    open_workbench, model, data, monkeypatch
):
    litert = registry("deploykit.runtimes", "runtime").get("litert")
    monkeypatch.setattr(type(litert), "missing", lambda _self: "ai-edge-litert is not here")
    bench = open_workbench(model, data)
    panel = bench.space_panel
    assert sorted(panel.techniques) == sorted(registry("deploykit.transforms", "technique").names())
    assert sorted(panel.runtimes) == sorted(registry("deploykit.runtimes", "runtime").names())
    for name, technique in panel.techniques.items():
        adapter = registry("deploykit.transforms", "technique").get(name)
        assert set(technique.values) == {p.name for p in adapter.parameters}
        assert technique.ticked.description == adapter.label
    box = panel.runtimes["litert"]
    assert box.ticked.disabled
    assert not box.ticked.value
    assert "ai-edge-litert is not here" in box.widget.children[1].value
    assert all(t.runtime != "litert" for t in bench._state.space_choice.targets)


def test_every_control_can_be_named_by_a_screen_reader(open_workbench, model, data, space):
    bench = open_workbench(model, data, space=space)
    kinds = ("Text", "Button", "ToggleButton", "Checkbox", "Dropdown", "BoundedFloatText", "BoundedIntText")
    controls = tuple(getattr(widgets, kind) for kind in kinds)
    found = [w for w in everything(bench.widget) if isinstance(w, controls)]
    assert len(found) > 20
    assert [type(w) for w in found if not (w.description and w.tooltip)] == []


def test_controls_change_the_plan_and_the_code(open_workbench, model, data):
    bench = open_workbench(model, data)
    panel = bench.space_panel
    before = len(bench._state.plan.candidates)
    static = panel.techniques["quantize_static"]
    static.ticked.value = False
    assert bench._desk.settle()
    assert len(bench._state.plan.candidates) < before
    assert 'left_out = ["quantize_static"]' in bench.code
    static.ticked.value = True
    off, on = static.values["per_channel"]._inner.controls
    off.value = False
    assert bench._desk.settle()
    assert 'dk.Space.preset("quick", quantize_static={"per_channel": [True]})' in bench.code
    panel.preset.value = "balanced"  # starts from the preset's own values again
    assert bench._desk.settle()
    assert (off.value, on.value) == (True, True)
    assert re.search(r'dk\.sweep\(\s*model,\s*data,\s*"balanced"', bench.code)
    panel.threads._inner.controls[0].value = "1, 2"
    assert bench._desk.settle()
    assert {t.threads for t in bench._state.space.targets} == {1, 2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda p: setattr(p.techniques["prune_magnitude"].values["sparsity"]._inner.controls[0], "value", "1.5"),
            "1.5",
        ),
        (lambda p: setattr(p.threads._inner.controls[0], "value", "many"), "is not a number"),
        (lambda p: [setattr(b.ticked, "value", False) for b in p.runtimes.values()], "no runtime is ticked"),
    ],
)
def test_a_wrong_value_is_explained_and_nothing_can_be_run_until_it_is_right(open_workbench, model, data, change, said):
    bench = open_workbench(model, data)
    change(bench.space_panel)
    assert bench._desk.settle()
    assert said in bench.space_panel.summary.value
    assert 'role="alert"' in bench.space_panel.summary.value
    assert bench.space_panel.run.disabled
    with pytest.raises(SettingError, match=said):
        bench.run()
    bench.space_panel.preset.value = "balanced"
    assert bench._desk.settle()
    assert 'role="alert"' not in bench.space_panel.summary.value
    assert not bench.space_panel.run.disabled


def test_a_model_of_which_nothing_runs_is_said_in_the_panel(open_workbench, model, data):
    bench = open_workbench(model, data, space=dk.Space((), (dk.Target("litert"),)))
    assert "nothing to run" in bench.space_panel.summary.value
    assert bench.space_panel.run.disabled


@pytest.mark.parametrize(
    ("model_file", "said"),
    [("missing.onnx", "missing.onnx"), ("empty.onnx", "empty"), ("noise.onnx", "noise.onnx")],
)
def test_a_bad_model_file_is_a_sentence_not_a_traceback(open_workbench, tmp_path, data, model_file, said):
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)) * 8)
    bench = open_workbench(tmp_path / model_file, data)
    assert said in bench.model_panel.content.value
    assert "Traceback" not in words(bench)
    with pytest.raises(SettingError, match=re.escape(model_file.split(".")[0])):
        bench.run()


def test_bad_data_are_a_sentence_in_their_panel(open_workbench, model, tmp_path):
    bench = open_workbench(model, str(tmp_path / "nothing.npz"))
    assert "nothing.npz" in bench.data_panel.content.value
    bench.data_panel.scale.value = "a lot"
    bench.data_panel.load.click()
    assert bench._desk.settle()
    assert "Scale must be a number" in bench.data_panel.content.value


def test_data_that_do_not_fit_the_model_are_explained_before_any_work(open_workbench, model):
    import numpy as np

    bench = open_workbench(model, (np.zeros((200, 5), np.float32), None))
    assert "(1, 8, 8)" in bench.space_panel.summary.value
    assert "(5,)" in bench.space_panel.summary.value
    assert bench.space_panel.run.disabled
    assert "No labels" in bench.data_panel.content.value
    few = open_workbench(model, (np.zeros((12, 1, 8, 8), np.float32), None))
    assert "too few examples" in few.data_panel.content.value


def test_a_space_may_be_a_preset_a_file_or_made_in_code(open_workbench, model, data, space, tmp_path):
    space.save(tmp_path / "space.json")
    for given in (space, tmp_path / "space.json", str(tmp_path / "space.json")):
        bench = open_workbench(model, data, space=given)
        assert bench._state.space == space
        assert len(bench._state.plan.candidates) == 2
    assert open_workbench(model, data, space=dk.Space.preset("balanced")).space_panel.preset.value == "balanced"


def test_a_bad_argument_is_an_error_at_once(model, data):
    with pytest.raises(SettingError, match="quik"):
        dk.Workbench(model, data, space="quik")
    with pytest.raises(SettingError, match="launches"):
        dk.Workbench(model, data, launches=1)


def test_text_from_models_and_data_is_shown_as_text(open_workbench, model, data):
    evil = dataclasses.replace(
        model,
        layers=(dataclasses.replace(model.layers[0], name=HOSTILE, type=HOSTILE), *model.layers[1:]),
        warnings=(HOSTILE,),
        origin=f"/{HOSTILE}.onnx",
    )
    named = dataclasses.replace(data, classes=(HOSTILE, "b", "c"))
    bench = open_workbench(evil, named)
    shown = words(bench) + bench._repr_mimebundle_()["text/html"]
    assert shown.count("&lt;img src=x onerror=alert(1)&gt;") >= 4
    assert "<img src=x" not in shown


# -- a sweep --------------------------------------------------------------------------------------------------------


def test_results_of_an_earlier_sweep_are_shown_at_once(open_workbench, model, data, space, store):
    bench = open_workbench(model, data, store=store, space=space)
    assert bench.tradeoff_panel.chart is not None
    assert "Best so far" in bench.tradeoff_panel.best.value or "Goal missed" in bench.tradeoff_panel.best.value
    assert len(bench.tradeoff_panel.pick.options) == 3
    assert "2 known already" in bench.space_panel.summary.value
    other = dataclasses.replace(data, classes=())
    assert open_workbench(model, other, store=store, space=space).report is None  # other data, other results


def test_a_click_starts_the_sweep_and_the_kernel_stays_free(open_workbench, model, data, space):
    bench = open_workbench(model, data, space=space)
    phases, rows = [], []
    bench._state.observe(lambda: phases.append(bench._state.sweep), "sweep")
    bench._state.observe(lambda: rows.append(len(bench._state.report.rows)), "report")
    bench.space_panel.run.click()
    assert not bench._commands.ended.is_set()  # the click came back, the sweep goes on
    assert bench._commands.ended.wait(300)
    assert bench._desk.settle()
    assert phases == ["starting", "running", "done"]
    assert rows[-1] == 2
    assert "Done: 2 measured" in bench.sweep_strip.line.value
    assert bench.tradeoff_panel.table.value.count("<tr") == 3
    assert bench.tradeoff_panel.chart is not None
    assert "Explore  2 of 2" in bench.tabs.titles[2]
    assert bench.choice.key == bench.report.best().key
    bench.space_panel.run.click()  # nothing is left to do
    bench._desk.settle()
    assert bench._commands.ended.wait(300)
    assert bench._state.sweep == "done"


def test_pause_cancel_and_resume(open_workbench, model, data, space):
    bench = open_workbench(model, data, space=space)
    commands, state = bench._commands, bench._state
    paused = threading.Event()
    state.observe(lambda: state.sweep == "running" and commands.pause(), "sweep")
    state.observe(lambda: state.sweep == "paused" and paused.set(), "sweep")
    bench.space_panel.run.click()
    assert paused.wait(120)
    assert bench._desk.settle()
    assert "Paused" in bench.sweep_strip.line.value
    assert bench.sweep_strip.pause.description == "Resume"
    bench.sweep_strip.cancel.click()
    assert commands.ended.wait(120)
    assert bench._desk.settle()
    assert state.sweep == "cancelled"
    assert "Nothing is lost" in bench.sweep_strip.line.value
    assert state.problems.get("sweep", "") == ""
    state._observers[-2:] = []  # no more pausing
    commands.ended.clear()
    bench.sweep_strip.pause.click()  # it says Resume
    assert commands.ended.wait(300)
    assert bench._desk.settle()
    assert state.sweep == "done"


def test_run_waits_prints_progress_and_returns_the_report(open_workbench, model, data, space, store, capsys):
    bench = open_workbench(model, data, store=store, space=space)
    report = bench.run()
    assert report.finished
    assert [r.status for r in report.rows] == ["measured", "measured"]
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
    assert bench.run().finished  # it goes on where it was


def test_an_unusable_store_is_a_sentence_in_the_strip_and_an_error_of_run(open_workbench, model, data, space, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("a file")
    bench = open_workbench(model, data, store=taken, space=space)
    bench.space_panel.run.click()
    bench._desk.settle()
    assert bench._commands.ended.wait(60)
    bench._desk.settle()
    assert "is a file, a store is a folder" in bench.sweep_strip.problem.value
    assert bench._state.sweep == "failed"
    assert not bench.space_panel.run.disabled
    with pytest.raises(dk.DeploykitError, match="is a file"):
        bench.run()


def test_a_model_cannot_be_changed_under_a_sweep(open_workbench, model, data, space):
    bench = open_workbench(model, data, space=space)
    bench._desk.post(lambda: bench._state.change(sweep="running"))
    bench._desk.post(lambda: bench._commands.load_model("other.onnx"))
    assert bench._desk.settle()
    assert "Cancel it first" in bench.model_panel.content.value
    assert bench._state.model is model
    bench._desk.post(lambda: bench._state.change(sweep="idle"))


# -- choosing -------------------------------------------------------------------------------------------------------


@pytest.fixture
def done(open_workbench, model, data, space, store):
    return open_workbench(model, data, store=store, space=space)


def test_picking_in_the_list_and_in_the_chart_shows_the_candidate(done):
    baseline = done.report.baseline
    other = next(r for r in done.report.rows if r.key != baseline)
    done.tradeoff_panel.pick.value = other.key
    assert done._desk.settle()
    assert done.choice.key == other.key
    assert other.label in done.candidate_panel.content.value
    assert "picked" in done.candidate_panel.content.value
    assert f'report.choice_for("{other.key}")' in done.code
    done.tradeoff_panel.chart.widget._vl_selections = {"pick": {"value": {"key": [baseline]}, "store": []}}
    assert done._desk.settle()
    assert done.choice.key == baseline
    assert done.tradeoff_panel.pick.value == baseline
    done.tradeoff_panel.pick.value = ""
    assert done._desk.settle()
    assert done.choice.key == done.report.best().key
    assert "choice = report.best()" in done.code


def test_a_goal_chooses_anew_and_changes_axis_and_code(done):
    done.tradeoff_panel.max_drop.value = 50.0
    done.tradeoff_panel.minimize.value = "compressed_size"
    assert done._desk.settle()
    wanted = done.report.best(minimize="compressed_size", max_drop=0.5)
    assert done.choice.key == wanted.key
    assert 'report.best(max_drop=0.5, minimize="compressed_size")' in done.code
    assert "gzip" in str(done.tradeoff_panel.chart.widget.spec["layer"])
    rows = done.tradeoff_panel.chart._rows["points"]
    assert {p["x"] for p in rows} == {p["compressed_kb"] for p in rows}


def test_numbers_of_the_table_are_those_of_the_report(done):
    from deploykit.reporting import numbers

    shown = results_table(done.report, "", "")
    for row in done.report.rows:
        assert numbers.kilobytes(row.measurement.size_bytes) in shown
        if row.key != done.report.baseline:
            assert numbers.points(row.measurement.score.change) in shown
            assert numbers.times(row.measurement.latency.speedup) in shown


def test_failed_and_unfinished_rows_are_readable_and_text(done):
    report = done.report
    failure = Failure("build", "CandidateCrash", f"the process died {HOSTILE}", "use another runtime", "logs/x.log")
    failed = dataclasses.replace(report.rows[1], status="failed", measurement=None, failure=failure, label=HOSTILE)
    pending = dataclasses.replace(report.rows[1], key="p", status="pending", measurement=None)
    report = dataclasses.replace(report, rows=(report.rows[0], failed, pending))
    shown = results_table(report, failed.key, "")
    assert "<img" not in shown
    assert shown.index("under way") < shown.index("the process died")
    assert "<b>Remedy:</b> use another runtime" in shown
    assert "logs/x.log" in shown
    described = describe(report.choice_for(failed.key), follows_best=False)
    assert "the process died" in described
    assert "<img" not in described
    assert "nothing to export" in refusal(registry("deploykit.exporters", "layout").get("folder"), failed)


# -- exporting and serving ------------------------------------------------------------------------------------------


def test_export_serve_try_it_and_the_code_does_the_same(done, tmp_path, data):
    best = done.choice.key
    done.export_panel.folder.value = str(tmp_path / "served")
    done.export_panel.button.click()
    assert done._desk.settle()
    assert "Verified" in done.export_panel.result.value, done._state.problems
    assert "manifest.json" in done.export_panel.result.value
    assert dk.verify(tmp_path / "served").ok

    done.serve_panel.port.value = 0
    done.serve_panel.start.click()
    assert done._desk.settle()
    server = done._state.server
    assert server.url in done.serve_panel.where.value
    _curl_works(done.serve_panel.where.value)

    done.serve_panel.sample.value = 3
    done.serve_panel.ask.click()
    assert done._desk.settle()
    said = done.serve_panel.answer.value
    split = done.report.data.splits["evaluation"]
    expected = int(done.choice.predict(split.take(slice(3, 4)).inputs)["probabilities"][0].argmax())
    assert f"Prediction <b>{_escaped(data.classes[expected])}</b>" in said
    assert samples.label_of(data, 3).replace("<", "&lt;").replace(">", "&gt;") in said

    done.export_panel.button.click()
    assert done._desk.settle()
    assert "Stop it first" in done.export_panel.result.value

    code = done.code
    assert max(map(len, code.split("\n"))) <= 100
    done.serve_panel.stop.click()
    assert done._desk.settle()
    assert "stopped" in done.serve_panel.where.value
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(server.url, timeout=5)
    _script_works(code, best, tmp_path)


def _escaped(text):
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _curl_works(shown):
    """What the curl line says, done with the standard library."""
    import html

    line = html.unescape(re.search(r"<pre[^>]*>(curl .*?)</pre>", shown).group(1))
    body, address = re.fullmatch(r"curl -d '(.*)' (\S+)", line).groups()
    content = Path(body[1:]).read_bytes() if body.startswith("@") else body.encode()
    with urllib.request.urlopen(urllib.request.Request(address, content), timeout=30) as answer:
        (outputs,) = json.load(answer)["predictions"]
    assert len(outputs) == 3


def _script_works(code, best, folder):
    """The code runs as a script of its own and ends at the same candidate."""
    path = folder / "script.py"
    path.write_text(code + f"assert choice.key == {best!r}, choice\n", "utf-8")
    ran = subprocess.run([sys.executable, path], cwd=folder, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"\[\[.*\]\]", ran.stdout), ran.stdout


def test_a_layout_that_cannot_hold_the_candidate_says_why(done):
    panel = done.export_panel
    panel.layout.value = "tfserving"
    assert done._desk.settle()
    assert panel.button.disabled
    assert "onnx" in panel.why.value


def test_failures_of_export_and_serve_are_sentences(done, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not delete")
    done.export_panel.folder.value = str(tmp_path / "mine")
    done.export_panel.button.click()
    assert done._desk.settle()
    assert 'role="alert"' in done.export_panel.result.value
    assert "mine" in done.export_panel.result.value
    done.export_panel.folder.value = str(tmp_path / "served")
    done.export_panel.button.click()
    assert done._desk.settle()
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done.serve_panel.port.value = taken.getsockname()[1]
        done.serve_panel.start.click()
        assert done._desk.settle()
    assert str(done.serve_panel.port.value) in done.serve_panel.where.value
    assert 'role="alert"' in done.serve_panel.where.value
    assert done._state.server is None
    assert not done.serve_panel.start.disabled


def test_close_cancels_the_sweep_and_stops_the_server(done, tmp_path, model, data, space):
    done.export_panel.folder.value = str(tmp_path / "served")
    done.export_panel.button.click()
    done._desk.settle()
    done.serve_panel.port.value = 0
    done.serve_panel.start.click()
    assert done._desk.settle()
    server = done._state.server
    assert server is not None, done._state.problems
    done.close()
    assert not server.alive

    bench = dk.Workbench(model, data, store=tmp_path / "runs", space=space, launches=2)
    assert bench._desk.settle()
    bench.space_panel.run.click()
    bench._desk.settle()
    handle = bench._commands.handle
    bench.close()
    assert not handle.running


# -- without widgets ------------------------------------------------------------------------------------------------


def test_viewers_without_widgets_get_results_and_code(done, open_workbench, model, data, space):
    bundle = done._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert "<table" in bundle["text/html"]
    assert "import deploykit as dk" in bundle["text/html"]
    assert len(json.dumps(bundle)) < 2_000_000
    before = open_workbench(model, data, space=space)._repr_mimebundle_()
    assert "2 candidates" in before["text/html"]


def test_messages_to_the_browser_are_small(done):
    state = done.tradeoff_panel.table.get_state()
    assert len(json.dumps(state, default=str)) < 100_000
    assert len(json.dumps(done.tradeoff_panel.chart.widget._py_to_js_updates)) < 100_000

"""The Workbench on a tiny model, with real sweeps and a real server, without a browser."""

import dataclasses
import re
import signal
import threading

import ipywidgets as widgets
import pytest

import deploykit as dk
from deploykit.core.errors import SettingError
from deploykit.core.registry import registry

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

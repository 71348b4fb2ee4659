"""The Space panel's part in the kernel: controls, commands, counts and reasons, without a browser."""

import json
import re
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from deploykit_widgets.code.saved_notebook import notebook_of
from deploykit_widgets.sections import _space_summary as summary
from deploykit_widgets.space.controls import checked, described, help_of, kind_of
from deploykit_widgets.space.obstacles import Obstacles
from deploykit_widgets.space.options import arguments, with_value
from deploykit_widgets.state import Goal
from deploykit_widgets.workbench import Workbench
from onnxruntime.quantization import quantize_dynamic

import deploykit as dk
from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter
from deploykit.core.registry import registry
from deploykit.core.space import Refine
from deploykit.measuring.doctor import RuntimeState
from deploykit.runtimes._contract import Device
from deploykit.testing import transformers

TECHNIQUES = registry("deploykit.transforms", "technique")
DECLARED = [(name, p) for name in TECHNIQUES.names() for p in TECHNIQUES.get(name).parameters]
EXCLUDE = {"steps": [{"technique": "quantize_static", "parameters": {"exclude": "Conv"}}]}
ON_ONE = dk.Target("onnxruntime")


class Driver:
    """A Workbench and what its Space panel shows."""

    def __init__(self, bench):
        self.bench = bench
        self.section = bench._sections["space"]

    def do(self, command, /, **arguments):
        answer = self.section.commands()[command](**arguments)
        assert self.bench._desk.settle()
        return answer

    @property
    def shown(self):
        return json.loads(json.dumps(self.section.value()))

    def technique(self, name):
        return next(t for t in self.shown["techniques"] if t["name"] == name)

    def control(self, technique, parameter):
        return next(c for c in self.technique(technique)["controls"] if c["name"] == parameter)


@pytest.fixture
def drive(tmp_path):
    opened = []

    def make(*arguments, **options):
        bench = Workbench(*arguments, **{"store": tmp_path / "runs", "launches": 2, **options})
        opened.append(bench)
        assert bench._desk.settle()
        return Driver(bench)

    yield make
    for bench in opened:
        bench.close()


# -- controls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("technique", "parameter"), DECLARED, ids=[f"{t}-{p.name}" for t, p in DECLARED])
def test_every_declared_parameter_has_a_control_with_help(technique, parameter):
    control = described(parameter, [parameter.default], first=True)
    assert control["label"]
    assert control["help"].startswith(parameter.help)
    assert checked(parameter, technique, [parameter.default]) == (parameter.default,)
    assert bool(control["choices"]) == (control["kind"] == "choices")
    json.dumps(control)


SHARE = Parameter("sparsity", "float", 0.5, "Share.", minimum=0.0, maximum=0.9, step=0.05, unit="share")
COUNT = Parameter("epochs", "int", 2, "Passes.", minimum=0, maximum=1000, step=1, unit="epochs")
NAMES = Parameter("exclude", "text", "", "Which stay float.")
MAYBE = Parameter("batches", "int", None, "How many.", minimum=1)


def test_only_a_range_that_a_hand_can_set_is_a_slider():
    assert [kind_of(p) for p in (SHARE, COUNT, NAMES, MAYBE)] == ["range", "numbers", "names", "numbers"]
    assert kind_of(Parameter("file", "path", "")) == "paths"


def test_help_says_range_and_default_with_units():
    assert "between 0 and 90 %, default 50 %" in help_of(SHARE)
    assert "between 0 and 1000, default 2 epochs" in help_of(COUNT)
    assert "default automatic" in help_of(MAYBE)
    assert "Default: none" in help_of(NAMES)


@pytest.mark.parametrize(
    ("parameter", "given", "values"),
    [(SHARE, [0.5, 0.8, 0.5], (0.5, 0.8)), (COUNT, [10.0], (10,)), (MAYBE, [None], (None,)),
     (NAMES, ["Softmax,Conv", " ", "Conv, Softmax"], ("Conv, Softmax", ""))],
)  # fmt: skip
def test_values_are_canonical_and_each_once(parameter, given, values):
    found = checked(parameter, "prune", given)
    assert found == values
    assert [type(v) for v in found] == [type(v) for v in values]


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_without_model_and_data_it_says_what_is_missing(drive, model):
    driver = drive()
    assert driver.shown["plan"]["missing"] == "a model and data"
    assert driver.shown["run"] == {"label": "Run sweep", "reason": "Load a model and data first."}
    assert drive(model).shown["plan"]["missing"] == "data"


def test_it_shows_presets_techniques_runtimes_and_counts(drive, model, data):
    driver = drive(model, data)
    shown = driver.shown
    assert [p["name"] for p in shown["presets"]] == ["quick", "balanced", "thorough", "smallest"]
    assert sorted(t["name"] for t in shown["techniques"]) == sorted(TECHNIQUES.names())
    for technique in shown["techniques"]:
        declared = TECHNIQUES.get(technique["name"]).parameters
        assert [c["name"] for c in technique["controls"]] == [p.name for p in declared]
    plan = driver.bench._state.plan
    assert shown["plan"]["candidates"] == len(plan.candidates)
    assert shown["plan"]["fresh"]
    assert shown["plan"]["leftOut"] == len(plan.left_out)
    assert shown["plan"]["time"].startswith("about ")
    assert not shown["plan"]["resolves"]
    assert shown["line"].startswith("Quick · ")
    assert shown["line"].endswith(f" · {len(plan.candidates)} candidates")
    label = f"Run {len(plan.candidates)} candidates, {shown['plan']['time']}"
    assert shown["run"] == {"label": label, "reason": ""}


def test_what_is_impossible_for_the_model_says_why(drive, model, data, tmp_path):
    quantize_dynamic(model.path, tmp_path / "int8.onnx")
    driver = drive(dk.load(tmp_path / "int8.onnx"), data)
    pruning = driver.technique("prune_magnitude")
    assert "the model is already quantized" in pruning["impossible"]
    assert pruning["count"] == 0
    assert drive(model, data).technique("prune_magnitude")["impossible"] == ""
    devices = {d["runtime"]: d for d in driver.shown["devices"]}
    assert "quantized ONNX models cannot be converted to TFLite" in devices["litert"]["impossible"]
    assert devices["onnxruntime"]["impossible"] == ""
    ticked = {name for name, d in devices.items() if d["on"]}  # where the model runs, and nowhere else
    runs = {name for name, d in devices.items() if not d["impossible"] and not d["missing"]}
    assert ticked == runs - {"tvm"}  # which compiles for minutes: only who chooses it waits
    assert not devices["litert"]["on"]
    driver.do("set_runtimes", devices=[["litert", "cpu"], ["onnxruntime", "cpu"]])
    listed = driver.shown["plan"]["leftOutBy"]
    assert any("cannot be converted to" in r["reason"] and "LiteRT" in r["labels"] for r in listed)


def test_a_choice_that_no_chosen_runtime_can_do_says_why(tmp_path):
    matrix = {
        dk.Recipe((dk.Step("quantize_static", {"calibration": "entropy"}),)).key: {"litert": "it has none"},
        dk.Recipe((dk.Step("quantize_float16"),)).key: {"litert": "one", "onnxruntime": "two", "openvino": "two"},
        dk.Recipe().key: {"openvino": "not this model"},
    }
    found = Obstacles(matrix)
    entropy = ("quantize_static", "calibration", "entropy")
    assert found.value(*entropy, {"litert"}) == "it has none"
    assert found.value(*entropy, {"litert", "openvino"}) == "it has none"  # the model does not run on the other at all
    assert found.value(*entropy, {"litert", "onnxruntime"}) == ""
    assert found.technique("quantize_float16", {"litert", "onnxruntime", "openvino"}) in {"one", "two"}
    assert found.runtime("openvino") == "not this model"


def test_a_missing_package_is_said_and_cannot_be_chosen(drive, model, data, monkeypatch):
    static = TECHNIQUES.get("quantize_static")
    litert = registry("deploykit.runtimes", "runtime").get("litert")
    monkeypatch.setattr(type(static), "missing", lambda _self: "no tool")
    monkeypatch.setattr(type(litert), "missing", lambda _self: "ai-edge-litert is not here")
    driver = drive(model, data)
    assert (driver.technique("quantize_static")["on"], driver.technique("quantize_static")["missing"]) == (
        False,
        "no tool",
    )
    with pytest.raises(SettingError, match="no tool"):
        driver.do("set_technique", name="quantize_static", on=True)
    device = next(d for d in driver.shown["devices"] if d["runtime"] == "litert")
    assert (device["on"], device["missing"]) == (False, "ai-edge-litert is not here")


# -- commands ---------------------------------------------------------------------------------------------------------


def test_controls_change_plan_line_and_code(drive, model, data):
    driver = drive(model, data)
    before = driver.shown["plan"]["candidates"]
    driver.do("set_technique", name="quantize_static", on=False)
    assert driver.shown["plan"]["candidates"] < before
    assert driver.technique("quantize_static")["count"] is None
    assert 'left_out = ["quantize_static"]' in driver.bench.code
    driver.do("set_technique", name="quantize_static", on=True)
    driver.do("set_values", technique="quantize_static", parameter="per_channel", values=[True])
    assert 'dk.Space.preset("quick", quantize_static={"per_channel": [True]})' in driver.bench.code
    assert driver.shown["line"].startswith("Quick, 1 change · ")
    driver.do("set_preset", name="balanced")  # starts from the preset's own values again
    assert driver.control("quantize_static", "per_channel")["values"] == [None, True]  # None: as the model asks
    assert 'dk.Space.preset("balanced")' in driver.bench.code
    driver.do("set_threads", values=[1, 2])
    driver.do("set_batch", values=[4])
    assert {(t.threads, t.batch_size) for t in driver.bench._state.space.targets} == {(1, 4), (2, 4)}
    assert driver.shown["line"].startswith("Balanced, 1 change · ")


def test_runtimes_are_chosen_with_their_devices(drive, model, data):
    driver = drive(model, data)
    # An ONNX model reaches all that need no compiler, but for PyTorch.
    tried = {r.name for r in registry("deploykit.runtimes", "runtime").all() if not r.compiles and not r.missing()}
    assert {t.runtime for t in driver.bench._state.space.targets} == tried - {"torch"}
    driver.do("set_runtimes", devices=[["openvino", "gpu"], ["onnxruntime", "cpu"]])
    assert driver.bench._state.space.targets == (ON_ONE, dk.Target("openvino", "gpu"))
    assert [d["label"] for d in driver.shown["devices"] if d["on"]] == ["ONNX Runtime", "OpenVINO GPU"]
    assert 'dk.Target("openvino", device="gpu")' in driver.bench.code
    with pytest.raises(SettingError, match="runtime"):
        driver.do("set_runtimes", devices=[["onnx", "cpu"]])


def test_devices_are_found_with_reasons_when_asked_for(drive, model, data, monkeypatch):
    devices = Device("cpu", available=True), Device("cuda", available=False, detail="no driver")
    states = RuntimeState("onnxruntime", "", devices), RuntimeState("openvino", "it crashed", ())
    monkeypatch.setattr(dk, "doctor", lambda: SimpleNamespace(runtimes=states))
    driver = drive(model, data)
    assert not driver.shown["devicesKnown"]
    driver.do("find_devices")
    found = {(d["runtime"], d["device"]): d["missing"] for d in driver.shown["devices"]}
    assert driver.shown["devicesKnown"]
    assert found["onnxruntime", "cpu"] == found["litert", "cpu"] == ""
    assert found["onnxruntime", "cuda"] == "no driver"
    assert found["openvino", "cpu"] == "it crashed"


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("set_values", {"technique": "quantize_static", "parameter": "operators", "values": ["some"]}, "some"),
        ("set_values", {"technique": "prune_magnitude", "parameter": "sparsity", "values": [1.5]}, "1.5"),
        ("set_values", {"technique": "prune_magnitude", "parameter": "sparsity", "values": []}, "no value was given"),
        ("set_threads", {"values": ["many"]}, "must be a number, got 'many'"),
    ],
)
def test_a_refused_value_gives_way_to_the_last_good_one_with_the_reason(drive, model, data, command, arguments, said):
    driver = drive(model, data)

    def control():
        if command == "set_threads":
            return next(c for c in driver.shown["where"] if c["name"] == "threads")
        return driver.control(arguments["technique"], arguments["parameter"])

    before, space = control(), driver.bench._state.space
    driver.do(command, **arguments)
    assert control()["values"] == before["values"]
    assert said in control()["problem"]
    assert driver.shown["plan"]["problems"] == []
    assert driver.bench._state.space == space
    assert driver.shown["run"]["reason"] == ""
    driver.do(command, **{**arguments, "values": before["values"]})
    assert control()["problem"] == ""


def test_without_a_runtime_nothing_runs_until_one_is_ticked(drive, model, data):
    driver = drive(model, data)
    driver.do("set_runtimes", devices=[])
    shown = driver.shown
    assert "no runtime is selected" in shown["plan"]["problems"][0]
    assert "no runtime is selected" in shown["run"]["reason"]
    assert not shown["plan"]["known"]
    with pytest.raises(SettingError):
        driver.do("set_values", technique="quantize_static", parameter="nothing", values=[1])
    driver.do("set_preset", name="balanced")
    assert driver.shown["plan"]["problems"] == []
    assert driver.shown["run"]["reason"] == ""


def test_a_plan_of_other_settings_is_never_called_fresh(drive, model, data):
    driver = drive(model, data)
    bench, seen = driver.bench, []

    def look():
        plan = driver.section.value()["plan"]
        techniques = {s.technique for c in bench._state.plan.candidates for s in c.candidate.recipe.steps}
        seen.append((plan["fresh"], "quantize_static" in techniques))

    bench._state.observe(look, "plan", "planning", "space")
    for on in (False, True, False):
        driver.section.commands()["set_technique"](name="quantize_static", on=on)
    assert bench._desk.settle()
    assert (False, True) in seen  # the old plan, while the new one is made
    assert (True, True) not in seen
    assert seen[-1] == (True, False)


def test_a_given_space_shows_its_values_and_can_be_added_to(drive, model, data):
    space = dk.Space((dk.Recipe((dk.Step("quantize_dynamic", {"per_channel": True}),)),), (ON_ONE,))
    driver = drive(model, data, space=space)
    shown = driver.shown
    assert (shown["preset"], shown["presets"][-1]["label"]) == ("", "Given")
    control = driver.control("quantize_dynamic", "per_channel")
    assert (control["values"], control["fixed"]) == ([True], True)
    assert [d["runtime"] for d in shown["devices"] if d["on"]] == ["onnxruntime"]
    driver.do("set_technique", name="quantize_static", on=True)
    driver.do("set_values", technique="quantize_static", parameter="per_channel", values=[False, True])
    assert driver.shown["plan"]["candidates"] == 4
    with pytest.raises(SettingError, match="preset"):
        drive(model, data).do("set_preset", name="")


# -- candidates that were added, and how the sweep is run --------------------------------------------------------------


def test_a_recipe_is_added_once_shown_in_the_code_and_taken_out(drive, model, data, space):
    driver = drive(model, data, space=space)
    before = driver.shown["plan"]["candidates"]
    answer = driver.do("add_recipe", recipe=EXCLUDE)
    assert answer["added"]
    assert not driver.do("add_recipe", recipe=EXCLUDE)["added"]
    (added,) = driver.shown["added"]
    assert added == {"key": answer["key"], "label": answer["label"]}
    assert driver.shown["plan"]["candidates"] == before + 1
    found = {}
    exec("\n".join(driver.bench.code.split("report =")[0].splitlines()), {"dk": dk, "model": model}, found)
    assert found["space"] == driver.bench._state.space
    driver.do("set_preset", name="quick")  # it stays
    assert driver.shown["added"] == [added]
    driver.do("remove_recipe", key=added["key"])
    assert driver.shown["added"] == []
    assert "exclude" not in driver.bench.code
    for wrong in ({"steps": [{"technique": "nothing"}]}, {"steps": [{"technique": "quantize_static",
                                                                     "parameters": {"io": "int3"}}]}):  # fmt: skip
        with pytest.raises(SettingError):
            driver.do("add_recipe", recipe=wrong)


def test_the_controls_are_those_of_the_declared_options(drive, model, data):
    driver = drive(model, data)
    shown = driver.shown["options"]
    controls = {c["name"]: c for c in shown["controls"]}
    assert set(controls) == {"metric", "engine", "launches", "adaptive", "max_drop", "attacks", "search", "sensitivity"}
    assert {n: c["kind"] for n, c in controls.items() if c["kind"] != "switch"} == {
        "metric": "choice", "engine": "text", "launches": "number", "attacks": "number", "search": "choice",
    }  # fmt: skip
    assert (controls["launches"]["value"], controls["launches"]["whole"]) == (2, True)
    assert controls["max_drop"]["value"] is False
    assert [c["value"] for c in controls["search"]["choices"]] == ["grid", "random", "tpe", "nsga2"]
    driver.do("set_option", name="max_drop", value=True)
    driver.do("set_option", name="search", value="tpe")
    controls = {c["name"]: c for c in driver.shown["options"]["controls"]}
    assert (controls["racing"]["kind"], controls["racing"]["value"]) == ("switch", True)
    assert (controls["budget"]["kind"], controls["budget"]["value"]) == ("amount", "30 candidates")
    assert controls["budget"]["units"] == ["candidates", "s", "min", "h"]


def test_options_make_arguments_only_when_they_differ():
    goal = Goal(max_drop=0.02)
    stop = with_value({}, "max_drop", True)
    assert arguments(stop, goal) == {"max_drop": 0.02}
    untimed = with_value(stop, "racing", False)
    assert arguments(untimed, goal) == {"max_drop": 0.02, "racing": False}
    assert with_value(untimed, "max_drop", False) == {}  # racing matters only with it
    searched = with_value(with_value(with_value({}, "search", "tpe"), "budget", "10 min"), "sensitivity", True)
    assert arguments(searched, goal) == {"search": "tpe", "budget": "10 min", "sensitivity": True}
    assert with_value(searched, "search", "grid") == {"sensitivity": True}
    assert with_value({}, "adaptive", False) == {"adaptive": False}
    assert with_value({"adaptive": False}, "adaptive", True) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_drop", 0.1), ("search", "best"), ("budget", "soon"), ("budget", "1.5 candidates"), ("adaptive", "yes"),
     ("nothing", 1), ("launches", 1), ("launches", 0), ("launches", "many"), ("engine", "pigeon://board")],
)  # fmt: skip
def test_a_wrong_option_is_refused(name, value):
    with pytest.raises(SettingError):
        with_value({"search": "tpe"}, name, value)


def test_options_reach_code_notebook_and_sweep(drive, model, data, space, tmp_path, monkeypatch):
    driver = drive(model, data, space=space)
    driver.do("set_option", name="launches", value=3)
    driver.do("set_option", name="max_drop", value=True)
    driver.do("set_option", name="search", value="random")
    driver.do("set_option", name="budget", value="5 candidates")
    assert driver.shown["options"]["changed"] == 4
    assert "stops after 5 candidates" in driver.shown["plan"]["more"]
    wanted = {"launches": 3, "max_drop": 0.01, "search": "random", "budget": "5 candidates"}
    code = driver.bench.code
    assert all(f"{name}={value if not isinstance(value, str) else json.dumps(value)}" in code
               for name, value in wanted.items())  # fmt: skip
    notebook = json.loads(notebook_of(driver.bench._state, tmp_path / "n.ipynb"))
    cells = ["".join(c["source"]) for c in notebook["cells"]]
    assert "max_drop: float = 0.01" in cells[1]
    assert "max_drop=max_drop" in cells[2]
    assert 'search="random"' in cells[2]
    asked = {}

    def start(*_inputs, **options):
        asked.update(options)
        raise SettingError("that was to be seen.")

    monkeypatch.setattr(dk, "start_sweep", start)
    with pytest.raises(SettingError, match="that was to be seen"):
        driver.bench.run()
    assert {name: asked[name] for name in wanted} == wanted
    driver.do("reset_options")
    assert driver.shown["options"]["changed"] == 0
    assert "search" not in driver.bench.code
    with pytest.raises(SettingError, match="launches"):
        driver.do("set_option", name="launches", value=1)


# -- running ----------------------------------------------------------------------------------------------------------


def test_a_measured_space_has_nothing_to_apply_until_something_changes(drive, model, data, space, store):
    driver = drive(model, data, space=space, store=store)
    shown = driver.shown
    assert shown["run"] == {
        "label": "No changes to apply",
        "reason": "Everything in this space is measured already.",
    }
    assert (shown["plan"]["reused"], shown["plan"]["time"]) == (2, "nothing left to do")
    driver.do("add_recipe", recipe=EXCLUDE)
    assert re.fullmatch(r"Run [12] candidates?, about .*", driver.shown["run"]["label"])
    assert driver.shown["run"]["reason"] == ""
    assert driver.shown["plan"]["reused"] == 2
    driver.do("remove_recipe", key=driver.shown["added"][0]["key"])
    assert driver.shown["run"]["label"] == "No changes to apply"
    driver.do("set_option", name="sensitivity", value=True)  # may add candidates
    assert driver.shown["run"]["label"].startswith("Run sweep")
    driver.do("set_option", name="sensitivity", value=False)
    driver.do("set_option", name="launches", value=4)  # other intervals
    assert driver.shown["run"]["label"].startswith("Run sweep, about ")


def test_a_running_sweep_is_said(drive, model, data, space):
    driver = drive(model, data, space=space)
    driver.bench._state.change(sweep="running")
    assert driver.shown["run"]["label"] == "Sweep is running"
    driver.bench._state.change(sweep="idle")


def test_a_huge_space_is_said(drive, model, data, monkeypatch):
    driver = drive(model, data)
    assert not driver.shown["plan"]["many"]
    monkeypatch.setattr(summary, "_MANY", 2)
    assert driver.shown["plan"]["many"]


def test_names_are_kept_as_text(drive, model, data):
    driver = drive(model, data)
    hostile = "<img src=x onerror=alert(1)>"
    driver.do("set_values", technique="quantize_static", parameter="exclude", values=["", hostile])
    assert driver.control("quantize_static", "exclude")["values"] == ["", hostile]
    assert driver.shown["plan"]["problems"] == []


def test_the_second_round_is_said(drive, model, data):
    recipes = (dk.Recipe((dk.Step("quantize_static"),)),)
    driver = drive(model, data, space=dk.Space(recipes, (ON_ONE,), Refine(2, (2, 4))))
    assert driver.shown["plan"]["more"] == "Then the best 2 are timed again with 2, 4 threads."


def test_a_panel_alone_is_sent_the_space(drive, model, data):
    bench = drive(model, data).bench
    sent = []
    surface = bench.panel("space")
    surface.send = lambda content, buffers=(): sent.append(content)
    assert bench._desk.settle()
    bench._desk.post(lambda: bench._hub.push(surface))
    assert bench._desk.settle()
    assert any("space" in m.get("sections", {}) for m in sent)


# -- lengths ----------------------------------------------------------------------------------------------------------


def where(driver):
    return {control["name"]: control for control in driver.shown["where"]}


@pytest.fixture
def tagger(tmp_path):
    """A model of sentences of any length, and some sentences."""
    onnx.save(transformers.encoder(), tmp_path / "tagger.onnx")
    given = transformers.sentences(60, 8)
    return dk.load(tmp_path / "tagger.onnx"), dk.Dataset.from_arrays(given, np.arange(60) % 3)


def test_lengths_are_for_models_with_a_free_dimension(drive, model, data, tagger):
    assert list(where(drive(model, data))) == ["threads", "batch_size"]
    driver = drive(*tagger, space=dk.Space((), (ON_ONE,)))
    control = where(driver)["lengths"]
    assert (control["values"], control["empty"]) == ([None], "none")
    assert control["help"].endswith("separated by commas. Allowed: at least 1, default none.")
    driver.do("set_lengths", values=[16, 4, 16])
    assert driver.bench._state.space.lengths == (4, 16)
    assert driver.bench._state.space.targets == (ON_ONE,)
    assert "lengths=[4, 16]" in driver.bench.code
    assert {c.candidate.target.lengths for c in driver.bench._state.plan.candidates} == {(4, 16)}
    assert driver.shown["line"].startswith("Given in code, 1 change · ")
    driver.do("set_lengths", values=[0])
    assert "lengths must be at least 1, got 0" in where(driver)["lengths"]["problem"]
    assert driver.bench._state.space.lengths == (4, 16)  # the last good ones stay
    driver.do("set_lengths", values=["many"])
    assert "lengths must be a number, got 'many'" in where(driver)["lengths"]["problem"]
    kept = driver.section.kept()
    driver.do("set_lengths", values=[None])
    assert driver.bench._state.space == dk.Space((), (ON_ONE,))
    driver.section.restore(json.loads(json.dumps(kept)))
    assert driver.bench._state.space.lengths == (4, 16)


def test_lengths_of_targets_are_shown_and_give_way(drive, tagger):
    given = dk.Space((), (dk.Target("onnxruntime", lengths=(8, 32)),))
    driver = drive(*tagger, space=given)
    assert where(driver)["lengths"]["values"] == [8, 32]
    assert driver.bench._state.space == given
    driver.do("set_threads", values=[2])
    targets = driver.bench._state.space.candidates(driver.bench._state.space.targets)
    assert {c.target for c in targets} == {dk.Target("onnxruntime", threads=2, lengths=(8, 32))}
    driver.do("set_threads", values=[1])
    driver.do("set_lengths", values=[16])
    targets = driver.bench._state.space.candidates(driver.bench._state.space.targets)
    assert {c.target for c in targets} == {dk.Target("onnxruntime", lengths=(16,))}


def test_lengths_that_another_model_does_not_take_can_be_taken_out(drive, model, data):
    driver = drive(model, data, space=dk.Space((), (ON_ONE,), lengths=(16,)))
    assert where(driver)["lengths"]["values"] == [16]
    assert "free dimensions" in json.dumps(driver.bench._state.problems)
    driver.do("set_lengths", values=[None])
    assert not any(driver.bench._state.problems.values())

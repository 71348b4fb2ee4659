"""An option of a sweep is declared once: arguments, flags, controls, plan, script and notebook have it from there."""

import importlib.util
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from deploykit_widgets.code.saved_notebook import notebook_of
from deploykit_widgets.workbench import Workbench

import deploykit as dk
from deploykit.cli.main import main
from deploykit.core.errors import SettingError
from deploykit.core.settings.option import takes
from deploykit.core.settings.options import SweepOptions


@pytest.fixture(autouse=True)
def declared(monkeypatch):
    """The fields of the example, as if `SweepOptions` had this group as well."""
    spec = importlib.util.spec_from_file_location("warm_up", Path(__file__).parent / "example" / "warm_up.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, hint in module.WarmUpOptions.__annotations__.items():
        monkeypatch.setitem(SweepOptions.__annotations__, name, hint)


def test_functions_take_it_check_it_and_the_plan_names_it(onnx_model, images):
    plan = dk.plan(onnx_model, images, check=False, warm_up=5, cool_down=True, strategy="busy_wait")
    assert plan.options == {"warm_up": 5, "strategy": "busy_wait", "cool_down": True}
    assert "options: warm_up 5, strategy busy_wait, cool_down on" in str(plan)
    assert dk.plan(onnx_model, images, check=False, warm_up=-1).options == {"warm_up": -1}
    for given, message in [
        (
            {"warm_up": 51},
            r"warm_up must be between 0 and 50 inferences, or -1 to wait until latency is steady, got 51",
        ),
        ({"strategy": "wait"}, "Unknown strategy 'wait'.*busy_wait"),
        ({"cool_down": "yes"}, "cool_down must be true or false"),
        ({"warm": 5}, "did you mean 'warm_up'"),
    ]:
        for function in (dk.sweep, dk.start_sweep, dk.plan):
            with pytest.raises(SettingError, match=message):
                function(onnx_model, images, **given)


def test_signature_and_documentation_have_it():
    @takes(SweepOptions)
    def function(model, **options):
        """What it does.

        Args:
            model: A model.
            **options: How.
        """

    assert str(inspect.signature(function).parameters["warm_up"]) == "warm_up: int = 3"
    assert "        warm_up: Inferences before a session is timed.\n" in function.__doc__


def test_the_command_line_has_it(onnx_model, tmp_path, capsys):
    assert main(["sweep", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--warm-up N inferences before a session is timed (default: 3; -1 to wait until latency is steady)" in shown
    assert "--cool-down wait between sessions until the machine is cool" in shown
    np.savez(tmp_path / "data.npz", x=np.zeros((40, 1, 8, 8), np.float32), y=np.arange(40) % 3)
    command = [
        "plan", str(onnx_model.path), "--data", str(tmp_path / "data.npz"), "--no-check", "--warm-up", "7", "--json",
    ]  # fmt: skip
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["options"] == {"warm_up": 7}


def test_the_workbench_has_its_control_and_writes_it(onnx_model, images, tmp_path):
    with Workbench(onnx_model, images, store=tmp_path / "runs") as bench:
        assert bench._desk.settle()
        section = bench._sections["space"]
        controls = {c["name"]: c for c in section.value()["options"]["controls"]}
        assert (controls["warm_up"]["kind"], controls["warm_up"]["value"], controls["warm_up"]["unit"]) == (
            "number", 3, "inferences",
        )  # fmt: skip
        assert [c["label"] for c in controls["strategy"]["choices"]] == ["sleep", "busy wait"]
        assert controls["cool_down"]["kind"] == "switch"
        assert controls["cool_down"]["help"] == "Wait between sessions until the machine is cool."
        for name, value in {"warm_up": 8, "strategy": "busy_wait", "cool_down": True}.items():
            section.commands()["set_option"](name=name, value=value)
        assert section.value()["options"]["changed"] == 3
        with pytest.raises(SettingError, match="warm_up must be between 0 and 50"):
            section.commands()["set_option"](name="warm_up", value=99)
        assert 'warm_up=8, strategy="busy_wait", cool_down=True' in " ".join(bench.code.split())
        notebook = json.loads(notebook_of(bench._state, tmp_path / "n.ipynb"))
        parameters, work = ("".join(cell["source"]) for cell in notebook["cells"][1:3])
        assert "warm_up: int = 8" in parameters
        assert "warm_up=warm_up" in work

"""Options that are declared once, and the functions that take them."""

import inspect
import typing

import pytest

import deploykit as dk
from deploykit.core.errors import SettingError
from deploykit.core.settings.option import changed, complete, options_of
from deploykit.core.settings.options import BuildOptions, ExamineOptions, SensitivityOptions, SweepOptions

TAKERS = [
    (dk.sweep, SweepOptions),
    (dk.start_sweep, SweepOptions),
    (dk.plan, SweepOptions),
    (dk.build, BuildOptions),
    (dk.examine, ExamineOptions),
    (dk.sensitivity, SensitivityOptions),
    (dk.start_sensitivity, SensitivityOptions),
]


@pytest.mark.parametrize(("function", "group"), TAKERS, ids=lambda x: getattr(x, "__name__", ""))
def test_a_function_shows_the_options_that_it_takes(function, group):
    """What completion, help() and the reference show."""
    parameters = inspect.signature(function).parameters
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters.values())
    types = typing.get_type_hints(group)
    for name, option in options_of(group).items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert (parameters[name].default, parameters[name].annotation) == (option.default, types[name])
        assert f"\n        {name}: {option.help.split()[0]}" in function.__doc__
    assert "**options" not in function.__doc__


def test_the_keyword_arguments_of_a_sweep_are_those_people_have_in_scripts():
    defaults = {n: p.default for n, p in inspect.signature(dk.sweep).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert defaults == {
        "store": "runs", "progress": None, "candidates": (), "metric": "auto", "engine": "local", "seed": 0,
        "timeout": 600.0, "memory": 0.0, "launches": 10, "adaptive": True, "max_drop": None, "racing": True,
        "search": "grid", "budget": None, "sensitivity": False, "output": None, "scores": None, "state": None,
        "constants": None, "boxes": None, "generate": 0, "attacks": 0, "strength": 0.03,
    }  # fmt: skip


def test_a_default_is_allowed_and_every_option_has_words():
    assert changed(SweepOptions, complete(SweepOptions, {})) == {}
    for option in options_of(SweepOptions).values():
        assert option.help.endswith(".")
        assert option.kind == "bool" or option.metavar
        assert not option.panel or option.label
        assert option.kind != "bool" or not option.default or option.no


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"launches": 1}, r"launches must be at least 2, or 0 to skip latency, got 1\. Remedy: the default is 10\."),
        ({"launches": 2.5}, r"launches must be a whole number, got 2\.5"),
        ({"launches": True}, "launches must be a number, got True"),
        ({"timeout": 0}, "timeout must be more than 0 seconds, got 0"),
        ({"timeout": "long"}, "timeout must be a number, got 'long'"),
        ({"memory": -1}, "memory must be at least 0 GB, got -1"),
        ({"max_drop": -0.1}, r"max_drop must be at least 0, got -0\.1"),
        ({"max_drop": float("nan")}, "max_drop must be a finite number"),
        ({"racing": 1}, "racing must be true or false, got 1"),
        ({"search": "tpee"}, "Unknown search 'tpee'.*did you mean 'tpe'"),
        ({"metric": "accuray"}, "Unknown metric 'accuray'.*did you mean 'accuracy'"),
        ({"engine": "dusk://here"}, "Unknown engine 'dusk'.*did you mean 'dask'"),
        ({"budget": "10 min"}, "budget applies only together with search"),
        ({"search": "random", "budget": "soon"}, "budget: cannot parse 'soon'"),
        ({"output": 3}, "The output must be a name, got 3"),
        ({"lanches": 3}, "Unknown option 'lanches'.*did you mean 'launches'"),
    ],
)
def test_a_wrong_option_is_refused_in_words(given, message):
    with pytest.raises(SettingError, match=message):
        complete(SweepOptions, given)


def test_values_have_the_declared_type():
    found = complete(SweepOptions, {"launches": 0, "timeout": 5, "metric": len, "engine": "dask://host:1", "memory": 2})
    assert (found["launches"], found["timeout"], found["memory"]) == (0, 5.0, 2.0)
    assert isinstance(found["timeout"], float)
    assert changed(SweepOptions, found) == {
        "metric": "len", "engine": "dask://host:1", "timeout": 5.0, "memory": 2.0, "launches": 0,
    }  # fmt: skip


def test_an_unknown_option_is_refused_before_any_work(onnx_model, images):
    for function in (dk.sweep, dk.plan, dk.start_sweep):
        with pytest.raises(SettingError, match="Unknown option 'launch'"):
            function(onnx_model, images, launch=3)


def test_a_plan_names_the_options_that_it_was_given(onnx_model, images):
    plan = dk.plan(onnx_model, images, check=False, launches=3, sensitivity=True, max_drop=0.02, racing=False)
    assert plan.options == {"launches": 3, "max_drop": 0.02, "racing": False, "sensitivity": True}
    assert "options: launches 3, max_drop 0.02, racing off, sensitivity on" in str(plan)
    assert "options: launches 3" in plan._repr_html_()
    assert "options:" not in str(dk.plan(onnx_model, images, check=False))
    searched = str(dk.plan(onnx_model, images, check=False, search="random", budget=90))
    assert "the search tries some of these candidates and stops after 1 min 30 s" in searched

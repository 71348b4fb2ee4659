import pytest
from deploykit_widgets.controls import Values, help_of, title

from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter
from deploykit.core.registry import registry

TECHNIQUES = registry("deploykit.transforms", "technique")
DECLARED = [(name, p) for name in TECHNIQUES.names() for p in TECHNIQUES.get(name).parameters]


def _ignore(_change):
    pass


@pytest.mark.parametrize(("technique", "parameter"), DECLARED, ids=[f"{t}-{p.name}" for t, p in DECLARED])
def test_every_declared_parameter_has_a_control_that_keeps_its_values(technique, parameter):
    control = Values(parameter, technique, [parameter.default], _ignore)
    assert control.values == (parameter.default,)
    wanted = _some_values(parameter)
    control.set(wanted)
    assert set(control.values) == set(wanted)
    for part in control._inner.controls:
        assert part.tooltip
        assert part.description


def _some_values(parameter):
    if parameter.kind == "choice":
        return parameter.choices
    if parameter.kind == "bool":
        return (False, True)
    if parameter.kind == "text":
        return ("", "Relu, Softmax", "Conv")
    low = parameter.minimum if parameter.minimum is not None else 1
    high = parameter.maximum if parameter.maximum is not None else low + 2
    cast = int if parameter.kind == "int" else float
    return (cast(low), cast(high))


SHARE = Parameter("sparsity", "float", 0.5, "Share of zeros.", minimum=0.0, maximum=0.9, unit="of all")
COUNT = Parameter("epochs", "int", 2, "Passes.", minimum=0, maximum=10)
KIND = Parameter("operators", "choice", "all", "Which.", choices=("all", "conv_matmul"))
NAMES = Parameter("exclude", "text", "", "Which stay float.")
MAYBE = Parameter("batches", "int", None, "How many.", minimum=1)


@pytest.mark.parametrize(
    ("parameter", "typed", "values"),
    [
        (SHARE, "0.5, 0.8", (0.5, 0.8)),
        (SHARE, " 0.5 ,0.5,, ", (0.5,)),
        (COUNT, "1,2, 3", (1, 2, 3)),
        (COUNT, "1e1", (10,)),
        (MAYBE, "", (None,)),
        (MAYBE, "4", (4,)),
        (NAMES, "", ("",)),
        (NAMES, "Softmax,Conv; ;Conv, Softmax", ("Conv, Softmax", "")),
    ],
)
def test_typed_numbers(parameter, typed, values):
    control = Values(parameter, "prune", [parameter.default], _ignore)
    control._inner.controls[0].value = typed
    assert control.values == values
    assert [type(v) for v in control.values] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("parameter", "typed", "words"),
    [
        (SHARE, "half", ["'half'", "not a number"]),
        (SHARE, "1.5", ["sparsity", "between 0 and 0.9", "1.5"]),
        (SHARE, "nan", ["sparsity", "finite"]),
        (SHARE, "", ["no value", "sparsity"]),
        (COUNT, "1.5", ["epochs", "whole number"]),
    ],
)
def test_wrong_numbers_are_named_with_what_is_allowed(parameter, typed, words):
    control = Values(parameter, "prune", [parameter.default], _ignore)
    control._inner.controls[0].value = typed
    with pytest.raises(SettingError) as error:
        _ = control.values
    assert all(w in str(error.value) for w in ["prune", *words])


def test_choices_are_pressed_several_at_a_time_and_have_a_tick():
    control = Values(KIND, "quantize", ["all"], _ignore)
    first, second = control._inner.controls
    assert [first.description, second.description] == ["all", "conv matmul"]
    assert (first.icon, second.icon) == ("check", "")
    second.value = True
    assert control.values == ("all", "conv_matmul")
    first.value = second.value = False
    with pytest.raises(SettingError, match="no value is given for operators"):
        _ = control.values


def test_a_change_is_told_and_a_disabled_control_cannot_be_changed_by_the_user():
    told = []
    control = Values(COUNT, "prune", [2], told.append)
    control._inner.controls[0].value = "3"
    assert [c["new"] for c in told] == ["3"]
    control.enable(False)
    assert control._inner.controls[0].disabled


def test_help_says_range_default_and_unit():
    assert title(SHARE) == "Sparsity"
    assert "between 0 and 0.9" in help_of(SHARE)
    assert "default 0.5 of all" in help_of(SHARE)
    assert "default automatic" in help_of(MAYBE)


def test_help_from_an_adapter_is_text():
    hostile = Parameter("mode", "choice", "a", '"><img src=x onerror=1>', choices=("a",))
    control = Values(hostile, "x", ["a"], _ignore)
    html = control.widget.children[0].value
    assert "<img" not in html
    assert "&lt;img" in html

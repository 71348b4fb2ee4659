import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter, complete

SPARSITY = Parameter("sparsity", "float", 0.5, minimum=0.0, maximum=0.99)
EPOCHS = Parameter("epochs", "int", 2, minimum=1, unit="epochs")
METHOD = Parameter("method", "choice", "minmax", choices=("minmax", "entropy"))
CHANNELS = Parameter("per_channel", "bool", True)
NAMES = Parameter("exclude", "text", "")


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        (SPARSITY, 1.5, r"prune: sparsity must be between 0 and 0\.99, got 1\.5\. Remedy: the default is 0\.5"),
        (SPARSITY, "half", r"prune: sparsity must be a number, got 'half' \(str\)"),
        (SPARSITY, True, r"sparsity must be a number, got True \(bool\)"),
        (SPARSITY, math.nan, r"sparsity must be a finite number, got nan"),
        (SPARSITY, None, r"sparsity must be a number, got None"),
        (EPOCHS, 0, r"epochs must be at least 1, got 0"),
        (EPOCHS, 1.5, r"epochs must be a whole number, got 1\.5"),
        (EPOCHS, math.inf, r"epochs must be a finite number, got inf"),
        (Parameter("bits", "int", 4, maximum=8), 9, r"bits must be at most 8, got 9"),
        (METHOD, "minmx", r"Unknown value for prune: method, 'minmx'.*did you mean 'minmax'\? known: entropy, minmax"),
        (METHOD, ["minmax"], r"Unknown value for prune: method"),
        (CHANNELS, 1, r"per_channel must be true or false, got 1"),
        (NAMES, ["Conv"], r"prune: exclude must be text, got \['Conv'\] \(list\)"),
        (NAMES, "Conv, \x1b[31m", r"prune: exclude holds characters that cannot be printed"),
    ],
)
def test_bad_values_name_owner_range_and_value(parameter, value, message):
    with pytest.raises(SettingError, match=message):
        parameter.check(value, "prune")


@pytest.mark.parametrize(
    ("parameter", "value", "canonical"),
    [
        (SPARSITY, 0, 0.0),
        (SPARSITY, np.float32(0.5), 0.5),
        (EPOCHS, 3.0, 3),
        (EPOCHS, np.int64(3), 3),
        (METHOD, "entropy", "entropy"),
        (CHANNELS, np.bool_(False), False),
        (NAMES, " Relu,Conv , ,Relu", "Conv, Relu"),
        (NAMES, " ", ""),
        (Parameter("seed", "int", None), None, None),
    ],
)
def test_values_come_back_in_their_canonical_type(parameter, value, canonical):
    checked = parameter.check(value, "prune")
    assert checked == canonical
    assert type(checked) is type(canonical)


@given(st.floats(0.0, 0.99))
def test_checking_twice_changes_nothing(value):
    once = SPARSITY.check(value, "prune")
    assert SPARSITY.check(once, "prune") == once == value


def test_complete_fills_in_defaults_and_sorts():
    declared = (SPARSITY, EPOCHS, METHOD)
    assert list(complete(declared, {"sparsity": 0.8}, "prune").items()) == [
        ("epochs", 2),
        ("method", "minmax"),
        ("sparsity", 0.8),
    ]


def test_complete_names_the_known_parameters():
    with pytest.raises(SettingError, match=r"Unknown parameter for prune 'sparsty'.*did you mean 'sparsity'\?"):
        complete((SPARSITY,), {"sparsty": 0.8}, "prune")


def test_parameters_are_plain_data():
    assert Parameter.from_json(SPARSITY.to_json()) == SPARSITY

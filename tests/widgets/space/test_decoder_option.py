"""How much a decoder writes: a control that models without a cache do not have."""

import numpy as np
import pytest
from deploykit_widgets.space.options import arguments, described, with_value

import deploykit as dk
from deploykit.choosing.goals import Goal
from deploykit.core.errors import SettingError
from deploykit.testing import decoder


def names(values, contract):
    return [control["name"] for control in described(values, contract)["controls"]]


@pytest.fixture(scope="module")
def contract(tmp_path_factory):
    path = decoder.write_onnx(decoder.random_weights(), tmp_path_factory.mktemp("decoder") / "model.onnx")
    data = dk.Dataset.from_arrays(np.random.default_rng(0).integers(0, 32, (40, 6)))
    return data.check(dk.load(path)).checked


def test_decoders_have_it(contract):
    assert "generate" in names({}, contract)
    assert "generate" not in names({}, None)
    assert "generate" in names({"generate": 8}, None)  # while another plan is made


def test_it_becomes_an_argument_of_the_sweep():
    chosen = with_value({}, "generate", 16)
    assert arguments(chosen, Goal()) == {"generate": 16}
    assert with_value(chosen, "generate", 0) == {}
    with pytest.raises(SettingError, match="generate must be"):
        with_value({}, "generate", -1)


def test_examples_to_attack_go_back_to_none():
    assert with_value(with_value({}, "attacks", 50), "attacks", 0) == {}

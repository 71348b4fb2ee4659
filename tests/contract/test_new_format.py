"""Adding a format is one file: files and objects of it are loaded, and its layers have kinds."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import SettingError
from deploykit.core.problem import Facts
from deploykit.loading._contract import FORMATS
from deploykit.testing.formats import FormatConformance

_ENTRY_POINTS = "[deploykit.loading]\nlayered = layered_format:ADAPTER\n"
RNG = np.random.default_rng(0)
MATRICES = [RNG.normal(size=shape).round(3).tolist() for shape in ((4, 8), (8, 3))]


@pytest.fixture(autouse=True)
def installed(install, monkeypatch, tmp_path):
    install(Path(__file__).parent / "example" / "layered_format.py", _ENTRY_POINTS)
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "net.layers"
    path.write_text(json.dumps({"layered": MATRICES}))
    return path


@pytest.fixture
def network():
    return importlib.import_module("layered_format").Network("mine", MATRICES)


class TestItsConformance(FormatConformance):
    @pytest.fixture
    def name(self):
        return "layered"


def test_its_layers_are_reasoned_about_by_their_kinds(source):
    model = dk.load(source)
    assert [(layer.type, layer.kind) for layer in model.layers] == [
        ("matrix", "dense"), ("rectifier", "activation"), ("matrix", "dense"),
    ]  # fmt: skip
    facts = Facts(model, 0, "x86_64", (), 1)
    assert facts.weights == {"dense": 4 * 8 + 8 * 3}
    assert facts.share("dense") == 1.0


def test_an_object_is_loaded_like_its_file(source, network):
    model, file = dk.load(network), dk.load(source)
    assert (model.name, model.format, model.layers) == ("mine", "layered", file.layers)
    assert model.digest == file.digest


def test_it_is_run_before_any_work_is_spent(network):
    """Its own framework, in a child, does the model's job on the data."""
    x = RNG.normal(size=(200, 4)).astype(np.float32)
    first, second = (np.asarray(m, np.float32) for m in MATRICES)
    labels = (np.maximum(x @ first, 0) @ second).argmax(axis=1)
    found = dk.examine(dk.load(network), (x, labels))
    assert (found.check.metric, found.check.value) == ("accuracy", 1.0)


def test_an_object_that_nothing_takes_names_it_as_well():
    with pytest.raises(SettingError, match=r"a layered_format\.Network"):
        dk.load(object())


def test_the_registry_lists_it():
    assert "layered" in FORMATS.names()

"""A part of a network in the Workbench: its ends are typed, kept, and in the code."""

import pytest
from deploykit_widgets.sections.model import ModelSection
from deploykit_widgets.workbench import Workbench

import deploykit as dk
from deploykit.core.model import Model


@pytest.fixture
def network(zoo):
    return zoo("cnn_caffe")


def test_a_part_is_loaded_and_shown_as_its_file(commands, ask, network):
    section = ModelSection(commands)
    assert {".prototxt", ".pb"} == set(section.value()["endings"]["named"])
    ask(section, "load_model", path=str(network), inputs=" pool ", outputs="prob, class ")
    model = commands.state.model
    assert [spec.name for spec in (*model.inputs, *model.outputs)] == ["pool", "prob", "class"]
    facts = section.value()["facts"]
    assert facts["named"] == {"inputs": "pool", "outputs": "prob, class"}
    assert (facts["file"], facts["path"]) == (network.name, network.as_posix())
    assert facts["fileBytes"] == network.stat().st_size  # by which the server's file is known, without its weights
    assert not facts["kernel"]
    assert Model.from_json(model.to_json()) == model


def test_a_name_that_does_not_exist_is_said(commands, ask, network):
    ask(ModelSection(commands), "load_model", path=str(network), outputs="score")
    assert "the network has no blob 'score'" in commands.state.problems["model"]


def test_a_part_comes_back_and_is_in_the_code(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bench = Workbench(network, store="runs")
    assert bench._desk.settle()
    bench._desk.post(lambda: bench._commands.load_model(str(network), (), ("pool",)))
    assert bench._desk.settle()
    assert 'outputs=["pool"]' in bench.code
    assert "inputs=" not in bench.code
    bench.close()
    for given in (network, dk.load(network)):
        again = Workbench(given, store="runs")
        assert again._desk.settle()
        assert again._commands.state.model.named_outputs == ("pool",)
        again.close()


def test_a_part_that_was_given_in_code_stays(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = dk.load(network, outputs=["pool"])
    for _ in range(2):
        bench = Workbench(given, store="runs")
        assert bench._desk.settle()
        assert bench._commands.state.model is given
        bench.close()

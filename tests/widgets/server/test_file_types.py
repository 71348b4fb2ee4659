"""Which files JupyterLab takes for models: from the formats and from Netron, and from no list of its own."""

import json
from importlib.resources import files

import pytest
from deploykit_widgets.server import file_types, netron_app

from deploykit.loading._contract import FORMATS


@pytest.fixture(scope="module")
def declared():
    return json.loads(file_types.page_option())


def types_of(declared, ending):
    return [t for t in declared["types"] if ending in t["extensions"]]


def test_each_ending_of_a_model_is_one_type(declared):
    known = [e for t in declared["types"] for e in t["extensions"]]
    assert len(known) == len(set(known))
    assert len({t["name"] for t in declared["types"]}) == len(declared["types"])
    missing = {s for form in FORMATS.all() for s in form.suffixes} - set(known)
    assert missing == {".ts"}  # it is TypeScript nearly everywhere, and Netron does not read it


@pytest.mark.parametrize(
    ("ending", "graph", "default", "model"),
    [
        (".onnx", True, True, True),
        (".pt2", True, True, True),
        (".pt", True, True, True),
        (".pb", True, True, True),
        (".h5", True, False, True),
        (".prototxt", True, False, True),
        (".caffemodel", True, True, False),
        (".pmml", False, False, True),
    ],
)
def test_what_a_double_click_does(declared, ending, graph, default, model):
    (found,) = types_of(declared, ending)
    assert (found["hasGraph"], found["isDefault"], found["isModel"]) == (graph, default, model)
    assert found["name"].endswith("-beside") is not model  # by which the file browser leaves it out of its menu


def test_graphs_are_what_netron_registers(declared):
    """Its registrations are read as text; each of these is seen in its source by eye."""
    source = (files("netron") / "view.js").read_text("utf-8")
    for ending in (".onnx", ".tflite", ".keras", ".pt2", ".caffemodel", ".pte", ".xml", ".engine"):
        assert f"'{ending}'" in source
        assert ending in declared["drawn"]
    assert "pmml" not in source
    assert netron_app.endings() == set(declared["drawn"])

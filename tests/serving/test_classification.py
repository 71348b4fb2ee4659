"""Triton's classification extension on a real server."""

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.contract import OutputMeaning
from deploykit.serving._serve import serve
from deploykit.serving.classification import classified
from deploykit.serving.faults import InvalidInputError
from deploykit.testing.graphs import exported, graph, node, value

ROWS = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """x (N, 3) → p, probabilities of boot, coat and shirt; z, real values; where, the number of the best class."""
    path = graph(
        tmp_path_factory.mktemp("classes"),
        [
            node("Identity", ["x"], ["p"]),
            node("Add", ["x", "x"], ["z"]),
            node("ArgMax", ["x"], ["where"], axis=1, keepdims=0),
        ],
        [value("x", "float32", "N", 3)],
        [value("where", "int64", "N"), value("z", "float32", "N", 3), value("p", "float32", "N", 3)],
    )
    x = np.random.default_rng(0).dirichlet(np.ones(3), 60).astype(np.float32)
    data = dk.Dataset.from_arrays(x, x.argmax(axis=1), classes=("boot", "coat", "shirt"))
    with serve(exported(path, data, output="p"), port=0) as made:
        yield made


def asked(ask, server, output, count, **parameters):
    tensor = {"name": "x", "shape": list(ROWS.shape), "datatype": "FP32", "data": ROWS.tolist()}
    wanted = [{"name": output, "parameters": {"classification": count, **parameters}}]
    path = f"/v2/models/{server.name}/infer"
    return ask(server, "POST", path, {"inputs": [tensor], "outputs": wanted})


@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (1, ["0.7:1:coat", "0.5:0:boot"]),
        (2, ["0.7:1:coat", "0.2:2:shirt", "0.5:0:boot", "0.25:1:coat"]),
        (9, ["0.7:1:coat", "0.2:2:shirt", "0.1:0:boot", "0.5:0:boot", "0.25:1:coat", "0.25:2:shirt"]),
    ],
)
def test_the_best_classes_come_with_value_number_and_name(server, ask, count, wanted):
    (output,) = asked(ask, server, "p", count).json["outputs"]
    assert output == {"name": "p", "datatype": "BYTES", "shape": [2, len(wanted) // 2], "data": wanted}


def test_they_come_as_binary_tensors_too(server, ask):
    answer = asked(ask, server, "p", 1, binary_data=True)
    length = int(answer.headers["inference-header-content-length"])
    assert answer.body[length:] == b"\x0a\0\0\0" + b"0.7:1:coat" + b"\x0a\0\0\0" + b"0.5:0:boot"


@pytest.mark.parametrize(
    ("output", "count", "words"),
    [
        ("z", 2, "Output 'z': 'classification' is for class scores, and this output is read as values"),
        ("where", 1, "Output 'where': 'classification' is for class scores, and this output is read as classes"),
        ("p", 0, "expected 'classification' to be a whole number, 1 or more, got 0."),
        ("p", True, "expected 'classification' to be a whole number, 1 or more, got True."),
        ("p", "2", "expected 'classification' to be a whole number, 1 or more, got '2'."),
    ],
)
def test_what_has_no_classes_is_refused_with_the_reason(server, ask, output, count, words):
    answer = asked(ask, server, output, count)
    assert answer.status == 400
    assert words in answer.error


def test_class_names_are_told_of_the_scored_output(server, ask):
    found = {o["name"]: o.get("parameters") for o in ask(server, "GET", "/v2/models/graph").json["outputs"]}
    assert found == {"where": None, "z": None, "p": {"classes": ["boot", "coat", "shirt"]}}


def meaning(kind, shape):
    return OutputMeaning("y", kind, "scored", "float32", shape)


@pytest.mark.parametrize(
    ("kind", "array", "wanted"),
    [
        ("probability", [[0.75], [0.25]], [["0.75:1", "0.25:0"], ["0.75:0", "0.25:1"]]),
        ("logit", [[2.0], [-3.0]], [["2.0:1", "0.0:0"], ["0.0:0", "-3.0:1"]]),
        ("several", [[0.25, 0.75]], [["0.75:1", "0.25:0"]]),
        ("scores", [[-np.inf, 1.0]], [["1.0:1", "-inf:0"]]),
        ("scores", [[np.nan, 1.0]], [["1.0:1", "nan:0"]]),
    ],
)
def test_one_number_for_two_classes_and_several_labels(kind, array, wanted):
    found = classified(np.array(array, np.float32), meaning(kind, (None, len(array[0]))), 2)
    assert found.tolist() == wanted


def test_answers_for_positions_are_refused():
    with pytest.raises(
        InvalidInputError, match=r"is for one answer per example, and this output has shape \('batch', 4, 3\)"
    ):
        classified(np.zeros((2, 4, 3), np.float32), meaning("scores", (None, 4, 3)), 1)

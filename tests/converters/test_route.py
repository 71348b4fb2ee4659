import pytest

from deploykit.converters._contract import CONVERTERS, Converter
from deploykit.converters._route import route


class Registry:
    """Edges written as ``from-to``, in any order."""

    def __init__(self, *edges):
        self._edges = edges

    def all(self):
        for edge in self._edges:
            adapter = object.__new__(_Edge)
            adapter.name = edge
            adapter.accepts, adapter.produces = edge.split("-")[:2]
            yield adapter


class _Edge(Converter):
    def _convert(self, job):
        raise AssertionError("finding the way converts nothing")


def names(chain):
    return None if chain is None else [c.name for c in chain]


def test_a_goal_that_is_reached_already_needs_no_converter():
    assert route("a", frozenset({"a", "b"}), Registry("a-b")) == ()


def test_the_shortest_chain_wins_whatever_the_order_of_the_edges():
    edges = ("c-d", "a-b", "b-c", "a-x", "x-d")
    assert names(route("a", frozenset({"d"}), Registry(*edges))) == ["a-x", "x-d"]
    assert names(route("a", frozenset({"d"}), Registry(*reversed(edges)))) == ["a-x", "x-d"]


def test_of_several_goals_the_nearest_is_reached():
    assert names(route("a", frozenset({"d", "c"}), Registry("a-b", "b-c", "c-d"))) == ["a-b", "b-c"]


def test_ties_go_by_name():
    edges = ("a-b-2", "a-b-1")
    assert names(route("a", frozenset({"b"}), Registry(*edges))) == ["a-b-1"]
    assert names(route("a", frozenset({"b"}), Registry(*reversed(edges)))) == ["a-b-1"]


def test_circles_end():
    assert route("a", frozenset({"z"}), Registry("a-b", "b-a")) is None


@pytest.mark.parametrize(
    ("source", "goal", "expected"),
    [
        ("keras", "onnx", ["keras_to_onnx"]),
        ("keras", "tflite", ["keras_to_tflite"]),
        ("h5", "saved_model", ["h5_to_keras", "keras_to_saved_model"]),
        ("saved_model", "tflite", ["saved_model_to_tflite"]),
        ("onnx", "tflite", ["onnx_to_saved_model", "saved_model_to_tflite"]),
        ("tflite", "keras", None),
    ],
)
def test_the_ways_there_are(source, goal, expected):
    assert names(route(source, frozenset({goal}), CONVERTERS)) == expected

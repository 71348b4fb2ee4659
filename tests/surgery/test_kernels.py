"""Kernels of layers, found by their class."""

from types import SimpleNamespace

from deploykit.surgery.kernels import kernels, smallest


def layer(kind, *shapes):
    weights = [SimpleNamespace(shape=shape) for shape in shapes]
    made = type(kind, (), {"weights": weights})()
    made.kernel = weights[0]
    return made


def test_the_smallest_layers_hold_no_more_than_their_share():
    tiny, small, large = layer("Dense", (2, 2), (2,)), layer("Conv2D", (3, 3, 1, 4)), layer("Dense", (40, 24))
    other = layer("LayerNormalization", (1, 1))
    assert smallest([large, other, small, tiny, tiny], 0.01) == [tiny]
    assert smallest([large, other, small, tiny], 0.05) == [tiny, small]
    assert smallest([large, small], 0.03) == []


def test_kernels_are_found_by_class():
    cell = SimpleNamespace(kernel=1, recurrent_kernel=2)
    assert kernels(type("LSTM", (), {"cell": cell})()) == [1, 2]
    assert kernels(type("BatchNormalization", (), {})()) == []

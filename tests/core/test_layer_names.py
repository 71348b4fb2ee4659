"""Names of layers that formats and tracing have changed."""

from deploykit.core.layers.names import same_layers, traced_twice


def test_layers_of_two_files_are_paired_one_to_one():
    known = [["conv2d"], ["conv2d_1"], ["dense", "a/dense/MatMul"]]
    assert same_layers(known, ["b/conv2d_1/Conv", "x"]) == [1, None]
    assert same_layers(known, ["b/conv2d_1/Conv", "b/conv2d_1_2/Conv", "b/dense_1/MatMul"]) == [0, 1, 2]
    assert same_layers(known, ["b/dense/MatMul", "b/dense/BiasAdd"]) == [2, None]


def test_names_of_blocks_are_not_those_of_their_layers():
    assert same_layers([["block"], ["conv"]], ["m/block/conv/Conv2D", "m/block/Conv2D"]) == [1, 0]


def test_numbers_are_those_of_tracing_only_when_that_explains_more():
    assert traced_twice([["conv2d"], ["conv2d_1"]], ["a/conv2d_1/x", "a/conv2d_1_2/x"])
    assert not traced_twice([["conv2d"], ["conv2d_1"]], ["a/conv2d/x", "a/conv2d_1/x"])
    assert not traced_twice([["conv2d"]], [])

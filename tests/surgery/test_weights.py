import numpy as np
import pytest

from deploykit.core.errors import SettingError
from deploykit.surgery.channels.onnx_axes import plain
from deploykit.surgery.reconstruction.onnx_damage import input_norms
from deploykit.surgery.reconstruction.walk import Examples
from deploykit.surgery.weights import onnx_kernels
from deploykit.surgery.weights.kernel import (
    globally_weakest,
    parse_pattern,
    weakest,
    weakest_in_blocks,
    weakest_in_rows,
)
from tests.surgery import graphs

SCORES = np.array([[4.0, 1.0, 3.0, 2.0, 9.0], [0.5, 8.0, 0.1, 7.0, 6.0]])


def test_the_lowest_scores_go_and_one_weight_stays():
    np.testing.assert_array_equal(weakest(SCORES, 0.3), SCORES < 2.0)
    assert weakest(SCORES, 0.999).sum() == 9
    assert not weakest(SCORES, 0.0).any()


def test_rows_are_compared_by_themselves():
    gone = weakest_in_rows(SCORES, 0.4)
    np.testing.assert_array_equal(gone, [[0, 1, 0, 1, 0], [1, 0, 1, 0, 0]])


def test_a_block_keeps_its_largest_and_so_does_an_incomplete_one():
    np.testing.assert_array_equal(weakest_in_blocks(SCORES, 2, 4), [[0, 1, 0, 1, 0], [1, 0, 1, 0, 0]])
    np.testing.assert_array_equal(weakest_in_blocks(SCORES, 1, 3), [[0, 1, 1, 1, 0], [1, 0, 1, 0, 1]])


def test_blocks_are_input_channels_at_each_place_of_a_kernel():
    scores = np.random.default_rng(0).random((3, 6, 2))  # outputs, channels, places
    gone = weakest_in_blocks(scores.reshape(3, 12), 1, 4, places=2).reshape(3, 6, 2)
    for output in range(3):
        for place in range(2):
            for start in (0, 4):
                block = scores[output, start : start + 4, place]
                np.testing.assert_array_equal(gone[output, start : start + 4, place], block < block.max())


def test_all_kernels_are_compared_and_none_vanishes():
    small = np.array([[0.01, 0.02]])
    gone = globally_weakest([SCORES, small], 0.5)
    np.testing.assert_array_equal(gone[1], [[True, False]])
    np.testing.assert_array_equal(gone[0], np.isin(SCORES, np.sort(SCORES, axis=None)[:4]))


def test_patterns_are_read():
    assert parse_pattern("2:4") == (2, 4)
    assert parse_pattern("unstructured") is None
    with pytest.raises(SettingError, match="The pattern '4:2' is not known"):
        parse_pattern("4:2")


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_kernels_are_rows_of_outputs_and_come_back_as_they_were(name):
    model = plain(graphs.graph(name))
    before = graphs.weights(model)
    kernels = onnx_kernels.read(model)
    types = {n.name: n for n in model.graph.node}
    for kernel in kernels:
        weight = before[types[kernel.layer].input[1]]
        if kernel.type == "Conv":
            np.testing.assert_array_equal(kernel.rows, weight.reshape(len(weight), -1))
        else:
            transposed = any(a.name == "transB" and a.i for a in types[kernel.layer].attribute)
            np.testing.assert_array_equal(kernel.rows, weight if transposed else weight.T)
    onnx_kernels.write(model, [kernel.rows * 2 for kernel in kernels])
    after = graphs.weights(model)
    names = {types[kernel.layer].input[1] for kernel in kernels}
    for key, values in before.items():
        np.testing.assert_array_equal(after[key], values * 2 if key in names else values)


def test_norms_of_inputs_are_those_of_what_a_layer_reads():
    model, x = plain(graphs.graph("grouped")), graphs.examples("grouped", 6)
    norms = input_norms(model, Examples({"x": x}))
    w = graphs.weights(model)
    np.testing.assert_allclose(norms["layer_a"], np.sqrt(np.square(x).sum((0, 2, 3)))[None], rtol=1e-5)
    hidden = np.tanh(np.einsum("nchw,oc->nohw", x, w["w1"][:, :, 0, 0]))
    padded = np.pad(hidden, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = np.array([
        [np.sqrt(np.square(padded[:, c, i : i + 8, j : j + 8]).sum()) for i in range(3) for j in range(3)]
        for c in range(8)
    ])  # fmt: skip
    np.testing.assert_allclose(norms["layer_c"], expected.reshape(4, 18), rtol=1e-4)

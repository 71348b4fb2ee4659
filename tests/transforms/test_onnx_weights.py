"""Techniques that change the weights of ONNX graphs, held against NumPy on the tutorial's model."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from deploykit.core.errors import UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.testing import work
from tests.surgery import graphs

MODEL = Path(__file__).parents[2] / "notebooks" / "models" / "fashion_cnn.onnx"


def kernels(path):
    """Weights of convolutions and products by the names in the file."""
    graph = onnx.load(str(path)).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    return {n.input[1]: values[n.input[1]] for n in graph.node if n.op_type in {"Conv", "MatMul", "Gemm"}}


def apply(technique, target, source=MODEL, data=None, **settings):
    notes = work.transformed(technique, "onnx", source, target, data, **settings)
    return notes, kernels(source), kernels(target)


def test_the_smallest_weights_of_each_layer_become_zero(tmp_path):
    notes, before, after = apply("prune_magnitude", tmp_path / "out", sparsity=0.7, small_layers=True)
    for name, values in before.items():
        limit = np.sort(np.abs(values), axis=None)[values.size - round(0.3 * values.size)]
        np.testing.assert_array_equal(after[name], np.where(np.abs(values) >= limit, values, 0))
        assert (after[name] == 0).mean() == pytest.approx(0.7, abs=0.01)
    assert notes["sparsity"] == pytest.approx(0.7, abs=0.01)


def test_weights_of_all_layers_are_compared(tmp_path):
    _, before, after = apply("prune_magnitude", tmp_path / "out", sparsity=0.7, scope="global", small_layers=True)
    sizes = np.concatenate([np.abs(v).ravel() for v in before.values()])
    limit = np.sort(sizes)[round(0.7 * sizes.size)]
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], np.where(np.abs(values) >= limit, values, 0))


def test_a_threshold_takes_what_is_smaller(tmp_path):
    _, before, after = apply("prune_magnitude", tmp_path / "out", threshold=0.02, small_layers=True)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], np.where(np.abs(values) < 0.02, 0, values))


@pytest.mark.parametrize(("pattern", "kept", "block"), [("2:4", 2, 4), ("1:2", 1, 2), ("4:8", 4, 8)])
def test_a_pattern_holds_in_every_block_of_input_channels(pattern, kept, block, tmp_path):
    _, before, after = apply("prune_magnitude", tmp_path / "out", pattern=pattern, small_layers=True)
    for name, values in before.items():
        given, found = (blocks(v, block) for v in (values, after[name]))
        assert ((found != 0).sum(1) <= kept).all()
        np.testing.assert_allclose(np.abs(found).sum(1), np.sort(np.abs(given), axis=1)[:, -kept:].sum(1), rtol=1e-6)


def blocks(values, size):
    """Blocks of input channels of a kernel of an ONNX file, at each place; a last one is filled up with zeros."""
    rows = values.transpose(0, 2, 3, 1).reshape(-1, values.shape[1]) if values.ndim == 4 else values.T
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % size))).reshape(-1, size)


def test_small_layers_are_spared_unless_asked_for(tmp_path):
    _, before, after = apply("prune_magnitude", tmp_path / "out", sparsity=0.5)
    smallest = min(before, key=lambda name: before[name].size)
    assert all((after[name] == 0).any() for name in before if before[name].size > 0.01 * 157_920)
    np.testing.assert_array_equal(after[smallest], before[smallest])


def test_outliers_are_clipped_at_a_percentile_or_a_limit(tmp_path):
    _, before, after = apply("clip_weights", tmp_path / "share", percentile=90.0)
    for name, values in before.items():
        limit = np.percentile(np.abs(values), 90.0)
        np.testing.assert_allclose(after[name], np.clip(values, -limit, limit), atol=1e-6)
    _, before, after = apply("clip_weights", tmp_path / "limit", limit=0.05)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], np.clip(values, -np.float32(0.05), np.float32(0.05)))


def test_weights_that_meet_small_inputs_go_first(tmp_path):
    model = graphs.graph("channels_last")
    onnx.save(model, str(tmp_path / "model.onnx"))
    x = graphs.examples("channels_last", 60) * np.array([5, 1, 1, 1, 0.01, 1, 1, 1], np.float32)
    Dataset.from_arrays({"x": x}, calibration_size=50).save(tmp_path / "data")
    data = Dataset.open(tmp_path / "data").calibration()["x"]
    _, before, after = apply(
        "prune_weight_activation", tmp_path / "out", tmp_path / "model.onnx", tmp_path / "data", small_layers=True
    )
    norms = np.sqrt(np.square(data.astype(np.float64)).sum((0, 1)))
    scores = np.abs(before["w1"]) * norms[:, None]
    expected = np.where(scores > np.median(scores, axis=0), before["w1"], 0)
    np.testing.assert_array_equal(after["w1"], expected)
    assert (after["w1"][4] == 0).all(), "an input that is hardly there is not needed"
    assert (after["w1"][0] != 0).sum() >= 9


@pytest.mark.parametrize("technique", ["clip_weights", "prune_magnitude"])
def test_a_model_without_kernels_is_refused(technique, tmp_path):
    model = graphs.graph("chain")
    del model.graph.node[:]
    model.graph.node.append(onnx.helper.make_node("GlobalAveragePool", ["x"], ["y"], "pool"))
    del model.graph.initializer[:]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", 1, ["n", 3, 1, 1]))
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(UnsupportedModelError, match="no convolution and no matrix product"):
        work.transformed(technique, "onnx", tmp_path / "model.onnx", tmp_path / "out", None)

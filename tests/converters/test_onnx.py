import gc
import weakref

import numpy as np
import onnx
import pytest

from deploykit.converters import _onnx
from deploykit.core.errors import UnsupportedModelError
from deploykit.testing import work


def test_an_operator_without_counterpart_is_named(folder, tmp_path):
    source = work.made("inverse_error_function", folder)
    with pytest.raises(UnsupportedModelError, match="Erfinv") as caught:
        work.converted("keras_to_onnx", source, tmp_path / "out")
    assert "LiteRT or TensorFlow" in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_a_graph_that_writes_variables_is_refused(tmp_path):
    work.run("make_counter", "tensorflow", path=str(tmp_path / "counter"), format="saved_model")
    with pytest.raises(UnsupportedModelError, match=r"writes variables \(total\)") as caught:
        work.converted("saved_model_to_onnx", tmp_path / "counter", tmp_path / "out")
    assert "into inputs and outputs" in caught.value.remedy


def test_the_batch_is_free_and_named(folder, tmp_path):
    work.converted("keras_to_onnx", work.made("mixed_cnn", folder), tmp_path / "out")
    model = onnx.load(tmp_path / "out")
    onnx.checker.check_model(model)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_recurrent_layers_convert(folder, tmp_path):
    source = work.made("masked_recurrent", folder)
    work.converted("keras_to_onnx", source, tmp_path / "out")
    found = work.predicted(tmp_path / "out", "onnx", work.examples_of(source))
    assert abs(found["positive"] - work.outputs_of(source)["positive"]).max() < 1e-5


@pytest.mark.parametrize(("size_bytes", "freed"), [(1_000, False), (100_000_000, True)])
def test_copies_of_large_graphs_are_freed_before_a_pass(size_bytes, freed):
    passes = pytest.importorskip("tf2onnx.optimizer")

    class Copy:
        """What tf2onnx makes of a graph: something that refers to itself."""

        def __init__(self):
            self.own = self

    known = passes._get_optimizers
    gc.disable()
    try:
        with _onnx._copies_freed(size_bytes):
            copy = weakref.ref(Copy())
            first = next(iter(passes._get_optimizers().values()))
            first()
            assert (copy() is None) is freed
    finally:
        gc.enable()
    assert passes._get_optimizers is known


def test_zeros_before_pooling_stay_zeros_in_onnx_runtime():
    """Its optimizer takes them for padding that never wins (seen with 1.31), as in the first layers of ResNet50V2."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    from deploykit.converters._onnx import _keep_zeros_before_pooling

    graph = helper.make_graph(
        [
            helper.make_node("Pad", ["x", "around"], ["padded"], mode="constant"),
            helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[3, 3], strides=[2, 2]),
        ],
        "pooled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "around")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    _keep_zeros_before_pooling(model)
    x = -np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0].ravel(), [0, 0, 0, -6], atol=1e-30)

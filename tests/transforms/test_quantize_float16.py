"""ONNX files with weights of 16 bits, held against NumPy's rounding."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

from deploykit.core.errors import UnsupportedModelError
from deploykit.loading.onnx import ADAPTER as ONNX
from deploykit.testing import work
from tests.surgery import graphs

pytestmark = pytest.mark.long

TYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def saved(model, folder):
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize("name", ["flattened", "attention", "depthwise"])
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_weights_are_rounded_and_widened_again(kind, name, tmp_path):
    model = graphs.graph(name)
    work.transformed("quantize_float16", "onnx", saved(model, tmp_path), tmp_path / "out", type=kind)
    made = onnx.load(tmp_path / "out")
    assert {w.stored for w in ONNX.weights(tmp_path / "out")} == {kind}
    assert {p.key: p.value for p in made.metadata_props} == (
        {"deploykit_compute": "bfloat16"} if kind == "bfloat16" else {}
    )
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1:
            narrow = values.astype(TYPES[kind]).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(narrow, tensor.name))
    x = graphs.examples(name)
    np.testing.assert_array_equal(graphs.run(made, x), graphs.run(model, x))
    options = SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    InferenceSession(tmp_path / "out", options)
    assert "Cast" not in {n.op_type for n in onnx.load(tmp_path / "optimized.onnx").graph.node}, "in each run"


def test_numbers_beyond_its_range_stay(tmp_path):
    model = graphs.graph("flattened")
    for tensor in model.graph.initializer:
        if tensor.name == "w2":
            values = numpy_helper.to_array(tensor).copy()
            values[0, 0] = 70_000.0
            tensor.CopyFrom(numpy_helper.from_array(values, "w2"))
    source = saved(model, tmp_path)
    notes = work.transformed("quantize_float16", "onnx", source, tmp_path / "half")
    assert list(notes["stays_float"]) == ["w2"]
    assert sorted(w.stored for w in ONNX.weights(tmp_path / "half")) == ["float16", "float16", "float32"]
    assert "stays_float" not in work.transformed(
        "quantize_float16", "onnx", source, tmp_path / "brain", type="bfloat16"
    )


def test_old_operator_sets_are_raised(tmp_path):
    model = graphs.graph("channels_last")
    model.opset_import[0].version = 11
    notes = work.transformed("quantize_float16", "onnx", saved(model, tmp_path), tmp_path / "out", type="bfloat16")
    assert notes["operator_set"] == "operator set 11 raised to 13"


def test_a_model_without_weights_is_refused(tmp_path):
    values = [helper.make_tensor_value_info(name, 1, ["n", 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(UnsupportedModelError, match="no weights in float32"):
        work.transformed("quantize_float16", "onnx", saved(model, tmp_path), tmp_path / "out")

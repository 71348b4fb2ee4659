"""Weights of few bits, held against ONNX Runtime's and LiteRT's own quantizers and against the formulas."""

from collections import Counter

import numpy as np
import onnx
import pytest
from litert_quantizer import quantizer, recipe
from onnx import helper, numpy_helper
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from onnxruntime.quantization import matmul_nbits_quantizer
from onnxruntime.quantization.onnx_model import ONNXModel

from deploykit.core.errors import DatasetError, SettingError, UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.loading._load import load
from deploykit.loading.onnx import ADAPTER as ONNX
from deploykit.loading.tflite import ADAPTER as TFLITE
from deploykit.testing import work
from deploykit.transforms._contract import TRANSFORMS
from tests.surgery import graphs

pytestmark = pytest.mark.long


def saved(name, folder):
    model = graphs.graph(name)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx", model


def packed(model):
    """Constants of each MatMulNBits, by its output or that of the Add behind it."""
    arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    behind = {n.input[0]: n.output[0] for n in model.graph.node if n.op_type == "Add"}
    found = [n for n in model.graph.node if n.op_type == "MatMulNBits"]
    return {behind.get(n.output[0], n.output[0]): [arrays[i].ravel() for i in n.input[1:]] for n in found}


def rounded(values, axis=0):
    """int8 weights with a scale for each channel, by the formula."""
    scale = np.abs(values).max(tuple(i for i in range(values.ndim) if i != axis), keepdims=True) / np.float32(127)
    return np.round(values / scale) * scale


def with_convolutions_rounded(model):
    """The model with rounded weights of convolutions in float32."""
    kinds = {name: n.op_type for n in model.graph.node for name in n.input[1:2]}
    for tensor in model.graph.initializer:
        if kinds.get(tensor.name) in ("Conv", "ConvTranspose"):
            values = rounded(numpy_helper.to_array(tensor), int(kinds[tensor.name] == "ConvTranspose"))
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


# -- ONNX -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flattened", "chain", "attention"])
@pytest.mark.parametrize(("bits", "symmetric", "block"), [(4, True, 16), (4, False, 32), (8, True, 64), (8, False, 16)])
def test_weights_are_those_of_onnx_runtimes_quantizer(name, bits, symmetric, block, tmp_path):
    source, model = saved(name, tmp_path)
    settings = {"bits": bits, "symmetric": symmetric, "block": str(block)}
    work.transformed("quantize_weights", "onnxruntime", source, tmp_path / "out", **settings)
    plain = ONNXModel(with_convolutions_rounded(model))
    plain.replace_gemm_with_matmul()
    wanted = matmul_nbits_quantizer.MatMulNBitsQuantizer(plain.model, bits, block, symmetric)
    wanted.process()
    made = onnx.load(tmp_path / "out")
    for output, arrays in packed(wanted.model.model).items():
        for ours, theirs in zip(packed(made)[output], arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    x = graphs.examples(name)
    np.testing.assert_array_equal(graphs.run(made, x), graphs.run(wanted.model.model, x))


def test_products_may_round_activations_while_they_compute(tmp_path):
    source, model = saved("flattened", tmp_path)
    x = graphs.examples("flattened", 64)
    data, _ = calibration("flattened", tmp_path)
    for method in ("rtn", "gptq"):
        settings = {"bits": 8, "method": method, "convolutions": "float"}
        work.transformed("quantize_weights", "onnxruntime", source, tmp_path / "out", data, **settings, compute="int8")
        made = onnx.load(tmp_path / "out")
        nodes = [n for n in made.graph.node if n.op_type == "MatMulNBits"]
        assert {a.i for n in nodes for a in n.attribute if a.name == "accuracy_level"} == {4}
        off = np.abs(graphs.run(made, x) - graphs.run(model, x)).mean()
        assert off < 0.02 * graphs.run(model, x).std()


def calibration(name, folder, count=20):
    """Calibration data, and the batches in which they are read."""
    x = graphs.examples(name, 2 * count)
    data = Dataset.from_arrays({"x": x}, calibration_size=count)
    data.save(folder / "data")
    (values,) = data.calibration().values()
    return folder / "data", [{"x": values[i : i + 8]} for i in range(0, len(values), 8)]


@pytest.mark.parametrize(("bits", "symmetric"), [(4, True), (4, False), (8, False)])
def test_gptq_is_optimal_brain_quantization_in_order(bits, symmetric, tmp_path):
    """The paper's steps without its shortcuts: after each input, what is left is inverted again."""
    source, model = saved("flattened", tmp_path)
    data, batches = calibration("flattened", tmp_path)
    settings = {"method": "gptq", "bits": bits, "symmetric": symmetric, "block": "16", "convolutions": "float"}
    notes = work.transformed(
        "quantize_weights", "onnxruntime", source, tmp_path / "out", data, **settings, exclude="layer_y"
    )
    assert notes["calibration_examples"] == 16
    model.graph.output[0].CopyFrom(onnx.ValueInfoProto(name="f"))
    read = graphs.run(model, np.concatenate([batch["x"] for batch in batches])).astype(np.float64)
    left, weights = 2 / 16 * read.T @ read, graphs.weights(model)["w2"].astype(np.float64)
    left += np.eye(128) * 0.01 * np.diag(left).mean()
    wanted, top = np.zeros_like(weights), 2**bits - 1
    for i in range(128):
        if i % 16 == 0:
            rows = weights[i : i + 16]
            if symmetric:
                extreme = rows[np.abs(rows).argmax(0), np.arange(10)]
                scale, zero = np.float32(-extreme / 2 ** (bits - 1)), 2 ** (bits - 1)
            else:
                low, high = np.minimum(rows.min(0), 0), np.maximum(rows.max(0), 0)
                scale = np.float32((high - low) / top)
                zero = np.round(-low / scale)
        wanted[i] = (np.clip(np.round(weights[i] / scale) + zero, 0, top) - zero) * scale
        inverse = np.linalg.inv(left[i:, i:])
        weights[i:] -= np.outer(inverse[0], (weights[i] - wanted[i]) / inverse[0, 0])
    found = next(w for w in ONNX.weights(tmp_path / "out") if w.stored == f"int{bits}").load()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_rounding_with_data_or_moved_zero_points_is_nearer(tmp_path):
    """GPTQ in what the layer gives, HQQ in the norm of its weights below 1."""
    source, model = saved("flattened", tmp_path)
    data, batches = calibration("flattened", tmp_path)
    x = np.concatenate([batch["x"] for batch in batches])
    before = {w.layer: w.load() for w in ONNX.weights(source)}["layer_g"]
    outputs, norms = {}, {}
    for method in ("rtn", "hqq", "gptq"):
        settings = {"method": method, "symmetric": False, "convolutions": "float", "exclude": "layer_y"}
        work.transformed("quantize_weights", "onnxruntime", source, tmp_path / method, data, **settings)
        outputs[method] = np.square(graphs.run(onnx.load(tmp_path / method), x) - graphs.run(model, x)).mean()
        after = next(w for w in ONNX.weights(tmp_path / method) if w.stored == "int4").load()
        norms[method] = (np.abs(after - before) ** 0.7).sum()
    assert outputs["gptq"] < outputs["rtn"]
    assert norms["hqq"] < norms["rtn"]


@pytest.mark.parametrize(("method", "bits"), [("rtn", 4), ("rtn", 8), ("hqq", 4), ("gptq", 4), ("gptq", 8)])
def test_what_is_stored_is_what_is_computed_with(method, bits, tmp_path):
    """Readers see the matrices that the operator multiplies with, in blocks of an odd number as well."""
    source, _ = saved("attention", tmp_path)
    data, _ = calibration("attention", tmp_path)
    settings = {"method": method, "bits": bits, "block": "16", "symmetric": False}
    work.transformed("quantize_weights", "onnxruntime", source, tmp_path / "out", data, **settings)
    made = onnx.load(tmp_path / "out")
    found = {w.layer: w for w in ONNX.weights(tmp_path / "out") if w.stored == f"int{bits}"}
    assert {w.shape for w in found.values()} == {(16, 16), (16, 24), (24, 16)}
    arrays = {i.name: i for i in made.graph.initializer}
    for node in made.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        rows = found[node.name].shape[0]
        values = [helper.make_tensor_value_info(n, 1, None) for n in (node.input[0], node.output[0])]
        graph = helper.make_graph([node], "one", values[:1], values[1:], [arrays[i] for i in node.input[1:]])
        one = helper.make_model(graph, opset_imports=made.opset_import, ir_version=8)
        (computed,) = InferenceSession(one.SerializeToString()).run(
            None, {node.input[0]: np.eye(rows, dtype=np.float32)}
        )
        np.testing.assert_allclose(computed, found[node.name].load(), atol=1e-6)
    assert load(tmp_path / "out").parameter_count >= load(source).parameter_count, "scales are added, no weight is lost"


def test_a_file_holds_as_many_bytes_as_the_plan_expects(tmp_path):
    source, _ = saved("flattened", tmp_path)
    for settings, stored in (
        ({"bits": 4, "block": "16"}, 128 * 10 / 2 + 4 * 8 * 10),
        ({"bits": 4, "block": "16", "symmetric": False}, 128 * 10 / 2 + 4 * 8 * 10 + 8 * 10 / 2),
        ({"bits": 8, "block": "128"}, 128 * 10 + 4 * 10),
    ):
        settings |= {"exclude": "layer_y"}
        work.transformed("quantize_weights", "onnxruntime", source, tmp_path / "out", **settings)
        (arrays,) = packed(onnx.load(tmp_path / "out")).values()
        assert sum(a.nbytes for a in arrays) == stored
        technique = TRANSFORMS.get("quantize_weights")
        overhead = technique.variant("onnxruntime")._overhead(technique.complete(settings))
        assert settings["bits"] / 8 + overhead == stored / 1280


def test_convolutions_are_unpacked_when_the_file_is_loaded(tmp_path):
    for name in ("flattened", "transposed", "grouped"):
        source, model = saved(name, tmp_path)
        work.transformed(
            "quantize_weights", "onnxruntime", source, tmp_path / "out", exclude="MatMul" * (name[0] == "f")
        )
        made = onnx.load(tmp_path / "out")
        convolutions = [w for w in ONNX.weights(tmp_path / "out") if "int8" in w.stored]
        kinds = Counter(n.op_type for n in model.graph.node)
        assert len(convolutions) == kinds["Conv"] + kinds["ConvTranspose"]
        x = graphs.examples(name)
        np.testing.assert_array_equal(graphs.run(made, x), graphs.run(with_convolutions_rounded(model), x))
        options = SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        InferenceSession(tmp_path / "out", options)
        assert not {"Cast", "DequantizeLinear"} & {n.op_type for n in onnx.load(tmp_path / "optimized.onnx").graph.node}


def test_steps_may_give_layers_different_bits(tmp_path):
    source, _ = saved("flattened", tmp_path)
    data, _ = calibration("flattened", tmp_path)
    first, second, third = (tmp_path / n for n in ("first", "second", "third"))
    work.transformed("quantize_weights", "onnxruntime", source, first, bits=8, exclude="layer_y")
    work.transformed("quantize_weights", "onnxruntime", first, second, bits=4)
    bits = {w.layer: w.stored for w in ONNX.weights(second)}
    assert sorted(bits.values()) == ["int4", "int8", "int8"]
    for name, array in packed(onnx.load(first)).items():
        for ours, theirs in zip(packed(onnx.load(second))[name], array, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    work.transformed("quantize_static", "onnxruntime", source, tmp_path / "static", data, exclude="MatMul")
    notes = work.transformed("quantize_weights", "onnxruntime", tmp_path / "static", third)
    assert notes["packed"] == {"MatMul": 2}
    kinds = Counter(n.op_type for n in onnx.load(third).graph.node)
    assert kinds["MatMulNBits"] == 2
    with pytest.raises(UnsupportedModelError, match="already quantized"):
        work.transformed("quantize_weights", "onnxruntime", second, tmp_path / "again")


def test_what_stays_float_is_said(tmp_path):
    source, _ = saved("attention", tmp_path)
    notes = work.transformed("quantize_weights", "onnxruntime", source, tmp_path / "out", exclude="layer_m")
    assert "layer_m" not in {name for name, *_ in notes["units"]}
    assert {kind for _, kind, _ in notes["units"]} == {"MatMul"}, "products of two activations have no weights"
    with pytest.raises(SettingError, match=r"'layer_mm'.*did you mean 'layer_m'"):
        work.transformed("quantize_weights", "onnxruntime", source, tmp_path / "out", exclude="layer_mm")
    with pytest.raises(UnsupportedModelError, match="no matrix product and no convolution"):
        work.transformed("quantize_weights", "onnxruntime", source, tmp_path / "none", exclude="MatMul")
    with pytest.raises(DatasetError, match="calibration data"):
        work.transformed("quantize_weights", "onnxruntime", source, tmp_path / "none", method="gptq")


def test_what_no_file_can_hold_is_refused():
    technique = TRANSFORMS.get("quantize_weights")
    ways = {v.name: v for v in technique.variants}
    for settings, there in (
        ({"bits": 6}, set()),
        ({"convolutions": "int4"}, {"tflite"}),
        ({"method": "hqq"}, {"onnxruntime"}),
        ({"method": "hqq", "bits": 8}, set()),
    ):
        values = technique.complete(settings)
        assert {name for name, way in ways.items() if not way.unable(values)} == there
    assert ways["tflite"].needs_for(technique.complete({"method": "gptq"})) == {"calibration"}
    assert not ways["tflite"].needs_for(technique.complete({}))


# -- TFLite -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"bits": 8}, recipe.weight_only_wi8_afp32()),
        ({"bits": 4, "convolutions": "int4"}, recipe.weight_only_wi4_afp32()),
    ],
)
def test_tflite_files_are_those_of_the_quantizer(settings, wanted, tflite_file, folder, tmp_path):
    notes = work.transformed("quantize_weights", "tflite", tflite_file, tmp_path / "out", **settings)
    made = quantizer.Quantizer(str(tflite_file), wanted).quantize(enable_progress_report=False).quantized_model
    assert (tmp_path / "out").read_bytes() == bytes(made)
    assert notes["packed"] == {"CONV_2D": 2, "FULLY_CONNECTED": 2}
    source = work.made("wide_cnn", folder)
    found = work.predicted(tmp_path / "out", "tflite", work.examples_of(source))
    assert 0 < np.abs(found["class"] - work.outputs_of(source)["class"]).mean() < 0.2


def test_operators_of_tflite_files_can_be_left_float(tflite_file, tmp_path):
    names = [w.layer for w in TFLITE.weights(tflite_file)]
    notes = work.transformed(
        "quantize_weights", "tflite", tflite_file, tmp_path / "out", exclude=f"CONV_2D, {names[-1]}", bits=8
    )
    assert [name for name, *_ in notes["units"]] == [names[-2]]
    assert {w.layer: w.stored for w in TFLITE.weights(tmp_path / "out")}[names[-2]] == "int8"
    assert sum(w.stored == "float32" for w in TFLITE.weights(tmp_path / "out")) == 3
    assert work.transformed("quantize_weights", "tflite", tmp_path / "out", tmp_path / "rest", bits=8)["packed"] == {
        "CONV_2D": 2,
        "FULLY_CONNECTED": 1,
    }, "a second step packs what the first has left"
    with pytest.raises(SettingError, match="did you mean 'CONV_2D'"):
        work.transformed("quantize_weights", "tflite", tflite_file, tmp_path / "none", exclude="CONV_3D")


@pytest.mark.filterwarnings("ignore:Warning. Enabling `experimental_preserve_all_tensors`")
def test_gptq_of_tflite_files_is_that_of_the_quantizer(tflite_file, tmp_path):
    images = np.random.default_rng(0).normal(0, 1, (40, 8, 8, 1)).astype(np.float32)
    data = Dataset.from_arrays(images, calibration_size=10)
    data.save(tmp_path / "data")
    settings = {"method": "gptq", "bits": 4, "convolutions": "float"}
    work.transformed("quantize_weights", "tflite", tflite_file, tmp_path / "out", tmp_path / "data", **settings)
    made = quantizer.Quantizer(str(tflite_file))
    made.add_weight_only_config(".*", "FULLY_CONNECTED", 4, algorithm_key="GPTQ")
    (values,) = data.calibration().values()
    ranges = made.calibrate({"serving_default": [{"image": values[i : i + 1]} for i in range(10)]}, num_threads=1)
    wanted = made.quantize(ranges, enable_progress_report=False).quantized_model
    assert (tmp_path / "out").read_bytes() == bytes(wanted)

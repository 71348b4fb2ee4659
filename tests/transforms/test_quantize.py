from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process

from deploykit.core.errors import DatasetError, SettingError, UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.loading._load import load
from deploykit.surgery.quantization.graphs import HEAVY
from deploykit.surgery.quantization.write import operators
from deploykit.testing import models, work


@pytest.fixture(scope="session")
def data(folder):
    images = np.random.default_rng(0).normal(0, 1, (100, 8, 8, 1)).astype(np.float32)
    Dataset.from_arrays(images, calibration_size=21).save(folder / "images")  # 21: the last batch of 8 is not full
    return folder / "images"


@pytest.fixture(scope="session")
def saved_model(folder):
    return converted("wide_cnn", "keras_to_saved_model", folder)


@pytest.fixture(scope="session")
def onnx_file(folder):
    return converted("wide_cnn", "keras_to_onnx", folder)


def converted(name, converter, folder):
    target = folder / f"{name}.{converter}"
    if not target.exists():
        work.converted(converter, work.made(name, folder), target)
    return target


def difference(path, folder):
    """Mean difference of the probabilities from those of the float model."""
    source = work.made("wide_cnn", folder)
    found = work.predicted(path, load(path).format, work.examples_of(source))
    return float(np.abs(found["class"] - work.outputs_of(source)["class"]).mean())


# -- TFLite -----------------------------------------------------------------------------------------------------------


def test_float16_halves_the_file(saved_model, folder, tmp_path):
    work.converted("saved_model_to_tflite", saved_model, tmp_path / "float")
    notes = work.transformed("quantize_float16", "tflite", saved_model, tmp_path / "out")
    assert (tmp_path / "out").stat().st_size < 0.6 * (tmp_path / "float").stat().st_size
    assert "quantized" not in notes
    assert difference(tmp_path / "out", folder) < 1e-3


def test_dynamic_range_keeps_float_inputs(saved_model, folder, tmp_path):
    work.transformed("quantize_dynamic", "tflite", saved_model, tmp_path / "out")
    model = load(tmp_path / "out")
    assert [s.dtype for s in (*model.inputs, *model.outputs)] == ["float32", "float32"]
    assert 0 < difference(tmp_path / "out", folder) < 0.05


@pytest.mark.parametrize(("io", "dtype"), [("float", "float32"), ("int8", "int8")])
def test_static_int8(io, dtype, saved_model, data, folder, tmp_path):
    notes = work.transformed("quantize_static", "tflite", saved_model, tmp_path / "out", data, io=io)
    model = load(tmp_path / "out")
    assert [s.dtype for s in (*model.inputs, *model.outputs)] == [dtype, dtype]
    assert bool(model.inputs[0].scale) == (io == "int8")
    assert notes["calibration_examples"] == 21
    assert notes["quantized"]["CONV_2D"] == 2
    assert "float" not in notes
    assert 0 < difference(tmp_path / "out", folder) < 0.1


def test_int16_activations_in_tflite_lose_less_than_int8(saved_model, data, folder, tmp_path):
    found = {}
    for activations in ("int8", "int16"):
        settings = {"activations": activations}
        notes = work.transformed("quantize_static", "tflite", saved_model, tmp_path / activations, data, **settings)
        found[activations] = difference(tmp_path / activations, folder)
        assert notes["quantized"]["CONV_2D"] == 2
    assert [s.dtype for s in load(tmp_path / "int16").inputs] == ["float32"]
    assert 0 < found["int16"] < 0.9 * found["int8"]


def test_a_loop_cannot_be_calibrated(folder, tmp_path):
    source = converted("masked_recurrent", "keras_to_saved_model", folder)
    Dataset.from_arrays({"tokens": np.zeros((60, 6), np.int32)}).save(tmp_path / "data")
    with pytest.raises(UnsupportedModelError, match="loop"):
        work.transformed("quantize_static", "tflite", source, tmp_path / "out", tmp_path / "data")


def test_several_inputs_are_calibrated_by_name(folder, tmp_path):
    source = work.made("two_inputs", folder)
    inputs = {k: np.repeat(v, 4, axis=0) for k, v in work.examples_of(source).items()}
    Dataset.from_arrays(inputs, calibration_size=30).save(tmp_path / "data")
    wanted = work.outputs_of(source)
    for converter, variant, format_name in (
        ("keras_to_saved_model", "tflite", "tflite"),
        ("keras_to_onnx", "onnxruntime", "onnx"),
    ):
        path = converted("two_inputs", converter, folder)
        work.transformed("quantize_static", variant, path, tmp_path / variant, tmp_path / "data")
        found = work.predicted(tmp_path / variant, format_name, work.examples_of(source))
        for key, value in wanted.items():
            assert np.abs(found[key] - value).mean() < 0.1 * np.abs(value).max()


def test_a_model_with_nothing_to_quantize_is_refused(folder, tmp_path):
    source = converted("two_inputs", "keras_to_saved_model", folder)
    with pytest.raises(UnsupportedModelError, match="nothing to quantize"):
        work.transformed("quantize_dynamic", "tflite", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- ONNX Runtime -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"per_channel": True},
        {"calibration": "entropy"},
        {"calibration": "percentile", "per_channel": True},
        {"activations": "int8", "reduce_range": True},
        {"form": "qoperator"},
    ],
    ids=str,
)
def test_static_onnx(parameters, onnx_file, data, folder, tmp_path):
    notes = work.transformed("quantize_static", "onnxruntime", onnx_file, tmp_path / "out", data, **parameters)
    assert notes["calibration_examples"] == 21
    nodes = {n.op_type for n in onnx.load(tmp_path / "out").graph.node}
    conv = "QLinearConv" if parameters.get("form") == "qoperator" else "Conv"
    assert notes["quantized"][conv] == 2
    assert {"QuantizeLinear", "DequantizeLinear", conv} <= nodes
    assert 0 < difference(tmp_path / "out", folder) < 0.1


@pytest.fixture(scope="session")
def prepared(onnx_file, folder):
    """The model as a user of ONNX Runtime would prepare it."""
    quant_pre_process(str(onnx_file), str(folder / "prepared.onnx"))
    return folder / "prepared.onnx"


class Reader(CalibrationDataReader):
    def __init__(self, data, name, size=8):
        (images,) = Dataset.open(data).calibration().values()
        self.batches = [{name: images[i : i + size]} for i in range(0, len(images), size)]
        self.left = list(self.batches)

    def __len__(self):
        return len(self.batches)

    def set_range(self, start_index, end_index):
        self.left = self.batches[start_index:end_index]

    def get_next(self):
        return self.left.pop(0) if self.left else None


@pytest.mark.parametrize(("form", "calibration"), [("qdq", "minmax"), ("qoperator", "minmax"), ("qdq", "entropy")])
def test_ranges_measured_once_give_what_quantize_static_gives(form, calibration, onnx_file, prepared, data, tmp_path):
    """Where ONNX Runtime has all examples at once, its histograms are those that are filled batch by batch."""
    formats = {"qdq": QuantFormat.QDQ, "qoperator": QuantFormat.QOperator}
    method = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy}[calibration]
    graph = onnx.load(prepared).graph
    whole = create_calibrator(
        str(prepared), augmented_model_path=tmp_path / "more.onnx", calibrate_method=method,
        extra_options={"num_bins": 1024} if calibration == "entropy" else {},
    )  # fmt: skip
    whole.collect_data(Reader(data, graph.input[0].name, 21))
    save_tensors_data(whole.compute_data(), tmp_path / "ranges.json")
    for activations, per_channel, kinds, excluded in (
        ("uint8", False, "all", "Softmax"),
        ("int8", True, "all", ""),
        ("uint8", True, "conv_matmul", ""),
        ("int8", False, "conv_matmul", "Relu"),
    ):
        settings = {"form": form, "calibration": calibration, "activations": activations, "operators": kinds}
        settings |= {"per_channel": per_channel, "exclude": excluded}
        work.transformed("quantize_static", "onnxruntime", onnx_file, tmp_path / "out", data, **settings)
        quantize_static(
            str(prepared), str(tmp_path / "wanted"), Reader(data, graph.input[0].name), formats[form],
            op_types_to_quantize=list(HEAVY) if kinds == "conv_matmul" else None, per_channel=per_channel,
            nodes_to_exclude=[n.name for n in graph.node if n.op_type == excluded],
            activation_type={"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}[activations],
            calibrate_method=method, calibration_cache_path=tmp_path / "ranges.json",
        )  # fmt: skip
        assert (tmp_path / "out").read_bytes() == (tmp_path / "wanted").read_bytes(), settings


def test_the_smallest_and_largest_value_are_those_of_the_runtime_batch_by_batch(onnx_file, prepared, data, tmp_path):
    graph = onnx.load(prepared).graph
    work.transformed("quantize_static", "onnxruntime", onnx_file, tmp_path / "out", data)
    quantize_static(
        str(prepared), str(tmp_path / "wanted"), Reader(data, graph.input[0].name), QuantFormat.QDQ,
        activation_type=QuantType.QUInt8, extra_options={"CalibStridedMinMax": 1},
    )  # fmt: skip
    assert (tmp_path / "out").read_bytes() == (tmp_path / "wanted").read_bytes()


@pytest.mark.parametrize("kind", ["int16", "uint16"])
def test_activations_of_16_bits_leave_the_weights_to_lose_accuracy(kind, onnx_file, data, folder, tmp_path):
    found = {}
    for activations in ("uint8", kind):
        settings = {"activations": activations, "per_channel": True}
        work.transformed("quantize_static", "onnxruntime", onnx_file, tmp_path / activations, data, **settings)
        found[activations] = difference(tmp_path / activations, folder)
    assert 0 < found[kind] < 0.9 * found["uint8"]
    graph = onnx.load(tmp_path / kind).graph
    types = {i.name: TensorProto.DataType.Name(i.data_type).lower() for i in graph.initializer}
    assert {types[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"} == {kind}
    assert {types[n.input[0]] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in types} == {
        "int8",
        "int32",
    }


def test_nodes_and_operators_that_are_excluded_stay_float(onnx_file, prepared, data, folder, tmp_path):
    nodes = [n.name for n in onnx.load(prepared).graph.node if n.op_type == "Conv"]
    assert len(nodes) == 2
    for technique, settings, kept in (
        ("quantize_static", {}, "Conv"),
        ("quantize_static", {"form": "qoperator"}, "QLinearConv"),
        ("quantize_dynamic", {"convolutions": True}, "ConvInteger"),
    ):
        given = {**settings, "exclude": f"{nodes[0]}, Softmax"}
        notes = work.transformed(technique, "onnxruntime", onnx_file, tmp_path / "out", data, **given)
        assert notes["float"]["Conv"] == 1
        assert notes["float"]["Softmax"] == 1
        assert notes["quantized"][kept] == 1
        assert 0 < difference(tmp_path / "out", folder) < 0.1


def test_an_unknown_name_among_the_excluded_is_refused_with_the_closest(onnx_file, data, tmp_path):
    for technique in ("quantize_static", "quantize_dynamic"):
        with pytest.raises(SettingError, match=r"no node and no operator 'Covn'.*did you mean 'Conv'"):
            work.transformed(technique, "onnxruntime", onnx_file, tmp_path / "out", data, exclude="Covn, Relu")


def test_per_channel_has_a_scale_for_each_channel(onnx_file, data, tmp_path):
    sizes = {}
    for per_channel in (False, True):
        target = tmp_path / str(per_channel)
        work.transformed("quantize_static", "onnxruntime", onnx_file, target, data, per_channel=per_channel)
        graph = onnx.load(target).graph
        weights = {n.input[1]: n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
        taken = {i for n in graph.node if n.op_type == "Conv" for i in n.input[1:2]}
        scales = [s for s, out in weights.items() if out in taken]
        arrays = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        sizes[per_channel] = sorted(arrays[s].size for s in scales)
    assert sizes == {False: [1, 1], True: [16, 24]}


def test_fewer_operators_leave_the_others_float(onnx_file, data, tmp_path):
    every = work.transformed("quantize_static", "onnxruntime", onnx_file, tmp_path / "all", data)
    heavy = work.transformed(
        "quantize_static", "onnxruntime", onnx_file, tmp_path / "heavy", data, operators="conv_matmul"
    )
    assert "Softmax" in every["quantized"]
    assert "Softmax" in heavy["float"]
    assert heavy["quantized"]["Conv"] == every["quantized"]["Conv"] == 2


def test_dynamic_leaves_convolutions_unless_asked_for(onnx_file, folder, tmp_path):
    some = work.transformed("quantize_dynamic", "onnxruntime", onnx_file, tmp_path / "some")
    every = work.transformed("quantize_dynamic", "onnxruntime", onnx_file, tmp_path / "all", convolutions=True)
    assert "ConvInteger" not in some["quantized"]
    assert some["quantized"]["MatMulInteger"] == 2
    assert every["quantized"]["ConvInteger"] == 2
    assert 0 < difference(tmp_path / "some", folder) < 0.1


def test_a_fixed_batch_is_respected(onnx_file, data, folder, tmp_path):
    model = onnx.load(onnx_file)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "fixed")
    work.transformed("quantize_static", "onnxruntime", tmp_path / "fixed", tmp_path / "out", data)
    assert load(tmp_path / "out").inputs[0].batch_size == 4
    assert difference(tmp_path / "out", folder) < 0.1


def test_a_model_quantized_already_is_refused(onnx_file, data, tmp_path):
    work.transformed("quantize_static", "onnxruntime", onnx_file, tmp_path / "once", data)
    for technique in ("quantize_static", "quantize_dynamic"):
        with pytest.raises(UnsupportedModelError, match="quantized"):
            work.transformed(technique, "onnxruntime", tmp_path / "once", tmp_path / "twice", data)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("quantize_static", {"exclude": "Gemm"}), ("quantize_dynamic", {}), {"Conv": 2, "MatMulInteger": 2}),
        (("quantize_dynamic", {"exclude": "Conv"}), ("quantize_static", {}), {"Conv": 2, "MatMulInteger": 2}),
        (("quantize_static", {"exclude": "!Conv", "form": "qoperator"}), ("quantize_static", {"per_channel": True}),
         {"QLinearConv": 2, "Gemm": 2}),
        (("quantize_static", {"exclude": "Gemm", "activations": "int8"}), ("quantize_static", {"per_channel": True}),
         {"Conv": 2, "Gemm": 2}),
    ],
)  # fmt: skip
def test_a_second_step_quantizes_what_the_first_has_left(first, second, expected, onnx_file, folder, data, tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    work.transformed(first[0], "onnxruntime", onnx_file, once, data, **first[1])
    notes = work.transformed(second[0], "onnxruntime", once, twice, data, **second[1])
    assert notes["quantized"] | expected == notes["quantized"]
    assert "operators" not in notes, "nothing was given up"
    assert not {"Conv", "Gemm", "MatMul"} & set(notes.get("float", ()))
    integers = Counter(i.data_type for i in onnx.load(twice).graph.initializer)[TensorProto.INT8]
    assert integers >= 4, "all layers have int8 weights"
    assert difference(twice, folder) < 0.05


def test_a_graph_symbolic_shape_inference_fails_on_is_quantized_all_the_same(folder, tmp_path):
    source = converted("attention", "keras_to_onnx", folder)
    sequence = np.random.default_rng(0).normal(0, 1, (60, 6, 8)).astype(np.float32)
    Dataset.from_arrays({"sequence": sequence}).save(tmp_path / "data")
    notes = work.transformed("quantize_static", "onnxruntime", source, tmp_path / "out", tmp_path / "data")
    assert notes["quantized"]["MatMul"] >= 4
    assert not list(tmp_path.glob("*.onnx"))


def test_missing_calibration_data_are_named(onnx_file, tmp_path):
    with pytest.raises(DatasetError, match="calibration data"):
        work.transformed("quantize_static", "onnxruntime", onnx_file, tmp_path / "out")


def test_counting_operators_follows_the_pattern_runtimes_fuse():
    quantized = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["x"]),
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "s", "z"], ["r"]),
    ]
    loose = [
        helper.make_node("DequantizeLinear", ["r", "s", "z"], ["w"]),
        helper.make_node("Softmax", ["w"], ["p"]),
        helper.make_node("MatMulInteger", ["r", "r"], ["m"]),
    ]
    graph = helper.make_graph(
        [*quantized, *loose], "g", [], [helper.make_tensor_value_info("p", TensorProto.FLOAT, [1])]
    )
    assert operators(graph) == {"quantized": {"MatMulInteger": 1, "Relu": 1}, "float": {"Softmax": 1}}


def test_a_foreign_onnx_file_is_quantized(data, tmp_path):
    source = models.build("cnn_onnx", tmp_path)  # channels first, opset 21, not made by a converter
    images = np.random.default_rng(0).normal(0, 1, (100, 1, 8, 8)).astype(np.float32)
    Dataset.from_arrays(images).save(tmp_path / "data")
    notes = work.transformed("quantize_static", "onnxruntime", source, tmp_path / "out", tmp_path / "data")
    assert notes["quantized"]["Conv"] == 1


# -- recipes ----------------------------------------------------------------------------------------------------------


def test_pruning_then_int8_is_one_recipe(folder, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, (100, 8, 8, 1)).astype(np.float32)
    Dataset.from_arrays(images, rng.integers(0, 3, 100), calibration_size=20).save(tmp_path / "data")
    work.transformed("prune_magnitude", "tfmot", work.made("wide_cnn", folder), tmp_path / "pruned", tmp_path / "data",
                     epochs=0, sparsity=0.8)  # fmt: skip
    for converter, variant in (("keras_to_saved_model", "tflite"), ("keras_to_onnx", "onnxruntime")):
        work.converted(converter, tmp_path / "pruned", tmp_path / converter)
        notes = work.transformed(
            "quantize_static", variant, tmp_path / converter, tmp_path / variant, tmp_path / "data"
        )
        assert notes["quantized"]
    zeros = [
        (numpy_helper.to_array(i) == 0).mean()
        for i in onnx.load(tmp_path / "onnxruntime").graph.initializer
        if i.data_type == TensorProto.INT8 and np.prod(i.dims) > 1000
    ]
    assert zeros
    assert min(zeros) > 0.75, "pruned weights stay zero in int8"


def test_a_name_after_an_exclamation_mark_leaves_all_others_float(onnx_file, prepared, data, tmp_path):
    nodes = onnx.load(prepared).graph.node
    first = next(n.name for n in nodes if n.op_type == "Conv")
    whole = work.transformed("quantize_static", "onnxruntime", onnx_file, tmp_path / "whole", data)
    units = {name: (kind, weights) for name, kind, weights in whole["units"]}
    assert set(units) < {n.name for n in nodes}  # Relu follows what comes before it
    assert {kind for kind, _ in units.values()} == {"Conv", "Gemm", "Softmax"}
    assert all((weights > 0) == (kind != "Softmax") for kind, weights in units.values())
    one = work.transformed("quantize_static", "onnxruntime", onnx_file, tmp_path / "one", data, exclude=f"!{first}")
    assert one["quantized"]["Conv"] == 1
    assert "MatMul" not in one["quantized"]
    assert "Gemm" not in one["quantized"]
    assert one["units"] == [[first, *units[first]]]
    two = work.transformed(
        "quantize_static", "onnxruntime", onnx_file, tmp_path / "two", data, exclude=f"!Conv,{first}"
    )
    assert [name for name, *_ in two["units"]] == [n for n, (kind, _) in units.items() if kind == "Conv" and n != first]


def test_matrix_products_with_a_bias_stay_float_when_weights_alone_are_quantized(folder, data, tmp_path):
    """Dynamic quantization makes two nodes of a Gemm before it looks at names."""
    source = models.build("matmul_onnx", tmp_path)
    assert work.transformed("quantize_dynamic", "onnxruntime", source, tmp_path / "all")["quantized"] == {
        "MatMulInteger": 2
    }
    for name in ("gemm", "Gemm"):
        notes = work.transformed("quantize_dynamic", "onnxruntime", source, tmp_path / name, exclude=name)
        assert notes["quantized"] == {"MatMulInteger": 1}
        assert notes["units"] == [["hidden", "MatMul", 32]]


def test_nodes_without_a_name_can_be_left_out(tmp_path):
    source = models.build("matmul_onnx", tmp_path)
    model = onnx.load(source)
    for node, name in zip(model.graph.node, ("", "a, b", "a, b"), strict=True):
        node.name = name
    onnx.save(model, source)
    notes = work.transformed("quantize_dynamic", "onnxruntime", source, tmp_path / "out")
    assert [name for name, *_ in notes["units"]] == ["MatMul_1", "a_ b_1"]
    one = work.transformed("quantize_dynamic", "onnxruntime", source, tmp_path / "one", exclude="!MatMul_1")
    assert [name for name, *_ in one["units"]] == ["MatMul_1"]


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_the_runtime_does_not_quantize_what_stays_float(form, onnx_file, data, tmp_path):
    """ONNX Runtime rounds the weights of float layers between quantized ones unless the file keeps it from that."""
    whole = work.transformed("quantize_static", "onnxruntime", onnx_file, tmp_path / "whole", data, form=form)
    left = [name for name, kind, _ in whole["units"] if kind == "Conv"][1]
    work.transformed("quantize_static", "onnxruntime", onnx_file, tmp_path / "out", data, form=form, exclude=left)
    options = SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    InferenceSession(tmp_path / "out", options, providers=["CPUExecutionProvider"])
    run = Counter(n.op_type for n in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert run["QLinearConv"] == 1
    assert run["Conv"] + run["FusedConv"] == 1

"""Weights are quantized once, and are what ONNX Runtime makes of them."""

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantType, base_quantizer, quant_utils
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer, QuantizationMode
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from deploykit.transforms import _onnx_weights


@pytest.fixture
def empty(monkeypatch):
    monkeypatch.setattr(_onnx_weights, "_results", {})
    monkeypatch.setattr(_onnx_weights, "_used", 0)


@pytest.fixture
def computed(monkeypatch):
    """How often an array was rounded."""
    found = []
    plain = quant_utils.quantize_nparray
    monkeypatch.setattr(quant_utils, "quantize_nparray", lambda *args, **more: found.append(1) or plain(*args, **more))
    return found


def model():
    rng = np.random.default_rng(0)
    weights = {"w1": (6, 1, 3, 3), "w2": (6 * 64, 5)}
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w1"], ["c"], "conv", pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Flatten", ["c"], ["f"], "flat"),
        onnx.helper.make_node("Gemm", ["f", "w2"], ["y"], "dense"),
    ]
    constants = [onnx.numpy_helper.from_array(rng.normal(0, 1, s).astype("f"), n) for n, s in weights.items()]
    graph = onnx.helper.make_graph(
        nodes, "net", [value("x", 1, ["n", 1, 8, 8])], [value("y", 1, ["n", 5])], constants,
        value_info=[value("c", 1, ["n", 6, 8, 8]), value("f", 1, ["n", 384])],
    )  # fmt: skip
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)


def quantized(form, high=1.0, **options):
    ends = {"lowest": np.array(-1, "f"), "highest": np.array(high, "f")}
    ranges = TensorsData(CalibrationMethod.MinMax, {n: TensorData(**ends) for n in "xcfy"})
    settings = {
        "reduce_range": False, "per_channel": True, "weight_qType": QuantType.QInt8,
        "activation_qType": QuantType.QUInt8, "tensors_range": ranges, "nodes_to_quantize": [], "nodes_to_exclude": [],
        "op_types_to_quantize": ["Conv", "Gemm"], "extra_options": {}, **options,
    }  # fmt: skip
    if form == "qdq":
        made = QDQQuantizer(model(), **settings)
    else:
        made = ONNXQuantizer(model(), mode=QuantizationMode.QLinearOps, static=True, **settings)
    made.quantize_model()
    return made.model.model.SerializeToString(deterministic=True)


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_a_second_candidate_rounds_no_weights(form, empty, computed):
    variants = [{}, {"high": 2.0}, {"activation_qType": QuantType.QInt8}]
    plain = [quantized(form, **v) for v in variants]
    assert len(set(plain)) == 3
    assert len(computed) >= 3 * (6 + 5)
    counts = []
    for wanted, variant in zip(plain, variants, strict=True):
        computed.clear()
        with _onnx_weights.kept():
            assert quantized(form, **variant) == wanted
        counts.append(len(computed))
    assert counts[0] >= 6 + 5
    assert counts[1:] == [0, 0]


def test_what_changes_weights_is_computed_anew(empty):
    for options in ({"per_channel": False}, {"reduce_range": True}, {"weight_qType": QuantType.QUInt8}, {}):
        wanted = quantized("qdq", **options)
        with _onnx_weights.kept():
            assert quantized("qdq", **options) == wanted, options


def test_nothing_is_kept_beyond_the_room_for_it(empty, computed, monkeypatch):
    monkeypatch.setattr(_onnx_weights, "ROOM", 100)
    wanted = quantized("qoperator")
    for _ in range(2):
        with _onnx_weights.kept():
            assert quantized("qoperator") == wanted
    computed.clear()
    quantized("qoperator")
    assert computed
    assert 0 < _onnx_weights._used <= 100


def test_a_caller_may_change_what_it_gets(empty):
    with _onnx_weights.kept():
        data = np.linspace(-1, 1, 9, dtype="f")
        first = base_quantizer.quantize_data(data, onnx.TensorProto.INT8, True)
        first[2][:] = 0
        assert base_quantizer.quantize_data(data, onnx.TensorProto.INT8, True)[2].tolist()[-1] == 127

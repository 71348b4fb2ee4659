"""NNCF's files beside bare calls of it, and what its accuracy control promises."""

import logging
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

from deploykit.core.errors import CandidateError, DatasetError, SettingError, UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.loading._load import load
from deploykit.surgery.quantization import prepare
from deploykit.testing import work
from deploykit.transforms._contract import TRANSFORMS
from deploykit.transforms._quantizing.nncf import Settings, round_biases, tool

pytestmark = pytest.mark.long

#: Products before which one channel is a thousand times as large as the others: one range for all wipes these out.
GRAPH = """<ir_version: 8, opset_import: ["": 17]> network (float[N, 12] x) => (float[N, 4] y) {
    a = MatMul(x, w1)
    b = Mul(a, large)
    c = MatMul(b, w2)
    d = Relu(c)
    y = MatMul(d, w3)
}"""


@pytest.fixture(scope="module")
def network(folder):
    rng = np.random.default_rng(0)
    large = np.where(np.arange(8) == 7, 1000.0, 1.0)
    weights = {
        "w1": rng.normal(0, 0.3, (12, 8)), "large": large, "w2": rng.normal(0, 0.5, (8, 8)) / large[:, None],
        "w3": rng.normal(0, 0.5, (8, 4)),
    }  # fmt: skip
    model = parser.parse_model(GRAPH)
    model.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items())
    for node in model.graph.node:
        node.name = f"node_{node.output[0]}"
    onnx.save(model, str(folder / "outlier.onnx"))
    return folder / "outlier.onnx"


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(1).normal(0, 1, (32, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def data(folder, network, inputs):
    """Rows with the network's own answers as labels: 100 % are right."""
    given = Dataset.from_arrays(inputs, run(network, inputs).argmax(1), x_test=inputs[:20], calibration_size=32,
                                y_test=run(network, inputs[:20]).argmax(1))  # fmt: skip
    given.check(load(network)).save(folder / "answered")
    return folder / "answered"


@pytest.fixture(scope="module")
def plain(folder, network, data):
    """A file with all defaults, and its notes."""
    return folder / "plain.onnx", made(network, data, folder / "plain.onnx")


def run(model, inputs, optimized=True):
    options = SessionOptions()
    if not optimized:
        options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    given = str(model) if not isinstance(model, onnx.ModelProto) else model.SerializeToString()
    return InferenceSession(given, options).run(None, {"x": inputs})[0]


def made(network, data, path, **settings):
    return work.transformed("quantize_nncf", "nncf", network, path, data, **settings)


def constants(model):
    return {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}


def test_it_is_what_a_bare_call_makes(network, data, inputs, plain, tmp_path):
    logger = logging.getLoggerClass()
    nncf = tool()
    assert logging.getLoggerClass() is logger
    assert "openvino_telemetry" not in sys.modules, "what reports to a server was imported"
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters

    prepare.prepare(network, tmp_path / "prepared.onnx", {})
    one = QuantizationParameters(per_channel=False)
    rows = Dataset.open(data).calibration()["x"]
    bare = nncf.quantize(
        onnx.load(str(tmp_path / "prepared.onnx")), nncf.Dataset([{"x": row[None]} for row in rows]),
        subset_size=32, preset=nncf.QuantizationPreset.PERFORMANCE,
        advanced_parameters=AdvancedQuantizationParameters(activations_quantization_params=one),
    )  # fmt: skip
    path, notes = plain
    found = onnx.load(str(path))
    assert [n.op_type for n in found.graph.node] == [n.op_type for n in bare.graph.node]
    ours, theirs = constants(found), constants(bare)
    kept = ours.keys() & theirs.keys()
    assert {name for name in theirs if theirs[name].size > 1} <= kept
    assert all(np.array_equal(ours[name], theirs[name]) for name in kept)
    signed = [theirs[n.input[2]] for n in bare.graph.node if n.op_type == "QuantizeLinear"]
    assert any(zero.dtype == np.int8 for zero in signed), "nothing had to become unsigned"
    assert all(ours[n.input[2]].dtype == np.uint8 for n in found.graph.node if n.op_type == "QuantizeLinear")
    assert np.array_equal(run(found, inputs, optimized=False), run(bare, inputs, optimized=False))
    assert notes["units"] == [["node_a", "MatMul", 96], ["node_c", "MatMul", 64], ["node_y", "MatMul", 32]]
    assert (notes["quantized"], notes["float"]) == ({"MatMul": 3, "Relu": 1}, {"Mul": 1})


def test_accuracy_control_keeps_its_promise(network, data, inputs, plain, tmp_path):
    notes = made(network, data, tmp_path / "held.onnx", max_drop=0.2, exclude="node_y")
    right = run(network, inputs).argmax(1)
    free, held = (float((run(path, inputs).argmax(1) == right).mean()) for path in (plain[0], tmp_path / "held.onnx"))
    assert free < 0.8 <= held
    assert (notes["float_score"], notes["score"]) == pytest.approx((1.0, held), abs=1e-6)
    assert notes["int8_score"] < 0.8
    assert notes["turned_back"] == ["node_c"]
    given, stored = (constants(onnx.load(str(p))) for p in (network, tmp_path / "held.onnx"))
    assert all(np.array_equal(stored[name], given[name]) for name in ("w2", "w3"))
    assert [unit[0] for unit in notes["units"]] == ["node_a"]
    with pytest.raises(CandidateError, match=r"to lose 0\.01 at most, and none is left in int8"):
        made(network, data, tmp_path / "none.onnx", max_drop=0.01)


def test_settings_are_those_of_nncf():
    nncf = tool()
    usual = Settings().arguments(7)
    assert (usual["preset"], usual["model_type"], usual["subset_size"]) == (None, None, 7)
    assert usual["fast_bias_correction"]
    wanted = Settings("mixed", "full", True, 0.6, ("node_a",))
    given = wanted.arguments(7)
    assert (given["preset"], given["model_type"]) == (nncf.QuantizationPreset.MIXED, nncf.ModelType.TRANSFORMER)
    assert not given["fast_bias_correction"]
    assert given["ignored_scope"].names == ["node_a"]
    alphas = [s.advanced().smooth_quant_alphas.matmul for s in (Settings(), wanted)]
    assert alphas == [-1.0, 0.6], "NNCF smooths with any number that is not negative"
    assert [s.advanced().disable_bias_correction for s in (wanted, Settings(bias="none"))] == [False, True]


def test_a_bias_is_a_number_of_steps_of_its_product():
    """As ONNX Runtime's kernel takes it; in float, the weights would be converted back in each run."""
    text = """<ir_version: 8, opset_import: ["": 17]> network (float[N, 2, 2] x) => (float[N, 3] y) {
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        f = Flatten(d)
        v = DequantizeLinear<axis = 0>(w, t, o)
        y = Gemm<transB = 1>(f, v, b)
    }"""
    rng, model = np.random.default_rng(0), parser.parse_model(text)
    values = {
        "s": np.float32(0.03), "z": np.uint8(120), "w": rng.integers(-127, 128, (3, 4)).astype(np.int8),
        "t": np.array([0.01, 0.02, 0.4], np.float32), "o": np.zeros(3, np.int8),
        "b": np.array([1.0, -0.777, 12.3], np.float32),
    }  # fmt: skip
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in values.items())
    x = rng.normal(0, 1, (50, 2, 2)).astype(np.float32)
    before = run(model, x, optimized=False)
    round_biases(model.graph)
    onnx.checker.check_model(model)
    stored = constants(model)["_bias_quantized"]
    steps = 0.03 * values["t"]
    assert stored.dtype == np.int32
    assert np.array_equal(stored, np.rint(values["b"] / steps))
    assert np.abs(run(model, x, optimized=False) - before).max(0) == pytest.approx(
        np.abs(stored * steps - values["b"]), abs=2e-6
    )


def test_what_it_cannot_do_is_said(network, data, inputs, plain, tmp_path):
    with pytest.raises(SettingError, match="node_z"):
        made(network, data, tmp_path / "made", exclude="node_z")
    Dataset.from_arrays(inputs).check(load(network)).save(tmp_path / "rows")
    with pytest.raises(DatasetError, match="labeled"):
        made(network, tmp_path / "rows", tmp_path / "made", max_drop=0.01)
    with pytest.raises(UnsupportedModelError, match="already"):
        made(plain[0], data, tmp_path / "twice.onnx")


def test_labels_are_needed_for_accuracy_control_alone():
    variant = TRANSFORMS.get("quantize_nncf").variant("nncf")
    assert variant.needs_for({"max_drop": 0.0}) == {"calibration"}
    assert variant.needs_for({"max_drop": 0.01}) == {"calibration", "labels"}

"""Operators that become integer and operators that stay float, in the files themselves."""

import math
import re

import numpy as np
import onnx
import pytest
from litert_quantizer import quantizer
from onnx import numpy_helper, parser
from onnxruntime import InferenceSession

from deploykit.core.errors import CandidateError, SettingError
from deploykit.data.dataset import Dataset
from deploykit.loading._load import load
from deploykit.loading.tflite import ADAPTER as TFLITE
from deploykit.testing import work
from deploykit.transforms._contract import TRANSFORMS

pytestmark = pytest.mark.long

#: A layer whose last channel is a thousand times as large as the others, which one scale for the layer wipes out,
#: between two that bear 8 bits.
GRAPH = """<ir_version: 8, opset_import: ["": 17]> network (float[N, 24] x) => (float[N, 6] y) {
    a = MatMul(x, w1)
    b = Relu(a)
    c = MatMul(b, w2)
    d = Mul(c, small)
    e = Relu(d)
    y = MatMul(e, w3)
}"""
SIZES = {"w1": 24 * 64, "w2": 64 * 32, "small": 32, "w3": 32 * 6}


@pytest.fixture(scope="session")
def network(folder):
    rng = np.random.default_rng(0)
    outliers = np.where(np.arange(32) == 31, 1000.0, 1.0).astype(np.float32)
    weights = {
        "w1": rng.normal(0, 0.2, (24, 64)), "w2": rng.normal(0, 0.2, (64, 32)) * outliers,
        "small": 1 / outliers, "w3": rng.normal(0, 0.3, (32, 6)),
    }  # fmt: skip
    model = parser.parse_model(GRAPH)
    model.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items())
    for node in model.graph.node:
        node.name = f"node_{node.output[0]}"
    onnx.save(model, str(folder / "mixed.onnx"))
    return folder / "mixed.onnx"


@pytest.fixture(scope="session")
def inputs():
    return np.random.default_rng(1).normal(0, 1, (200, 24)).astype(np.float32)


@pytest.fixture(scope="session")
def data(folder, inputs):
    Dataset.from_arrays(inputs, calibration_size=64).save(folder / "rows")
    return folder / "rows"


def made(technique, network, data, path, **settings):
    return work.transformed(technique, "onnxruntime", network, path, data, **settings)


def error(path, network, inputs):
    """Mean square of what the outputs lose, as a share of their variance."""
    before, after = (InferenceSession(str(p)).run(None, {"x": inputs})[0] for p in (network, path))
    return np.square(after - before).mean() / before.var()


def stored(path):
    """Bytes of a weight of each constant."""
    arrays = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
    return {name: arrays[name if name in arrays else f"{name}_quantized"].itemsize for name in SIZES}


@pytest.mark.parametrize(
    ("ratio", "bytes_each"),
    [
        (0.3, {"w1": 1, "w2": 1, "small": 4, "w3": 4}),
        (0.7, {"w1": 1, "w2": 4, "small": 4, "w3": 4}),
    ],
)
def test_a_size_is_met_by_what_is_stored(ratio, bytes_each, network, data, inputs, tmp_path):
    notes = made("quantize_mixed", network, data, tmp_path / "out", ratio=ratio)
    found = stored(tmp_path / "out")
    assert found == bytes_each
    whole, left = notes["weight_bytes"]
    assert whole == 4 * sum(SIZES.values())
    assert left == sum(size * found[name] for name, size in SIZES.items()) <= ratio * whole
    assert [n for n, b in notes["bits"].items() if b == 8] == [name for name, _, _ in notes["units"]]
    assert notes["damage"][0] <= notes["damage"][1]


def test_the_layer_that_loses_most_stays_float(network, data, inputs, tmp_path):
    made("quantize_mixed", network, data, tmp_path / "out", ratio=0.7)
    made("quantize_static", network, data, tmp_path / "whole")
    assert stored(tmp_path / "whole")["w2"] == 1
    assert error(tmp_path / "out", network, inputs) < 0.05 * error(tmp_path / "whole", network, inputs)


def test_all_of_it_is_the_file_of_static_quantization(network, data, inputs, tmp_path):
    for path, technique in ((tmp_path / "out", "quantize_mixed"), (tmp_path / "whole", "quantize_static")):
        made(technique, network, data, path, per_channel=True, **({"ratio": 0.25} if path.name == "out" else {}))
    first, second = (InferenceSession(str(tmp_path / p)).run(None, {"x": inputs})[0] for p in ("out", "whole"))
    np.testing.assert_array_equal(first, second)


def test_a_size_that_cannot_be_met_is_refused_with_what_can(network, data, tmp_path):
    left = sum(size * (4 if name in {"w2", "w3"} else 1) for name, size in SIZES.items())
    share = left / (4 * sum(SIZES.values()))
    with pytest.raises(CandidateError, match=f"but 8 bits give {share:.1%} at best") as raised:
        made("quantize_mixed", network, data, tmp_path / "out", ratio=0.3, exclude="node_c, node_y")
    assert "leave out fewer operators with exclude" in raised.value.remedy
    assert not (tmp_path / "out").exists()
    with pytest.raises(SettingError, match="no node and no operator 'node_z'"):
        made("quantize_mixed", network, data, tmp_path / "out", exclude="node_z")


def test_four_bits_are_stored_in_blocks(network, data, inputs, tmp_path):
    notes = made("quantize_mixed", network, data, tmp_path / "out", ratio=0.2, lowest="4")
    graph = onnx.load(str(tmp_path / "out")).graph
    packed = {n.name.removesuffix("_Q4"): n for n in graph.node if n.op_type == "MatMulNBits"}
    assert packed.keys() == {name for name, bits in notes["bits"].items() if bits == 4} != set()
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    attributes = {name: {a.name: a.i for a in node.attribute} for name, node in packed.items()}
    assert all(a["bits"] == 4 and a["block_size"] == 32 for a in attributes.values())
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(network)).graph.initializer}
    taken = 0.0
    for operator, weight in (("node_a", "w1"), ("node_c", "w2"), ("node_d", "small"), ("node_y", "w3")):
        taken += {32: 4, 8: 1, 4: 0.625}[notes["bits"][operator]] * weights[weight].size
        if notes["bits"][operator] == 4:  # two weights a byte, and a scale for each block
            found, scales = (arrays[i] for i in packed[operator].input[1:3])
            assert (
                found.nbytes
                == (32 if weights[weight].shape[0] < 32 else weights[weight].shape[0]) / 2 * weights[weight].shape[1]
            )
            assert scales.size == weights[weight].shape[1] * -(-weights[weight].shape[0] // 32)
    assert notes["weight_bytes"][1] == round(taken) <= 0.2 * notes["weight_bytes"][0]
    outputs = [InferenceSession(str(p)).run(None, {"x": inputs})[0] for p in (network, tmp_path / "out")]
    assert np.square(outputs[1] - outputs[0]).mean() / outputs[0].var() < 0.2


def test_rounding_is_learned_where_it_helps(network, data, inputs, tmp_path):
    """In integers and in blocks of 4 bits; what stays float has nothing to round."""
    lost = {}
    for rounding in ("nearest", "learned"):
        settings = {"ratio": 0.2, "lowest": "4", "rounding": rounding}
        notes = made("quantize_mixed", network, data, tmp_path / rounding, **settings)
        lost[rounding] = error(tmp_path / rounding, network, inputs)
    assert set(notes["bits"].values()) >= {4, 8}
    assert notes["rounding"].keys() <= {name for name, bits in notes["bits"].items() if bits < 32}
    assert {notes["bits"][name] for name in notes["rounding"]} == {4, 8}
    assert min(notes["rounding"].values()) < 0.9
    assert lost["learned"] < lost["nearest"]


@pytest.mark.parametrize("form", ["onnxruntime", "tflite"])
def test_a_time_is_met_or_refused_with_what_can_be(form, network, data, tflite_file, images, tmp_path):
    """How fast integers are depends on the processor: whichever it is, the file or the refusal says so."""
    settings = {"budget": "latency", "ratio": 0.9}
    given = (network, tmp_path / "out", data) if form == "onnxruntime" else (tflite_file, tmp_path / "out", images[1])
    try:
        notes = work.transformed("quantize_mixed", form, *given, **settings)
    except CandidateError as refused:
        share = float(str(refused).split("8 bits give ")[1].split("%")[0]) / 100
        assert math.isfinite(share)
        assert share > 0.899
    else:
        assert notes["time_left"] <= 0.9
        assert 8 in notes["bits"].values()


# -- TFLite -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def images(folder):
    values = np.random.default_rng(0).normal(0, 1, (80, 8, 8, 1)).astype(np.float32)
    Dataset.from_arrays(values, calibration_size=24).save(folder / "images")
    return values[:24], folder / "images"


@pytest.mark.filterwarnings("ignore:Warning. Enabling `experimental_preserve_all_tensors`")
def test_tflite_files_are_those_of_the_quantizer_for_the_operators_that_were_chosen(tflite_file, images, tmp_path):
    notes = work.transformed("quantize_mixed", "tflite", tflite_file, tmp_path / "out", images[1], ratio=0.6)
    chosen = [name for name, bits in notes["bits"].items() if bits == 8]
    assert chosen == [name for name, _, _ in notes["units"]]
    before = {w.layer: w for w in TFLITE.weights(tflite_file)}
    after = {w.layer: w.stored for w in TFLITE.weights(tmp_path / "out")}
    assert after == {name: "int8" if name in chosen else "float32" for name in before}
    assert set(after.values()) == {"int8", "float32"}
    left = sum(math.prod(w.shape) * (1 if after[name] == "int8" else 4) for name, w in before.items())
    assert left <= 0.6 * 4 * sum(math.prod(w.shape) for w in before.values())
    made = quantizer.Quantizer(str(tflite_file))
    kinds = {layer.name: layer.type for layer in load(tflite_file).layers}
    for name in chosen:
        made.add_static_config(f"^{re.escape(name)};", kinds[name], 8, 8)
    data = Dataset.open(images[1])
    (values,) = data.calibration().values()
    feeds = [{"image": values[i : i + 1]} for i in range(len(values))]
    ranges = made.calibrate({"serving_default": feeds}, num_threads=1)
    assert (tmp_path / "out").read_bytes() == bytes(made.quantize(ranges, enable_progress_report=False).quantized_model)


def test_what_tflite_files_cannot_have_is_refused(tflite_file, images, tmp_path):
    notes = work.transformed("quantize_mixed", "tflite", tflite_file, tmp_path / "out", images[1], ratio=0.9)
    assert notes["damage"][0] <= notes["damage"][1]
    with pytest.raises(CandidateError, match=r"but 8 bits give .* at best") as raised:
        work.transformed(
            "quantize_mixed", "tflite", tflite_file, tmp_path / "none", images[1], ratio=0.3, exclude="FULLY_CONNECTED"
        )
    assert "leave out fewer operators with exclude" in raised.value.remedy
    with pytest.raises(SettingError, match="did you mean 'CONV_2D'"):
        work.transformed("quantize_mixed", "tflite", tflite_file, tmp_path / "none", images[1], exclude="CONV_3D")
    (way,) = (v for v in TRANSFORMS.get("quantize_mixed").variants if v.name == "tflite")
    complete = TRANSFORMS.get("quantize_mixed").complete
    assert "quantize_weights stores 4" in way.unable(complete({"lowest": "4"}))
    assert not way.unable(complete({}))

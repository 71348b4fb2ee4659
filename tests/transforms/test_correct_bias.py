"""Biases take up mean errors, held against NumPy and the bare ONNX Runtime."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

from deploykit.core.errors import UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.testing import work
from tests.surgery import graphs, keras_models

NETWORK = """a = Conv<pads=[1,1,1,1]>(x, w1, b1) b = Relu(a) c = Conv<group=6>(b, w2) d = Relu(c)
             e = GlobalAveragePool(d) f = Flatten(e) y = Gemm(f, w3, b3)"""
SIZES = {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (6, 1, 3, 3), "w3": (6, 4), "b3": (4,)}


def graph(text, sizes, shape):
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[n, {shape}] x) => (float[n, m] y) {{ {text} }}'
    )
    rng = np.random.default_rng(0)
    for name, size in sizes.items():
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(0.05, 0.5, size).astype(np.float32), name))
    for node in model.graph.node:
        node.name = f"layer_{node.output[0]}"
    return model


def inputs(*shape):
    return np.maximum(np.random.default_rng(1).normal(0.5, 1, (60, *shape)), 0).astype(np.float32)


def saved(model, x, tmp_path):
    onnx.save(model, str(tmp_path / "model.onnx"))
    Dataset.from_arrays(x, x_test=x, calibration_size=len(x)).save(tmp_path / "data")
    return tmp_path / "model.onnx"


def changed(technique, variant, model, x, tmp_path, **settings):
    """The model after a technique, and after correction."""
    path = saved(model, x, tmp_path)
    work.transformed(technique, variant, path, tmp_path / "once", tmp_path / "data", **settings)
    notes = work.transformed(
        "correct_bias", "onnx", tmp_path / "once", tmp_path / "twice", tmp_path / "data", teacher=path
    )
    return notes, *(onnx.load(str(tmp_path / name)) for name in ("once", "twice"))


def tensors(model, x, names):
    """Tensors inside of a graph, by the bare runtime."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.output[:]
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    return InferenceSession(made.SerializeToString(), options).run(names, {"x": x})


def test_rounded_weights_get_the_biases_of_the_formula(tmp_path):
    model = graph("a = Gemm(x, w1, b1) b = Relu(a) c = MatMul(b, w2) y = Add(c, b2)",
                  {"w1": (5, 8), "b1": (8,), "w2": (8, 3), "b2": (3,)}, "5")  # fmt: skip
    x = inputs(5)
    notes, once, twice = changed("quantize_simulated", "onnx", model, x, tmp_path, bits=3)
    given, rounded, found = (graphs.weights(m) for m in (model, once, twice))
    first = given["b1"] + x.mean(0, dtype=np.float64) @ (given["w1"] - rounded["w1"])
    np.testing.assert_allclose(found["b1"], first, atol=1e-5)
    before = np.maximum(x @ given["w1"] + given["b1"], 0) @ given["w2"]
    now = np.maximum(x @ rounded["w1"] + first, 0) @ rounded["w2"]  # what comes before is corrected by then
    np.testing.assert_allclose(found["b2"], given["b2"] + (before - now).mean(0), atol=1e-5)
    np.testing.assert_array_equal(found["w1"], rounded["w1"])
    assert notes["corrected"].keys() == {"layer_a", "layer_c"}
    assert notes["not_corrected"] == {}
    np.testing.assert_allclose(graphs.run(twice, x).mean(0), graphs.run(model, x).mean(0), atol=1e-5)


def test_int8_gives_the_means_of_the_original_in_each_layer(tmp_path):
    model, x = graph(NETWORK, SIZES, "3, 8, 8"), inputs(3, 8, 8)
    settings = {"operators": "conv_matmul"}
    notes, once, twice = changed("quantize_static", "onnxruntime", model, x, tmp_path, **settings)
    wanted = tensors(model, x, ["a", "c"])
    errors = [  # the quantizer drops a ReLU where a range begins at 0: what it writes is then what comes before
        [np.abs((w - t).mean((0, 2, 3))).max() for w, t in zip(wanted, tensors(one, x, ["b", "d"]), strict=True)]
        for one in (once, twice)
    ]
    assert all(after < before / 20 for before, after in zip(*errors, strict=True)), errors
    outputs = [np.abs((graphs.run(model, x) - graphs.run(one, x)).mean(0)).max() for one in (once, twice)]
    assert outputs[1] < outputs[0] / 3
    assert notes["corrected"].keys() == {"layer_a", "layer_c", "layer_y"}
    weights = [{i.name: numpy_helper.to_array(i) for i in one.graph.initializer} for one in (once, twice)]
    same = {n for n in weights[0] if np.array_equal(weights[0][n], weights[1].get(n, ()))}
    assert {n for n in weights[0] if n not in same} <= {"b1_quantized", "b3_quantized"}, "weights and scales stay"


@pytest.mark.long
def test_a_bias_that_was_not_there_is_stored_so_that_kernels_are_integer(tmp_path):
    model, x = graph(NETWORK, SIZES, "3, 8, 8"), inputs(3, 8, 8)
    changed("quantize_static", "onnxruntime", model, x, tmp_path, per_channel=True)
    options = SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    InferenceSession(tmp_path / "twice", options, providers=["CPUExecutionProvider"])
    run = Counter(n.op_type for n in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert run["QLinearConv"] == 2
    assert not {"Conv", "FusedConv"} & run.keys()


def test_layers_that_are_quantized_on_the_fly_or_not_at_all_are_corrected_too(tmp_path):
    model, x = graph("a = MatMul(x, w1) b = Add(a, b1) c = Relu(b) y = MatMul(c, w2)",
                     {"w1": (5, 8), "b1": (8,), "w2": (8, 3)}, "5"), inputs(5)  # fmt: skip
    notes, once, twice = changed("quantize_dynamic", "onnxruntime", model, x, tmp_path, exclude="layer_y")
    (before,), (now,) = (tensors(one, x, ["b"]) for one in (once, twice))
    (wanted,) = tensors(model, x, ["b"])
    assert np.abs((wanted - now).mean(0)).max() < np.abs((wanted - before).mean(0)).max() / 20
    assert notes["not_corrected"] == {"layer_y": "it has no bias"}


def test_the_original_itself_is_not_changed(tmp_path):
    model, x = graph(NETWORK, {**SIZES, "b2": (6,)}, "3, 8, 8"), inputs(3, 8, 8)
    path = saved(model, x, tmp_path)
    notes = work.transformed("correct_bias", "onnx", path, tmp_path / "out", tmp_path / "data")
    assert notes["unchanged"]
    assert set(notes["corrected"].values()) == {0.0}


def test_a_model_that_has_nothing_of_the_original_is_refused(tmp_path):
    x = inputs(5)
    path = saved(graph("y = MatMul(x, w1)", {"w1": (5, 8)}, "5"), x, tmp_path)
    other = graph("q = Gemm(x, v, b1)  y = Relu(q)", {"v": (5, 8), "b1": (8,)}, "5")
    onnx.save(other, str(tmp_path / "other.onnx"))
    for teacher, reason in ((tmp_path / "other.onnx", "no layer is one of the original model"), (path, "no bias")):
        with pytest.raises(UnsupportedModelError, match=rf"No bias .* corrected.*{reason}"):
            work.transformed("correct_bias", "onnx", path, tmp_path / "out", tmp_path / "data", teacher=teacher)


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    from keras import Input, Model, layers, utils

    folder = tmp_path_factory.mktemp("keras")
    utils.set_random_seed(0)
    image = Input((8, 8, 3), name="x")
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, use_bias=False, name="first")(image))
    x = layers.Conv2D(6, 3, activation="relu", name="second")(layers.ReLU()(x))
    model = Model(image, layers.Dense(4, name="last")(layers.GlobalAveragePooling2D()(x)))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        values = rng.normal(0.05, 0.4, weight.shape)
        weight.assign(np.abs(values) + 0.5 if weight.path.endswith("variance") else values)
    keras_models.save(model, folder / "model.keras")
    data = inputs(8, 8, 3)
    Dataset.from_arrays(data, x_test=data, calibration_size=len(data)).save(folder / "data")
    return folder / "model.keras"


@pytest.mark.long
def test_keras_models_give_the_means_of_the_original(keras_file, tmp_path):
    import keras

    data = keras_file.with_name("data")
    once, twice = tmp_path / "once.keras", tmp_path / "twice.keras"
    work.transformed("quantize_simulated", "keras", keras_file, once, None, bits=3)
    notes = work.transformed("correct_bias", "keras", once, twice, data, teacher=keras_file)
    x = inputs(8, 8, 3)
    given, before, now = (keras.models.load_model(path) for path in (keras_file, once, twice))

    def means(model, name):
        layer = model.get_layer(name)
        made = keras.Model(model.inputs[0], layer.output)(x)
        return np.asarray(made).mean(tuple(range(len(made.shape) - 1)))

    for name in ("norm", "last"):  # of the other one, the mean before its activation is kept
        shift = [np.abs(means(given, name) - means(model, name)).max() for model in (before, now)]
        assert shift[1] < 1e-5 < shift[0], name
    assert notes["corrected"].keys() == {"first", "second", "last"}
    kernels = [np.asarray(model.get_layer("second").kernel) for model in (before, now)]
    np.testing.assert_array_equal(*kernels)


@pytest.mark.long
def test_an_original_in_keras_is_converted_to_be_compared(keras_file, tmp_path):
    data = keras_file.with_name("data")
    work.converted("keras_to_onnx", keras_file, tmp_path / "float")
    work.transformed("quantize_static", "onnxruntime", tmp_path / "float", tmp_path / "once", data)
    notes = work.transformed("correct_bias", "onnx", tmp_path / "once", tmp_path / "twice", data, teacher=keras_file)
    assert len(notes["corrected"]) == 3
    assert notes["not_corrected"] == {}


def test_quantizing_corrects_biases_as_the_step_behind_it_does(tmp_path):
    model, x = graph(NETWORK, SIZES, "3, 8, 8"), inputs(3, 8, 8)
    _, _, twice = changed("quantize_static", "onnxruntime", model, x, tmp_path)
    data, settings = tmp_path / "data", {"correction": "bias"}
    work.transformed("quantize_static", "onnxruntime", tmp_path / "model.onnx", tmp_path / "both", data, **settings)
    both = onnx.load(str(tmp_path / "both"))
    assert [n.SerializeToString() for n in both.graph.node] == [n.SerializeToString() for n in twice.graph.node]
    wanted, found = ({i.name: numpy_helper.to_array(i) for i in m.graph.initializer} for m in (twice, both))
    assert wanted.keys() == found.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)


def test_weights_are_solved_for_what_layers_read_in_integers(tmp_path):
    model, x = graph(NETWORK, SIZES, "3, 8, 8"), inputs(3, 8, 8)
    spread = np.geomspace(0.01, 1, 6).astype(np.float32)[:, None, None, None]  # one scale per tensor does not suit it
    for name, factor in (("w1", spread), ("b1", spread.ravel()), ("w2", 1 / spread)):
        weights = next(t for t in model.graph.initializer if t.name == name)
        weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * factor, name))
    path, errors, made = saved(model, x, tmp_path), {}, {}
    fresh = np.maximum(np.random.default_rng(9).normal(0.5, 1, (60, 3, 8, 8)), 0).astype(np.float32)
    for way in ("none", "bias", "weights"):
        settings = {"correction": way, "operators": "conv_matmul", "per_channel": False}
        work.transformed("quantize_static", "onnxruntime", path, tmp_path / way, tmp_path / "data", **settings)
        made[way] = onnx.load(str(tmp_path / way))
        errors[way] = float(np.square(graphs.run(made[way], fresh) - graphs.run(model, fresh)).mean())
    assert errors["weights"] < 0.9 * errors["bias"] < errors["none"] / 10, errors
    stored = [{i.name: numpy_helper.to_array(i) for i in made[way].graph.initializer} for way in ("none", "weights")]
    for name, before in stored[0].items():
        assert stored[1][name].dtype == before.dtype
        if name.endswith(("_scale", "_zero_point")):
            np.testing.assert_array_equal(stored[1][name], before)
    assert (stored[0]["w2_quantized"] != stored[1]["w2_quantized"]).any()

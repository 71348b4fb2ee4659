"""What a model computes, counted by hand, and what a plan expects of models it knows nothing of."""

from dataclasses import replace

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.digest import path_size
from deploykit.core.model import Layer, Model
from deploykit.planning import arithmetic
from deploykit.planning.history import History, Recorder, Unit


def model(*layers):
    return Model("/nowhere/net.onnx", "onnx", (), (), layers, sum(x.parameters for x in layers), 1000, "d" * 64)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Layer("dense", "Dense", (None, 10), 640 + 10), 650),
        (Layer("last", "Conv2D", (None, 14, 14, 64), 3 * 3 * 32 * 64), 14 * 14 * 3 * 3 * 32 * 64),
        (Layer("first", "Conv", (None, 64, 14, 14), 3 * 3 * 32 * 64), 14 * 14 * 3 * 3 * 32 * 64),
        (Layer("strided", "Conv", (None, 512, 508, 1), 5 * 256 * 512), 508 * 5 * 256 * 512),
        (Layer("positions", "MatMul", (None, 2048, 64), 257 * 64), 2048 * 257 * 64),
        (Layer("depthwise", "DepthwiseConv2D", (None, 7, 7, 1152), 25 * 1152), 49 * 25 * 1152),
        (Layer("free", "Conv", (None, 64, None, None), 576 * 64), 576 * 64),
        (Layer("unknown", "Conv", None, 576), 576),
        (Layer("none", "Relu", (None, 64, 14, 14), 0), 0),
    ],
    ids=lambda x: x.name if isinstance(x, Layer) else "",
)
def test_multiplications_of_one_layer(layer, expected):
    assert arithmetic.work(model(layer)) == expected


def test_multiplications_of_a_model_are_those_of_its_layers():
    """Two convolutions of 3x3 and a dense layer, counted by their definition."""
    keras = {
        "c1": ((28, 28, 32), 9 * 1 * 32), "c2": ((14, 14, 64), 9 * 32 * 64), "d1": ((96,), 864 * 96),
    }  # fmt: skip
    layers = [Layer(name, "Layer", (None, *shape), weights) for name, (shape, weights) in keras.items()]
    assert arithmetic.work(model(*layers)) == 28 * 28 * 288 + 14 * 14 * 18432 + 82944


UNIT = Unit("evaluation", "onnxruntime", "light", "", "model", 400_000, 1000, 20, 5_000_000)


def test_what_is_not_known_is_predicted_from_what_is_computed(tmp_path):
    history = History(tmp_path / "d.json")
    small, large = history.expect(UNIT), history.expect(replace(UNIT, model="large", work=400_000_000))
    assert small.how == large.how == "typical"
    assert 20 < large.seconds / small.seconds < 80


def test_what_other_models_have_taken_corrects_the_prediction(tmp_path):
    typical = History(tmp_path / "none.json").expect(UNIT).seconds
    recorder = Recorder()
    recorder.note(UNIT, 3 * typical)
    recorder.save(tmp_path / "d.json")
    history = History(tmp_path / "d.json")
    assert history.expect(UNIT).seconds == pytest.approx(3 * typical, abs=1e-3)
    other = replace(UNIT, model="other", work=100_000_000, layers=60, examples=300)
    found = history.expect(other)
    assert found.how == "other models"
    assert found.seconds == pytest.approx(3 * other.predicted, rel=0.01)


def test_a_model_without_shapes_is_expected_by_its_weights(tmp_path):
    assert replace(UNIT, work=0).predicted is None
    assert replace(UNIT, layers=0).predicted is None
    assert History(tmp_path / "d.json").expect(replace(UNIT, layers=0)).seconds > 0


# -- disk -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A model whose weights are nearly all of its file: two products of 256 x 256, and 300 numbers out."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"a": (64, 512), "b": (512, 512), "c": (512, 300)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.1, s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["i"]), helper.make_node("Relu", ["i"], ["s"]),
        helper.make_node("MatMul", ["s", "c"], ["y"]),
    ]  # fmt: skip
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "wide", [info("x", TensorProto.FLOAT, ["n", 64])], [info("y", TensorProto.FLOAT, ["n", 300])], weights
    )
    path = tmp_path_factory.mktemp("wide") / "wide.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)]), path)
    return dk.load(path)


def test_the_disk_a_sweep_takes_is_what_was_expected(wide, tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(tmp_path / "cache"))
    data = dk.Dataset.from_arrays(np.random.default_rng(0).normal(0, 1, (2000, 64)).astype(np.float32))
    recipes = [Recipe((Step("quantize_static", p),)) for p in ({}, {"per_channel": True}, {"operators": "conv_matmul"})]
    space = dk.Space([*recipes, Recipe((Step("quantize_dynamic"),))], [Target("onnxruntime")])
    expected = dk.plan(wide, data, space, launches=2, check=False).expected
    assert expected.known_from == "typical"
    dk.sweep(wide, data, space, store=tmp_path / "s", launches=2, progress=lambda _p: None)
    taken = sum({f.stat().st_ino: f.stat().st_size for f in (tmp_path / "s").rglob("*") if f.is_file()}.values())
    assert taken / 1.5 < expected.disk_bytes < 1.5 * taken
    assert path_size(tmp_path / "s" / "steps") > 0


def test_a_quarter_of_the_weights_in_int8_and_shared_steps_once(wide):
    data = dk.Dataset.from_arrays(np.ones((100, 64), np.float32))

    def disk(*steps):
        space = dk.Space([Recipe((step,)) for step in steps], [Target("onnxruntime")])
        return dk.plan(wide, data, space, launches=0, check=False).disk_bytes

    float_bytes = 4 * wide.parameter_count
    none = disk()
    one = disk(Step("quantize_static")) - none
    two = disk(Step("quantize_static"), Step("quantize_static", {"per_channel": True})) - none
    assert 1.25 * float_bytes < one < 1.5 * float_bytes, "the prepared graph and a quarter"
    assert 0.25 * float_bytes < two - one < 0.5 * float_bytes

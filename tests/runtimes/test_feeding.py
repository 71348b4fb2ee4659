"""Sessions that follow a contract: state, sequences, constants, batch axes, names; beside numpy."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk
from deploykit.core.candidate import Target
from deploykit.core.contract import Declared
from deploykit.core.errors import DatasetError, UnsupportedModelError
from deploykit.runtimes._contract import RUNTIMES

G = np.random.default_rng(0)
WEIGHT = G.normal(size=(2, 3)).astype(np.float32)


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def recurrent(folder, name="rnn"):
    """h' = tanh(x W + h) * gain, with h of shape (1, batch, 3); y = h' without its first axis, scaled by rate."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "h"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["hN"]),
        helper.make_node("Squeeze", ["hN", "zero"], ["flat"]),
        helper.make_node("Cast", ["rate"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["flat", "real"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [value("x", ["b", 2]), value("h", [1, "b", 3]), value("rate", [], TensorProto.INT64)],
        [value("y", ["b", 3]), value("hN", [1, "b", 3])],
        [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(np.array([0]), "zero")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "rnn.onnx")
    return dk.load(folder / "rnn.onnx")


def session(model, data, declared):
    contract = data.check(model, declared).checked
    found = RUNTIMES.get("onnxruntime").open(model.path, Target("onnxruntime"), "onnx", contract)
    return found, contract


SAID = Declared.of(state={"hN": "h"}, constants={"rate": 10})


def test_every_example_has_fresh_state_and_constants(tmp_path):
    model = recurrent(tmp_path)
    x = G.normal(size=(60, 2)).astype(np.float32)
    opened, _ = session(model, dk.Dataset.from_arrays({"x": x}), SAID)
    found = opened.predict({"x": x})
    np.testing.assert_allclose(found["y"], 10 * np.tanh(x @ WEIGHT), rtol=1e-5)
    assert found["hN"].shape == (60, 1, 3)  # examples first, whatever axis the file has them on
    again = opened.predict({"x": x[:5]})
    np.testing.assert_array_equal(again["y"], found["y"][:5])  # nothing is left from the run before


def test_sequences_carry_their_own_state(tmp_path):
    model = recurrent(tmp_path)
    x = G.normal(size=(60, 4, 2)).astype(np.float32)
    opened, contract = session(model, dk.Dataset.from_arrays({"x": x}), SAID)
    assert contract.sequences
    state, wanted = np.zeros((60, 3)), []
    for step in range(4):
        state = np.tanh(x[:, step] @ WEIGHT + state)
        wanted.append(10 * state)
    np.testing.assert_allclose(opened.predict({"x": x})["y"], np.stack(wanted, axis=1), rtol=1e-4)


def test_examples_of_a_state_are_put_on_its_batch_axis(tmp_path):
    model = recurrent(tmp_path)
    x, h = G.normal(size=(60, 2)).astype(np.float32), G.normal(size=(60, 1, 3)).astype(np.float32)
    opened, contract = session(model, dk.Dataset.from_arrays({"x": x, "h": h}), Declared.of(constants={"rate": 1}))
    assert contract.input("h").batch_axis == 1
    np.testing.assert_allclose(opened.predict({"x": x, "h": h})["y"], np.tanh(x @ WEIGHT + h[:, 0]), rtol=1e-5)


def twins(folder, first, second):
    """y = 2 a + b, with the inputs in the order that is asked for."""
    nodes = [helper.make_node("Add", ["a", "a"], ["aa"]), helper.make_node("Add", ["aa", "b"], ["y"])]
    graph = helper.make_graph(
        nodes, "twins", [value(first, ["n", 2]), value(second, ["n", 2])], [value("y", ["n", 2])]
    )  # fmt: skip
    path = folder / f"{first}{second}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return dk.load(path)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_inputs_of_one_form_are_told_by_their_names(tmp_path, order):
    model = twins(tmp_path, *order)
    a, b = G.random((60, 2), np.float32), G.random((60, 2), np.float32)
    for feeds in ({"a": a, "b": b}, {"b": b, "a": a}):
        opened, _ = session(model, dk.Dataset.from_arrays(feeds), Declared())
        np.testing.assert_allclose(opened.predict(feeds)["y"], 2 * a + b, rtol=1e-6)


def test_a_file_with_other_inputs_than_the_contract_is_refused(tmp_path):
    model = twins(tmp_path, "a", "b")
    contract = dk.Dataset.from_arrays({"a": WEIGHT[:, :2].repeat(30, 0), "b": WEIGHT[:, :2].repeat(30, 0)})
    contract = contract.check(model).checked
    other = recurrent(tmp_path)
    with pytest.raises(UnsupportedModelError, match="takes x, h, rate, the original model a, b"):
        RUNTIMES.get("onnxruntime").open(other.path, Target("onnxruntime"), "onnx", contract)


def test_an_input_that_nothing_feeds_is_an_error(tmp_path):
    model = twins(tmp_path, "a", "b")
    a = np.zeros((60, 2), np.float32)
    opened, _ = session(model, dk.Dataset.from_arrays({"a": a, "b": a}), Declared())
    with pytest.raises(DatasetError, match="Input 'b' is missing: got a"):
        opened.predict({"a": a})


def test_numbers_beyond_what_the_model_holds_are_refused(tmp_path):
    model = twins(tmp_path, "a", "b")
    wide = np.full((60, 2), 1e300)
    feeds = {"a": wide, "b": np.zeros((60, 2))}
    opened, _ = session(model, dk.Dataset.from_arrays(feeds), Declared())
    with pytest.raises(DatasetError, match=r"'a': 1e\+300 is outside the range of the model's float32"):
        opened.predict(feeds)
    feeds = {"a": np.full((60, 2), np.inf), "b": np.zeros((60, 2))}
    assert np.isinf(opened.predict(feeds)["y"]).all()  # infinity is a number that both hold

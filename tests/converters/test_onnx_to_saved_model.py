"""ONNX graphs as TensorFlow functions, beside ONNX Runtime."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from deploykit.core.errors import UnsupportedModelError
from deploykit.loading._load import load
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task
from deploykit.testing import work
from deploykit.testing.graphs import graph, node, value

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
from onnx_cases import CASES, made  # noqa: E402  # the folder of tests is not a package

sys.path.remove(HERE)
TUTORIAL = Path(__file__).parents[2] / "notebooks/models/fashion_cnn.onnx"


@pytest.fixture(scope="module")
def differences():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        return shared().run(Task("onnx_cases:compare", {}, group="tensorflow"))


@pytest.mark.parametrize("name", CASES)
def test_operators_compute_what_onnx_runtime_does(name, differences):
    assert isinstance(differences[name], float), differences[name]
    assert differences[name] < 1e-5


@pytest.mark.long
def test_operators_do_what_the_standards_own_tests_say():
    """Right, or refused by name: nothing is converted wrongly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        found = shared().run(Task("onnx_standard:compare", {}, group="tensorflow"))
    wrong = {name: what for name, what in found.items() if what not in ("right", "refused", "without rule")}
    wrong.pop("test_mod_mixed_sign_float16", None)  # TensorFlow lacks the kernel, and says so when it runs
    assert not wrong
    assert list(found.values()).count("right") > 500


def outputs(path, feeds):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def operators(path):
    return [layer.type for layer in load(path).layers]


@pytest.mark.parametrize("architecture", ["grouped", "mixed_cnn", "nested", "normalization", "attention", "sequential"])
def test_architectures_come_back_from_onnx(architecture, folder, tmp_path):
    source = work.made(architecture, folder)
    work.converted("keras_to_onnx", source, tmp_path / "model.onnx")
    work.converted("onnx_to_saved_model", tmp_path / "model.onnx", tmp_path / "saved")
    feeds, wanted = work.examples_of(source), work.outputs_of(source)
    found = work.predicted(tmp_path / "saved", "saved_model", feeds)
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5 * np.abs(array).max())


def test_the_tutorials_model_has_no_transposes_in_tflite(tmp_path):
    work.converted("onnx_to_saved_model", TUTORIAL, tmp_path / "saved")
    work.converted("saved_model_to_tflite", tmp_path / "saved", tmp_path / "out")
    kinds, keras = operators(tmp_path / "out"), operators(TUTORIAL.with_suffix(".tflite"))
    assert not set(kinds) - set(keras), "only operators that the file made from Keras has"
    assert len(kinds) <= len(keras)
    model = load(tmp_path / "out")
    assert (model.inputs[0].name, model.inputs[0].shape) == ("image", (None, 28, 28, 1))
    x = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    found, wanted = work.predicted(tmp_path / "out", "tflite", {"image": x}), outputs(TUTORIAL, {"image": x})
    np.testing.assert_allclose(found["class"], wanted["class"], atol=1e-6)


def test_sizes_that_are_computed_become_numbers(tmp_path):
    """TensorFlow Lite cannot divide whole numbers of 64 bits, which PyTorch writes to find the size of a head."""
    model = made("PyTorch's heads")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "places"  # TensorFlow Lite folds one unknown size
    onnx.save(model, tmp_path / "model.onnx")
    work.converted("onnx_to_saved_model", tmp_path / "model.onnx", tmp_path / "saved")
    work.converted("saved_model_to_tflite", tmp_path / "saved", tmp_path / "out")
    x = np.random.default_rng(0).normal(size=(2, 5, 12)).astype(np.float32)
    (found,) = work.predicted(tmp_path / "out", "tflite", {"x": x}).values()
    np.testing.assert_array_equal(found, x.reshape(2, 5, 4, 3))


def test_kernels_become_variables_that_the_folder_lists(tmp_path):
    from deploykit.loading._contract import FORMATS

    work.converted("onnx_to_saved_model", TUTORIAL, tmp_path / "saved")
    found = sorted(w.load().size for w in FORMATS.get("saved_model").weights(tmp_path / "saved"))
    stored = [onnx.numpy_helper.to_array(t) for t in onnx.load(TUTORIAL).graph.initializer]
    assert found == sorted(a.size for a in stored if a.ndim > 1)


@pytest.mark.parametrize(
    ("operator", "words"),
    [("Det", "no rule for Det"), ("QuantizeLinear", "no rule for DequantizeLinear .*QuantizeLinear")],
)
def test_operators_without_a_rule_are_named(operator, words, tmp_path):
    if operator == "Det":
        nodes = [node("Det", ["x"], ["y"], name="the node")]
    else:
        nodes = [
            node("QuantizeLinear", ["x", "s", "z"], ["q"], name="the node"),
            node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ]
    path = graph(
        tmp_path, nodes, [value("x", "float32", "N", 3, 3)], [value("y", "float32", "N")],
        s=np.float32(0.1), z=np.uint8(3),
    )  # fmt: skip
    with pytest.raises(UnsupportedModelError, match=words) as caught:
        work.converted("onnx_to_saved_model", path, tmp_path / "out")
    assert "the node" in caught.value.message
    assert ("float model" in (caught.value.remedy or "")) == (operator != "Det")
    assert not (tmp_path / "out").exists()


def test_a_use_that_a_rule_does_not_know_names_the_node(tmp_path):
    nodes = [node("Resize", ["x", "", "scales"], ["y"], name="bigger", mode="cubic")]
    path = graph(
        tmp_path, nodes, [value("x", "float32", "N", 1, 4, 4)], [value("y", "float32", "N", 1, 8, 8)],
        scales=np.array([1, 1, 2, 2], np.float32),
    )  # fmt: skip
    with pytest.raises(UnsupportedModelError, match=r"Resize \(node 'bigger'\).*cubic"):
        work.converted("onnx_to_saved_model", path, tmp_path / "out")


def test_functions_of_the_file_are_written_out(tmp_path):
    """As PyTorch's newer exporter writes them."""
    body = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy"]
    made = helper.make_model(
        helper.make_graph([helper.make_node("Twice", ["x"], ["y"], domain="own")], "g", tensors[:1], tensors[1:]),
        functions=[body], ir_version=8, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
    )  # fmt: skip
    onnx.save(made, tmp_path / "model.onnx")
    work.converted("onnx_to_saved_model", tmp_path / "model.onnx", tmp_path / "saved")
    x = np.ones((2, 3), np.float32)
    assert (work.predicted(tmp_path / "saved", "saved_model", {"x": x})["y"] == 2).all()

"""PMML of dense networks, evaluated by the specification's words; `make proof` has engines evaluate it."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import onnxruntime
import pytest

from deploykit.artifacts.arrays import load_arrays
from deploykit.core.errors import ExportError
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.exporters._export import export
from deploykit.loading._pmml.network import read_network
from deploykit.loading._pmml.run import NetworkSession
from deploykit.testing.exporters import exportable
from deploykit.testing.graphs import exported, graph, node, value

NAMESPACE = {"p": "http://www.dmg.org/PMML-4_4"}
RNG = np.random.default_rng(0)
ACTIVATIONS = {
    "identity": lambda x: x, "rectifier": lambda x: np.maximum(x, 0), "tanh": np.tanh,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
}  # fmt: skip


def evaluated(path, raw):
    """The activations of the last layer for raw examples (examples, fields)."""
    root = ElementTree.parse(path).getroot()
    fields = [f.get("name") for f in root.findall("p:DataDictionary/p:DataField", NAMESPACE)]
    network = root.find("p:NeuralNetwork", NAMESPACE)

    def expression(element):
        kind = element.tag.rpartition("}")[2]
        if kind == "FieldRef":
            return raw[:, fields.index(element.get("field"))].astype(np.float64)
        if kind == "Constant":
            return float(element.text)
        left, right = map(expression, element)
        return {"*": np.multiply, "+": np.add, "-": np.subtract, "/": np.divide}[element.get("function")](left, right)

    made = {
        neuron.get("id"): expression(neuron[0][0])
        for neuron in network.findall("p:NeuralInputs/p:NeuralInput", NAMESPACE)
    }
    for layer in network.findall("p:NeuralLayer", NAMESPACE):
        found = {}
        for neuron in layer:
            total = float(neuron.get("bias")) + sum(float(c.get("weight")) * made[c.get("from")] for c in neuron)
            found[neuron.get("id")] = ACTIVATIONS[layer.get("activationFunction")](total)
        if layer.get("normalizationMethod") == "softmax":
            powers = {k: np.exp(v) for k, v in found.items()}
            found = {k: v / sum(powers.values()) for k, v in powers.items()}
        made |= found
        last = found
    return np.stack(list(last.values()), axis=1)


def read_back(path, raw):
    """What deploykit gives for the file when it reads it."""
    (found,) = NetworkSession(read_network(path))._run([raw.reshape(len(raw), -1).astype(np.float64)])
    return found


def test_numbers(tmp_path):
    artifact = export(exportable("matmul_onnx", tmp_path), tmp_path / "out", layout="pmml")
    inputs, outputs = (load_arrays(artifact.path / f"golden/{n}.npz") for n in ("inputs", "outputs"))
    found = evaluated(artifact.path / "model.pmml", inputs["features"])
    np.testing.assert_allclose(found, outputs["value"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(read_back(artifact.path / "model.pmml", inputs["features"]), found, rtol=1e-12)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Pixels (batch, 3, 4) → Flatten, normalization, Gemm, Tanh, factors, MatMul, Add, Softmax → three classes."""
    rng = np.random.default_rng(1)
    weights = {
        "gamma": rng.random(12) + 0.5, "beta": rng.normal(size=12), "mean": rng.normal(size=12),
        "variance": rng.random(12) + 0.5, "w1": rng.normal(size=(5, 12)), "b1": rng.normal(size=5),
        "factor": rng.random(5) + 0.5, "w2": rng.normal(size=(5, 3)), "b2": rng.normal(size=3),
    }  # fmt: skip
    return graph(
        tmp_path_factory.mktemp("classifier"),
        [
            node("Flatten", ["x"], ["flat"]),
            node("BatchNormalization", ["flat", "gamma", "beta", "mean", "variance"], ["normal"], epsilon=1e-3),
            node("Gemm", ["normal", "w1", "b1"], ["hidden"], transB=1, alpha=0.5),
            node("Tanh", ["hidden"], ["bent"]),
            node("Mul", ["factor", "bent"], ["scaled"]),
            node("MatMul", ["scaled", "w2"], ["product"]),
            node("Add", ["b2", "product"], ["scores"]),
            node("Softmax", ["scores"], ["y"]),
        ],
        [value("x", "float32", "N", 3, 4)],
        [value("y", "float32", "N", 3)],
        **{name: array.astype(np.float32) for name, array in weights.items()},
    )


def test_classes_preprocessing_and_folded_layers(classifier, tmp_path):
    raw = RNG.integers(0, 256, (60, 4, 3)).astype(np.uint8)
    steps = Preprocess(scale=1 / 64, mean=0.25, std=1.5, transpose=(1, 0))
    data = Dataset.from_arrays(raw, RNG.integers(0, 3, 60), preprocess=steps, classes=("boot", "coat & hat", "shirt"))
    artifact = exported(classifier, data, layout="pmml")
    inputs, outputs = (load_arrays(artifact.path / f"golden/{n}.npz") for n in ("inputs", "outputs"))
    pixels = next(iter(inputs.values()))
    found = evaluated(artifact.path / "model.pmml", pixels.reshape(len(pixels), -1))
    np.testing.assert_allclose(found, outputs["y"], rtol=1e-4, atol=1e-6)
    prepared = ((pixels / np.float32(64) - 0.25) / 1.5).transpose(0, 2, 1).astype(np.float32)
    session = onnxruntime.InferenceSession(classifier)
    np.testing.assert_allclose(found, session.run(None, {"x": prepared})[0], rtol=1e-4, atol=1e-6)
    names = [v.get("value") for v in ElementTree.parse(artifact.path / "model.pmml").iterfind(".//p:Value", NAMESPACE)]
    assert names == ["boot", "coat & hat", "shirt"]


def test_convolutions_are_refused_by_name(tmp_path):
    with pytest.raises(ExportError, match=r"Conv .* is not part of a dense network") as caught:
        export(exportable("cnn_onnx", tmp_path), tmp_path / "out", layout="pmml")
    assert "edge" in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_constants_that_are_dequantized_are_refused_by_name(tmp_path):
    """The reference implementation has no DequantizeLinear of this version of the operators."""
    nodes = [node("DequantizeLinear", ["w", "scale"], ["float"], name="weights"), node("MatMul", ["x", "float"], ["y"])]
    path = graph(
        tmp_path, nodes, [value("x", "float32", "N", 4)], [value("y", "float32", "N", 2)],
        w=np.ones((4, 2), np.int8), scale=np.float32(0.5),
    )  # fmt: skip
    with pytest.raises(ExportError, match=r"DequantizeLinear \('weights'\) is not part"):
        exported(path, (np.ones((60, 4), np.float32), None), layout="pmml")


def test_several_inputs_are_refused(tmp_path):
    with pytest.raises(ExportError, match="one input and one output"):
        export(exportable("two_inputs_onnx", tmp_path), tmp_path / "out", layout="pmml")


def test_a_branch_is_refused_by_name(tmp_path):
    path = graph(
        tmp_path,
        [node("Relu", ["x"], ["bent"]), node("Add", ["x", "bent"], ["y"], name="skip")],
        [value("x", "float32", "N", 4)],
        [value("y", "float32", "N", 4)],
    )
    with pytest.raises(ExportError, match="'skip'"):
        exported(path, (RNG.normal(size=(60, 4)).astype(np.float32), None), layout="pmml")

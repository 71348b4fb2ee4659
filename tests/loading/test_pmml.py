"""PMML: a network worked out by hand, what its functions give, and documents that are broken, hostile or of others."""

import numpy as np
import onnxruntime
import pytest

from deploykit.core.errors import ModelFileError, UnsupportedModelError
from deploykit.loading._load import load
from deploykit.loading._pmml.network import read_network
from deploykit.loading._pmml.run import NetworkSession, onnx_model
from deploykit.testing.pmml import TEXT

X = np.array([[3.0, 2.0, -4.0], [1.0, 0.5, 2.0], [0.0, -1.0, 0.0]])


@pytest.fixture
def document(tmp_path):
    def write(text):
        path = tmp_path / "net.pmml"
        path.write_text(text, "utf-8")
        return path

    return write


def answers(path, x=X):
    """In double precision by NumPy, and in float32 by ONNX Runtime."""
    network = read_network(path)
    (double,) = NetworkSession(network)._run([x])
    model = onnx_model(network)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (single,) = session.run(None, {model.graph.input[0].name: x.astype(np.float32)})
    np.testing.assert_allclose(single, double, rtol=1e-5, atol=1e-5)
    return double


def by_hand(x):
    a, b, c = x.T
    i0, i1, i2 = c / 2, (a - 1) / 2, b
    h0, h1 = np.tanh(0.5 + i0 - 2 * i1), np.tanh(0.75 * i2)
    return (10 + 10 * (-1 + 4 * h1 + 3 * h0 + 5 * i1))[:, None]


def test_a_network_worked_out_by_hand(document):
    """Namespaces, a field that is made, two ways of scaling, connections over a layer, a target on its own scale."""
    np.testing.assert_allclose(answers(document(TEXT)), by_hand(X), rtol=1e-13)


def test_its_summary(document):
    model = load(document(TEXT))
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == ["fields: float32 (?, 3)", "y: float32 (?, 1)"]
    assert [(layer.type, layer.parameters) for layer in model.layers] == [
        ("NeuralInputs", 0), ("NeuralLayer", 3 * 2 + 2), ("NeuralLayer", 5 + 1),
    ]  # fmt: skip
    assert model.warnings == ("missing values and outliers are not replaced as the file says (b)",)


FUNCTIONS = {
    "identity": lambda z: z, "logistic": lambda z: 1 / (1 + np.exp(-z)), "rectifier": lambda z: np.maximum(z, 0),
    "exponential": np.exp, "reciprocal": lambda z: 1 / z, "square": lambda z: z * z, "Gauss": lambda z: np.exp(-z * z),
    "sine": np.sin, "cosine": np.cos, "Elliott": lambda z: z / (1 + abs(z)),
    "arctan": lambda z: np.arctan(z) * 2 / np.pi, "threshold": lambda z: (z > 0.25) * 1.0,
}  # fmt: skip
CLASSES = """<PMML version="4.4"><NeuralNetwork functionName="classification" activationFunction="{activation}"
 threshold="0.25"><MiningSchema><MiningField name="a"/><MiningField name="b"/><MiningField name="c"/></MiningSchema>
<NeuralInputs><NeuralInput id="0"><DerivedField><FieldRef field="a"/></DerivedField></NeuralInput>
<NeuralInput id="1"><DerivedField><FieldRef field="b"/></DerivedField></NeuralInput></NeuralInputs>
<NeuralLayer normalizationMethod="{normalization}"><Neuron id="n" bias="0.3"><Con from="0" weight="1"/></Neuron>
<Neuron id="m" bias="0.6"><Con from="1" weight="1"/></Neuron></NeuralLayer>
<NeuralOutputs><NeuralOutput outputNeuron="m"><DerivedField><NormDiscrete field="class" value="yes"/></DerivedField>
</NeuralOutput><NeuralOutput outputNeuron="n"><DerivedField><NormDiscrete field="class" value="no"/></DerivedField>
</NeuralOutput></NeuralOutputs></NeuralNetwork></PMML>"""


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("normalization", ["none", "softmax", "simplemax"])
def test_functions(document, activation, normalization):
    """Outputs come in the order in which the file lists them."""
    path = document(CLASSES.format(activation=activation, normalization=normalization))
    z = FUNCTIONS[activation](X[:, :2] + [0.3, 0.6])
    z = np.exp(z) if normalization == "softmax" else z
    if normalization != "none":
        if not z.sum(axis=1).all():
            return
        z = z / z.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers(path), z[:, ::-1], rtol=1e-12)
    assert read_network(path).classes == ("yes", "no")


BOMB = '<!DOCTYPE lol [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE p SYSTEM "file:///etc/passwd" [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('<?xml version="1.0"?>', BOMB, "a document type or an entity"),
        ('<?xml version="1.0"?>', OUTSIDE, "a document type or an entity"),
        ("<p:Header/>", "<a>" * 100, "nested more than 64 deep"),
        ('weight="-2"', 'weight="much"', "weight of Con must be a number, got 'much'"),
        ('weight="-2"', f'weight="{"1" * 5000}"', "must be a number"),
        ('from="h1"', 'from="h9"', "comes from 'h9', which is not before it"),
        ('from="i2"', 'from="o"', "comes from 'o', which is not before it"),
        ('id="h1"', 'id="h0"', "two neurons are called 'h0'"),
        ('numberOfNeurons="2"', 'numberOfNeurons="2000000000"', "has 2 neurons and declares 2000000000"),
        ('outputNeuron="o"', 'outputNeuron="h0"', "'h0', which is not in the last layer"),
        ('"identity"', '"magic"', "computes 'magic'"),
        ('field="half"', 'field="nothing"', "the field 'nothing', which is not an active field"),
        ('<p:FieldRef field="c"/>', '<p:FieldRef field="half"/>', "nested more than 16 deep"),
        ("</p:NeuralNetwork></p:PMML>", "", "truncated or damaged"),
    ],
)
def test_broken_and_hostile_documents(document, refused, before, after, words):
    assert before in TEXT
    refused(document(TEXT.replace(before, after)), ModelFileError, words)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("NeuralNetwork", "TreeModel", "A PMML document with TreeModel"),
        ('<p:FieldRef field="b"/>', '<p:NormDiscrete field="b" value="1"/>', "prepared by NormDiscrete"),
        ('<p:Apply function="/">', '<p:Apply function="log10">', "prepared by Apply log10"),
        ('<p:LinearNorm orig="1" norm="0"/>', "", "NormContinuous with 1 points"),
    ],
)
def test_what_is_not_read_is_named(document, refused, before, after, words):
    assert before in TEXT
    refused(document(TEXT.replace(before, after)), UnsupportedModelError, words)


def test_values_that_are_no_numbers_are_flagged(document):
    path = document(TEXT.replace('weight="-2"', 'weight="NaN"'))
    assert "layer_1 holds NaN: outputs will be wrong; export the model again." in load(path).warnings

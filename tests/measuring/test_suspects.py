"""Data that are not what they are declared to be are found before work is spent, and right ones raise no warning."""

import itertools

import numpy as np
import pytest

import deploykit as dk
from deploykit.measuring.examination import readings
from deploykit.testing import models as tiny
from tests.measuring import variants

X, Y, NAMES = variants.tutorial()
SORTED = sorted(NAMES)
TEXT = np.array(NAMES)[Y]
FLOAT = (X / 255).astype(np.float32)
NINE = (Y == 9).astype(int)
IMAGES = dk.Preprocess(reshape=(28, 28, 1))
SCALED = dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
SYMMETRIC = dk.Preprocess(scale=1 / 127.5, offset=-1, reshape=(28, 28, 1))
CHANNELS = dk.Preprocess(reshape=(1, 28, 28))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: variants.save(folder, name, make()) for name, make in variants.ALL.items()}


# Model, data, options, kind of the first suspicion, what its remedy says.
MISTAKEN = {
    "not scaled": ("plain", {"x": X, "preprocess": IMAGES}, {}, "scale", "scale=1/255"),
    "not scaled, as floats": ("plain", {"x": X.astype("f"), "preprocess": IMAGES}, {}, "scale", "scale=1/255"),
    "scaled twice": ("plain", {"x": FLOAT, "preprocess": SCALED}, {}, "scale", "Preprocess(reshape"),
    "scaled to -1..1": ("plain", {"x": X, "preprocess": SYMMETRIC}, {}, "scale", "scale=1/255"),
    "inverted": ("plain", {"x": 255 - X, "preprocess": SCALED}, {}, "scale", "scale=-1/255"),
    "scaled, the model scales": ("bytes", {"x": X, "preprocess": SCALED}, {}, "scale", "Preprocess(reshape"),
    "given scaled, the model scales": ("bytes", {"x": FLOAT, "preprocess": IMAGES}, {}, "scale", "scale=255"),
    "0..1 for -1..1": ("symmetric", {"x": X, "preprocess": SCALED}, {}, "scale", "scale=1/127.5"),
    "bytes for -1..1": ("symmetric", {"x": X, "preprocess": IMAGES}, {}, "scale", "scale=1/127.5"),
    "logits, not scaled": ("logits", {"x": X, "preprocess": IMAGES}, {}, "scale", "scale=1/255"),
    "channels first, not scaled": ("channels", {"x": X, "preprocess": CHANNELS}, {}, "scale", "scale=1/255"),
    "axes swapped": ("plain", {"x": X.transpose(0, 2, 1), "preprocess": SCALED}, {}, "axes", "transpose"),
    "flat, column by column": (
        "plain", {"x": X.transpose(0, 2, 1).reshape(-1, 784), "preprocess": SCALED}, {}, "axes", "transpose"
    ),
    "labels from 1": (
        "plain", {"x": X[Y < 9], "y": Y[Y < 9] + 1, "preprocess": SCALED}, {}, "labels", "y - 1"
    ),
    "labels from -1": (
        "plain", {"x": X[Y > 0], "y": Y[Y > 0] - 1, "preprocess": SCALED}, {}, "labels", "y + 1"
    ),
    "names in alphabetical order": ("plain", {"x": X, "y": TEXT, "preprocess": SCALED}, {}, "classes", "classes="),
    "one-hot in alphabetical order": (
        "plain",
        {"x": X, "y": np.eye(10)[[SORTED.index(t) for t in TEXT]], "preprocess": SCALED, "classes": SORTED},
        {}, "classes", "classes=",
    ),
    "classes in another order": ("plain", {"x": X, "y": (Y + 3) % 10, "preprocess": SCALED}, {}, "classes", ""),
    "another output": ("two", {"x": X, "preprocess": SCALED}, {}, "output", "output="),
    "a probability called a logit": (
        "one", {"x": X, "y": NINE, "preprocess": SCALED}, {"scores": "logit"}, "scores", "probability"
    ),
}  # fmt: skip

ODD = (Y == 1) | (np.arange(len(Y)) % 20 == 0)
RIGHT = {
    "as in the tutorial": ("plain", {"x": X, "preprocess": SCALED}, {}),
    "logits": ("logits", {"x": X, "preprocess": SCALED}, {}),
    "one probability": ("one", {"x": X, "y": NINE, "preprocess": SCALED}, {}),
    "one probability, 0.0 and 1.0": ("one", {"x": X, "y": NINE.astype("f"), "preprocess": SCALED}, {}),
    "the model scales": ("bytes", {"x": X, "preprocess": IMAGES}, {}),
    "-1..1": ("symmetric", {"x": X, "preprocess": SYMMETRIC}, {}),
    "channels first": ("channels", {"x": X, "preprocess": dk.Preprocess(scale=1 / 255, reshape=(1, 28, 28))}, {}),
    "the right one of two outputs": ("two", {"x": X, "preprocess": SCALED}, {"output": "class"}),
    "names in order": ("plain", {"x": X, "y": TEXT, "preprocess": SCALED, "classes": NAMES}, {}),
    "one-hot": ("plain", {"x": X, "y": np.eye(10)[Y], "preprocess": SCALED}, {}),
    "class numbers as floats": ("plain", {"x": X, "y": Y.astype("f"), "preprocess": SCALED}, {}),
    "class numbers as text": ("plain", {"x": X, "y": Y.astype(str), "preprocess": SCALED}, {}),
    "class numbers in a column": ("plain", {"x": X, "y": Y[:, None], "preprocess": SCALED}, {}),
    "no labels": ("plain", {"x": X, "y": None, "preprocess": SCALED}, {}),
    "flat": ("plain", {"x": X.reshape(-1, 784), "preprocess": SCALED}, {}),
    "scaled before": ("plain", {"x": FLOAT, "preprocess": IMAGES}, {}),
    "scaled before, float64": ("plain", {"x": X / 255, "preprocess": IMAGES}, {}),
    "few examples": ("plain", {"x": X[:120], "y": Y[:120], "preprocess": SCALED}, {}),
    "every fourth label wrong": (
        "plain", {"x": X, "y": np.where(np.arange(len(Y)) % 4 == 0, (Y + 1) % 10, Y), "preprocess": SCALED}, {}
    ),
    "mostly one class": ("plain", {"x": X[ODD], "y": Y[ODD], "preprocess": SCALED}, {}),
}  # fmt: skip


def examined(models, model, data, options):
    return dk.examine(models[model], dk.Dataset.from_arrays(**{"y": Y, **data}), **options)


@pytest.mark.parametrize("case", MISTAKEN.values(), ids=MISTAKEN)
def test_what_is_mistaken_is_found_and_the_right_remedy_comes_first(models, case):
    model, data, options, kind, remedy = case
    found = examined(models, model, data, options)
    assert not found.check.ok
    assert found.warnings
    first = found.check.suspicions[0]
    assert first.kind == kind
    assert remedy in first.remedy


@pytest.mark.parametrize("case", RIGHT.values(), ids=RIGHT)
def test_what_is_right_raises_no_warning(models, case):
    found = examined(models, *case)
    assert found.check.ok, found.check.warnings
    assert not found.check.suspicions
    assert not found.failure
    assert not found.contract.notes


def test_the_finding_is_what_the_remedy_gives(models):
    """Both shares are those of the examples when the remedy is applied, by the same check."""
    found = examined(models, "plain", {"x": X, "preprocess": IMAGES}, {})
    right = examined(models, "plain", {"x": X, "preprocess": SCALED}, {})
    first = found.check.suspicions[0]
    assert first.value == right.check.value
    assert first.value > found.check.value
    assert f"{100 * first.value:.0f} %" in first.text


def test_an_output_that_never_changes_is_named_with_the_others(tmp_path):
    model = variants.save(tmp_path, "constant", variants.constant_first())
    found = dk.examine(model, dk.Dataset.from_arrays(X, preprocess=SCALED))
    (warning,) = found.check.warnings
    assert warning == (
        f"Output 'names' is the same for all {found.check.examples} examples: score another one, output='class'."
    )
    assert dk.examine(model, dk.Dataset.from_arrays(X, preprocess=SCALED), output="class").check.ok


# -- models of a matrix product, made here -----------------------------------------------------------------------------

RNG = np.random.default_rng(7)
TABLE = RNG.normal(size=(400, 6)).astype(np.float32)


def linear(folder, outputs):
    """A graph that gives x · W + b for each of the outputs, by name."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, values, held = [], [], []
    for name, (weights, bias, last) in outputs.items():
        held += [
            numpy_helper.from_array(weights.astype(np.float32), f"{name}_w"),
            numpy_helper.from_array(np.asarray(bias, np.float32), f"{name}_b"),
        ]
        nodes.append(helper.make_node("MatMul", ["x", f"{name}_w"], [f"{name}_0"]))
        nodes.append(helper.make_node("Add", [f"{name}_0", f"{name}_b"], [f"{name}_1"]))
        nodes.append(helper.make_node(last, [f"{name}_1"], [name]))
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", weights.shape[1]]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])
    graph = helper.make_graph(nodes, "linear", [x], values, held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, folder / "m.onnx")
    return dk.load(folder / "m.onnx")


def test_rare_labels_and_rare_classes_raise_no_warning(tmp_path):
    weights, bias = RNG.normal(size=(6, 10)), np.full(10, -4.5)
    noisy = TABLE @ weights + bias + RNG.normal(size=(400, 10))
    found = dk.examine(linear(tmp_path, {"y": (weights, bias, "Sigmoid")}), (TABLE, (noisy > 0).astype(int)))
    assert found.check.metric == "label_f1"
    assert found.check.ok, found.check.warnings
    weights, bias = RNG.normal(size=(6, 1)) / 2, [-2.8]
    chance = 1 / (1 + np.exp(-(TABLE @ weights + bias)[:, 0]))
    labels = (RNG.random(400) < chance).astype(int)
    found = dk.examine(linear(tmp_path, {"y": (weights, bias, "Sigmoid")}), (TABLE, labels))
    assert found.check.value <= found.check.chance  # though its scores are right
    assert found.check.ok, found.check.warnings
    unrelated = (RNG.random(400) < 0.1).astype(int)
    assert not dk.examine(linear(tmp_path, {"y": (-weights, bias, "Sigmoid")}), (TABLE, unrelated)).check.ok


def test_another_output_with_other_columns_is_tried(tmp_path):
    features, classes = RNG.normal(size=(6, 8)), RNG.normal(size=(6, 3))
    model = linear(tmp_path, {"features": (features, np.zeros(8), "Tanh"), "class": (classes, np.zeros(3), "Softmax")})
    found = dk.examine(model, (TABLE, (TABLE @ classes).argmax(axis=1)))
    assert found.check.suspicions[0].remedy == "output='class'"
    assert found.check.suspicions[0].value == 1.0


def test_what_only_gives_the_mean_explains_nothing(tmp_path):
    weights = np.abs(RNG.normal(size=(6, 1)))
    x = TABLE * 3 + 50
    other = RNG.normal(size=(6, 1))
    other -= weights * (weights * other).sum() / (weights**2).sum()  # the labels are of something else
    labels = (x @ other)[:, 0]
    labels = (labels - labels.mean()) / labels.std()
    found = dk.examine(linear(tmp_path, {"y": (weights, [0.0], "Identity")}), (x, labels))
    assert not found.check.suspicions  # scaled by 1/255 it would give 1 or so for all
    assert "no better than always giving the same answer" in found.warnings[0]


def test_answers_that_depend_on_the_batch_are_not_taken_for_random_ones(tmp_path):
    import onnx
    from onnx import parser

    def graph(text):
        onnx.save(parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {text}'), tmp_path / "m.onnx")
        return dk.examine(dk.load(tmp_path / "m.onnx"), dk.Dataset.from_arrays(TABLE))

    largest = graph("(float[N,6] x) => (float[N,6] y) { m = ReduceMax <axes=[0], keepdims=1> (x)  y = Sub(x, m) }")
    assert largest.repeats
    assert largest.contract.batch_dependent
    noise = graph("(float[N,6] x) => (float[N,6] y) { n = RandomNormalLike(x)  y = Add(x, n) }")
    assert not noise.repeats
    whole = graph("(float[N,6] x) => (float[N,6] y, float m) { y = Neg(x)  m = ReduceMax <keepdims=0> (x) }")
    assert (whole.failure, whole.repeats, whole.contract.judged) == ("", True, ())


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda y: 1000 * y, "y = y / 1000"),
        (lambda y: 30 * y + 200, "y = (y - 200) / 30"),
        (lambda y: y / 100 - 5, "y = (y + 5) / 0.01"),
        (np.exp, "y = numpy.log(y)"),
        (np.expm1, "y = numpy.log1p(y)"),
    ],
    ids=["thousands", "standardized", "hundredths", "logarithm", "logarithm of 1 + y"],
)
def test_labels_in_other_units_are_found(tmp_path, change, remedy):
    weights = RNG.normal(size=(6, 1)) / 3
    model = linear(tmp_path, {"y": (weights, [3.0], "Identity")})
    labels = change((TABLE @ weights)[:, 0] + 3.0)
    found = dk.examine(model, (TABLE, labels))
    assert found.check.suspicions[0].kind == "units"
    assert found.check.suspicions[0].remedy == remedy
    assert dk.examine(model, (TABLE, (TABLE @ weights)[:, 0] + 3.0)).check.ok


def test_units_of_several_columns_and_answers_with_an_error_of_their_own(tmp_path):
    weights = RNG.normal(size=(6, 2))
    model = linear(tmp_path, {"y": (weights, [0.0, 0.0], "Identity")})
    true = TABLE @ weights + 0.1 * RNG.normal(size=(400, 2))
    assert dk.examine(model, (TABLE, true)).check.ok
    found = dk.examine(model, (TABLE, true * [100, 1000]))
    factors, _ = found.check.suspicions[0].setting["units"]
    assert factors == pytest.approx([100, 1000], rel=0.05)
    assert not dk.examine(model, (TABLE, RNG.normal(size=(400, 2)))).check.suspicions  # no line explains these


def test_class_labels_for_an_embedding_are_named(tmp_path):
    weights = RNG.normal(size=(6, 16))
    model = linear(tmp_path, {"image_embedding": (weights, np.zeros(16), "Identity")})
    found = dk.examine(model, (TABLE, np.arange(400) % 4))
    assert any("looks like an embedding" in w and "scores='embedding'" in w for w in found.check.warnings)
    model = linear(tmp_path, {"features": (weights, np.zeros(16), "Identity")})  # a name only: its answers are right
    assert dk.examine(model, (TABLE, (TABLE @ weights).argmax(axis=1))).check.ok


def test_classes_that_could_be_on_either_axis_are_asked_for(tmp_path):
    import onnx
    from onnx import parser

    text = "(float[N,3,3,3] x) => (float[N,3,3,3] y) { y = Softmax <axis=1> (x) }"
    onnx.save(parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {text}'), tmp_path / "m.onnx")
    model, x = dk.load(tmp_path / "m.onnx"), RNG.normal(size=(80, 3, 3, 3)).astype(np.float32)
    shares = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    first, last = shares.argmax(axis=1), shares.argmax(axis=-1)
    found = dk.examine(model, (x, first))
    assert any("scores='channels_first'" in note for note in found.contract.labels.notes)
    assert found.check.suspicions[0].remedy == "scores='channels_first'"
    for labels, scores in ((first, "channels_first"), (last, "channels_last")):
        said = dk.examine(model, (x, labels), scores=scores)
        assert said.check.value == 1.0
        assert said.check.ok
        assert not said.contract.labels.notes


def test_integers_of_the_model_itself_that_are_read_as_real_numbers_are_found(tmp_path):
    model = dk.load(tiny.build("cnn_int8_tflite", tmp_path))
    shape = (400, *model.inputs[0].shape[1:])
    own = RNG.integers(-128, 128, shape).astype(np.int8)
    taken = dk.Preprocess(raw=True)
    built = dk.build(model, dk.Recipe(()), dk.Dataset.from_arrays(own, preprocess=taken), target="litert")
    values = next(iter(built.predict(own).values()))
    assert dk.examine(model, dk.Dataset.from_arrays(own, values, preprocess=taken), scores="values").check.ok
    found = dk.examine(model, dk.Dataset.from_arrays(own, values), scores="values")
    assert found.check.value > 0
    assert (found.check.suspicions[0].kind, found.check.suspicions[0].value) == ("raw", 0.0)


def test_no_other_order_of_the_classes_is_right_more_often():
    rng = np.random.default_rng(0)
    for noise in np.linspace(0, 1, 40):
        labels = rng.integers(0, 5, 60)
        given = np.where(rng.random(60) < noise, rng.integers(0, 6, 60), rng.permutation(5)[labels])
        order = readings._best_order(labels, given, 5)
        best = max((np.array(one)[labels] == given).sum() for one in itertools.permutations(range(5)))
        assert sorted(order) == list(range(5))
        assert (order[labels] == given).sum() == best

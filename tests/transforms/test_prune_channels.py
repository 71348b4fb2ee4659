import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.loading._load import load
from deploykit.planning import steps
from deploykit.planning.steps import Steps
from deploykit.testing import work
from deploykit.transforms._contract import TRANSFORMS
from tests.surgery import graphs

pytestmark = pytest.mark.long

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
MODEL = NOTEBOOKS / "models" / "fashion_cnn.onnx"
KERAS = NOTEBOOKS / "models" / "fashion_cnn.keras"


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    """The tutorial's images, and where they are saved."""
    scaled = Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    data = Dataset.from_npz(NOTEBOOKS / "data" / "fashion-mnist.npz", preprocess=scaled, calibration_size=600)
    folder = tmp_path_factory.mktemp("data") / "fashion"
    data.save(folder)
    return folder


@pytest.fixture(scope="module")
def images():
    """Test images and their labels, by NumPy alone."""
    arrays = np.load(NOTEBOOKS / "data" / "fashion-mnist.npz")
    return (arrays["x_test"][:2000, ..., None] / 255).astype(np.float32), arrays["y_test"][:2000]


def accuracy(path, images, form="onnx"):
    x, y = images
    (found,) = work.predicted(path, form, {"image": x}).values()
    return float((found.argmax(1) == y).mean())


def shapes(path):
    """Shapes of the weights of convolutions and products, in order."""
    graph = onnx.load(str(path)).graph
    sizes = {t.name: tuple(t.dims) for t in graph.initializer}
    return [sizes[n.input[1]] for n in graph.node if n.op_type in {"Conv", "MatMul", "Gemm"}]


def prune(source, target, data=None, **settings):
    return work.transformed("prune_channels", "onnx", source, target, data, **settings)


def test_half_the_channels_keep_the_answers_without_labels(fashion, images, tmp_path):
    notes = prune(MODEL, tmp_path / "half", fashion)
    one_shot = prune(MODEL, tmp_path / "one-shot", fashion, reconstruct=False)
    given = accuracy(MODEL, images)
    assert accuracy(tmp_path / "half", images) > given - 0.03
    assert accuracy(tmp_path / "one-shot", images) < given - 0.2
    before, after = shapes(MODEL), shapes(tmp_path / "half")
    assert [s[0] for s in after[:2]] == [s[0] // 2 for s in before[:2]]
    assert shapes(tmp_path / "one-shot") == after
    assert all(now == was / 2 for was, now in notes["channels"].values())
    assert notes["weights"][1] < 0.3 * notes["weights"][0]
    assert one_shot["units"] == notes["units"]


def test_a_ratio_of_zero_computes_what_the_model_does(images, tmp_path):
    prune(MODEL, tmp_path / "same", criterion="l2", ratio=0.0)
    x = images[0][:50]
    given, found = (work.predicted(p, "onnx", {"image": x}) for p in (MODEL, tmp_path / "same"))
    for one, two in zip(given.values(), found.values(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_the_filters_with_the_largest_norm_stay(tmp_path):
    prune(MODEL, tmp_path / "cut", criterion="l1", reconstruct=False)
    first = [numpy_helper.to_array(t) for t in onnx.load(str(MODEL)).graph.initializer]
    name = next(n.input[1] for n in onnx.load(str(MODEL)).graph.node if n.op_type == "Conv")
    given = next(w for w, t in zip(first, onnx.load(str(MODEL)).graph.initializer, strict=True) if t.name == name)
    graph = onnx.load(str(tmp_path / "cut")).graph
    found = next(numpy_helper.to_array(t) for t in graph.initializer if t.name == name)
    norms = np.abs(given).sum((1, 2, 3))
    np.testing.assert_array_equal(found, given[np.sort(np.argsort(norms)[len(norms) // 2 :])])


@pytest.mark.parametrize("budget", ["parameters", "macs", "latency"])
def test_a_budget_is_met(fashion, budget, tmp_path):
    notes = prune(MODEL, tmp_path / "cut", fashion, budget=budget, reconstruct=False, multiple=1)
    counts = {tuple(now / was for was, now in notes["channels"].values())}
    assert len(set(next(iter(counts)))) > 1, "all layers have lost the same share"
    if budget == "parameters":
        kernels = [sum(int(np.prod(s)) for s in shapes(p)) for p in (MODEL, tmp_path / "cut")]
        assert 0.4 * kernels[0] < kernels[1] <= 0.5 * kernels[0]
    assert "budget" not in notes
    if budget == "latency":
        before, after = notes["expected_ms"]
        assert after <= 0.5 * before
        assert len(notes["measured_ms"]) == 2


@pytest.mark.parametrize("budget", ["parameters", "macs", "latency"])
def test_a_budget_that_cannot_be_met_is_noted(budget, tmp_path):
    name = [n.name for n in onnx.load(str(MODEL)).graph.node if n.op_type == "Conv"][2]
    notes = prune(
        MODEL, tmp_path / "cut", criterion="l2", reconstruct=False, budget=budget, ratio=0.9, exclude=f"!{name}"
    )
    assert notes["channels"] == {name: [96, 8]}
    assert re.fullmatch(rf"\d+ % of the {budget} could be saved, not 90 %", notes["budget"])


@pytest.mark.parametrize(("variant", "stages"), [("onnx", ["onnx_channels", "onnx_times"]),
                                                 ("keras", ["keras_channels", "keras_times"])])  # fmt: skip
def test_layers_are_timed_once_for_all_ratios_and_on_each_machine(variant, stages, monkeypatch):
    technique = TRANSFORMS.get("prune_channels")

    def keys(ratio, budget):
        made = Steps(load(MODEL), None, 0)
        values = technique.complete({"ratio": ratio, "budget": budget, "criterion": "l2", "reconstruct": False})
        found = made.transform("", variant, technique, technique.variant(variant), values)
        return {step.stage: step.key for step in found}

    one, other = keys(0.3, "latency"), keys(0.5, "latency")
    assert [*one] == [*stages, ""]
    assert [one[stage] for stage in stages] == [other[stage] for stage in stages]
    assert one[""] != other[""]
    assert [*keys(0.3, "macs")] == [stages[0], ""]
    monkeypatch.setattr(steps, "hardware", lambda: {"cpu": "another one"})
    elsewhere = keys(0.3, "latency")
    assert elsewhere[stages[0]] == one[stages[0]]
    assert elsewhere[stages[1]] != one[stages[1]]


def test_layers_can_be_left_whole(tmp_path):
    name = next(n.name for n in onnx.load(str(MODEL)).graph.node if n.op_type == "Conv")
    notes = prune(MODEL, tmp_path / "cut", criterion="l2", reconstruct=False, exclude=name)
    assert name not in notes["channels"]
    assert shapes(tmp_path / "cut")[0] == shapes(MODEL)[0]
    assert shapes(tmp_path / "cut")[1] != shapes(MODEL)[1]


def test_what_is_in_the_way_is_named(tmp_path):
    model = graphs.graph("channels_last")
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type, node.name = "LRN", "odd"
            node.attribute.append(onnx.helper.make_attribute("size", 3))
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(UnsupportedModelError, match=r"No channel of the model can be removed.*LRN \(odd\)"):
        prune(tmp_path / "model.onnx", tmp_path / "cut", criterion="l2", reconstruct=False)


def test_too_small_a_ratio_says_so(tmp_path):
    onnx.save(graphs.graph("transposed"), str(tmp_path / "model.onnx"))
    with pytest.raises(UnsupportedModelError, match=r"ratio of 0.05 removes no channel.*multiple=1"):
        prune(tmp_path / "model.onnx", tmp_path / "cut", criterion="l2", reconstruct=False, ratio=0.05)


@pytest.mark.parametrize("name", ["residual", "depthwise", "attention"])
def test_architectures_are_cut_solved_and_run(name, tmp_path):
    onnx.save(graphs.graph(name), str(tmp_path / "model.onnx"))
    Dataset.from_arrays({"x": graphs.examples(name, 200)}, calibration_size=100).save(tmp_path / "data")
    notes = prune(tmp_path / "model.onnx", tmp_path / "cut", tmp_path / "data", multiple=1)
    assert notes["weights"][1] < notes["weights"][0]
    x = graphs.examples(name, 4)
    assert np.isfinite(graphs.run(onnx.load(str(tmp_path / "cut")), x)).all()


def prune_keras(source, target, data=None, **settings):
    return work.transformed("prune_channels", "keras", source, target, data, **settings)


def test_a_keras_model_keeps_its_answers_and_stays_a_keras_model(fashion, images, tmp_path):
    notes = prune_keras(KERAS, tmp_path / "half", fashion)
    prune_keras(KERAS, tmp_path / "again", fashion)
    prune_keras(KERAS, tmp_path / "one-shot", fashion, reconstruct=False)
    given = accuracy(KERAS, images, "keras")
    assert accuracy(tmp_path / "half", images, "keras") > given - 0.03
    assert accuracy(tmp_path / "one-shot", images, "keras") < given - 0.2
    assert notes["channels"] == {"conv_0": [32, 16], "conv_1": [64, 32], "conv_2": [96, 48], "dense": [96, 48]}
    assert notes["weights"][1] < 0.3 * notes["weights"][0]
    x = images[0][:100]
    once, twice = (work.predicted(tmp_path / name, "keras", {"image": x}) for name in ("half", "again"))
    for one, two in zip(once.values(), twice.values(), strict=True):
        np.testing.assert_array_equal(one, two)
    before, after = load(KERAS), load(tmp_path / "half")
    assert after.format == "keras"
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)


def test_a_ratio_of_zero_computes_what_the_keras_model_does(images, tmp_path):
    prune_keras(KERAS, tmp_path / "same", criterion="l2", ratio=0.0)
    x = images[0][:50]
    given, found = (work.predicted(p, "keras", {"image": x}) for p in (KERAS, tmp_path / "same"))
    for one, two in zip(given.values(), found.values(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("budget", ["parameters", "macs", "latency"])
def test_a_budget_of_a_keras_model_is_met(fashion, budget, tmp_path):
    notes = prune_keras(KERAS, tmp_path / "cut", fashion, budget=budget, reconstruct=False, multiple=1)
    assert len({now / was for was, now in notes["channels"].values()}) > 1, "all layers have lost the same share"
    if budget == "parameters":
        assert 0.4 * notes["weights"][0] < notes["weights"][1] < 0.51 * notes["weights"][0]
    if budget == "latency":
        before, after = notes["expected_ms"]
        assert after <= 0.5 * before
        assert len(notes["measured_ms"]) == 2


def test_layers_of_a_keras_model_can_be_left_whole(tmp_path):
    notes = prune_keras(KERAS, tmp_path / "cut", criterion="l2", reconstruct=False, exclude="conv_1")
    assert notes["channels"].keys() == {"conv_0", "conv_2", "dense"}
    with pytest.raises(SettingError, match=r"no layer and no layer type 'conv_9'.*did you mean"):
        prune_keras(KERAS, tmp_path / "not", criterion="l2", reconstruct=False, exclude="conv_9")


def test_layers_without_batch_normalization_are_named(tmp_path):
    with pytest.raises(UnsupportedModelError, match=r"No batch normalization scales the channels of dense"):
        prune_keras(KERAS, tmp_path / "cut", criterion="batchnorm", reconstruct=False)
    with pytest.raises(UnsupportedModelError, match=r"No batch normalization scales the channels"):
        prune(MODEL, tmp_path / "cut", criterion="batchnorm", reconstruct=False)


def test_the_channels_with_the_smallest_scales_go(tmp_path):
    rng = np.random.default_rng(0)
    scale = rng.permutation(np.arange(1.0, 9.0)) * rng.choice([-1, 1], 8)
    arrays = {"w1": rng.normal(0, 1, (8, 3, 3, 3)), "s": scale, "b": np.zeros(8), "m": np.zeros(8), "v": np.ones(8),
              "w2": rng.normal(0, 1, (2, 8, 3, 3))}  # fmt: skip
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> net (float[n, 3, 8, 8] x) => (float[n, 2, 4, 4] y) {
        a = Conv(x, w1)
        c = BatchNormalization(a, s, b, m, v)
        y = Conv(c, w2) }"""
    )
    model.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in arrays.items())
    onnx.save(model, str(tmp_path / "model.onnx"))
    prune(tmp_path / "model.onnx", tmp_path / "cut", criterion="batchnorm", reconstruct=False, multiple=1)
    found = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(tmp_path / "cut")).graph.initializer}
    np.testing.assert_allclose(found["w1"], arrays["w1"][np.abs(scale) > 4].astype(np.float32))


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize(("cutting", "source", "form"), [(prune, MODEL, "onnx"), (prune_keras, KERAS, "keras")])
def test_channels_that_hardly_change_the_loss_go(cutting, source, form, labels, fashion, images, tmp_path):
    """With the labels of calibration examples, or as if the model's own answers were right."""
    x = np.load(NOTEBOOKS / "data" / "fashion-mnist.npz")["x_train"][:600, ..., None]
    Dataset.from_arrays((x / 255).astype(np.float32), calibration_size=200).save(tmp_path / "data")
    data = fashion if labels else tmp_path / "data"
    for name in ("cut", "again"):
        notes = cutting(source, tmp_path / name, data, criterion="taylor")
    assert notes["gradient_of"] == (f"SparseCategoricalCrossentropy of {'the labels' if labels else 'its own answers'}")
    assert accuracy(tmp_path / "cut", images, form) > accuracy(source, images, form) - 0.03
    once, twice = (work.predicted(tmp_path / n, form, {"image": images[0][:50]}) for n in ("cut", "again"))
    for one, two in zip(once.values(), twice.values(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_gradients_need_tensorflow_and_other_criteria_do_not():
    variant = TRANSFORMS.get("prune_channels").variant("onnx")
    given = TRANSFORMS.get("prune_channels").complete({})
    stages = {c: variant.stages_for({**given, "criterion": c}) for c in ("taylor", "reconstruction", "l2")}
    assert {c: [s.group for s in found] for c, found in stages.items()} == {
        "taylor": ["tensorflow"], "reconstruction": ["light"], "l2": ["light"],
    }  # fmt: skip
    assert [s.extra for s in stages["taylor"]] == ["tensorflow"]

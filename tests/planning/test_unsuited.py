"""What layers and settings show to be wrong is said by the plan, before anything is built."""

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.model import Layer, TensorSpec
from deploykit.planning.routes import Impossible, Routes
from deploykit.runtimes._contract import RUNTIMES
from deploykit.surgery.layers import spans
from deploykit.testing import models
from deploykit.testing.transforms import another
from deploykit.transforms._contract import TRANSFORMS
from tests.surgery import graphs

EXCLUDING = [t.name for t in TRANSFORMS.all() if t.excluding]
ONNX = Target("onnxruntime")


@pytest.fixture(scope="module", params=["cnn_keras", "cnn_onnx", "cnn_h5", "dense_keras"])
def model(request, tmp_path_factory):
    return dk.load(models.build(request.param, tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def onnx_cnn(tmp_path_factory):
    return dk.load(models.build("cnn_onnx", tmp_path_factory.mktemp("models")))


def data(model):
    shape = [400, *(size or 1 for size in model.inputs[0].shape[1:])]
    count = model.outputs[0].shape[-1]
    return dk.Dataset.from_arrays(np.random.default_rng(0).random(shape, np.float32), np.arange(400) % count)


def said(model, *steps, target=ONNX):
    """Why a recipe is left out, or what is said of it, and whether it is left out."""
    plan = dk.plan(model, data(model), dk.Space([Recipe(steps)], [target]), check=False)
    left = "; ".join(left.reason for left in plan.left_out)
    return left or "; ".join(r.reason for r in plan.remarks if r.label.startswith(plan.candidates[-1].label)), bool(
        left
    )


@pytest.mark.parametrize("technique", EXCLUDING)
def test_an_unknown_layer_is_named_by_the_plan(technique, model):
    """Where the technique reads the model as it is; in a converted one names are others."""
    exclude = TRANSFORMS.get(technique).excluding
    formats = {"keras"} if model.format == "h5" else {model.format}
    reason, left = said(model, Step(technique, {exclude: "no_such"}))
    if not any(v.accepts & formats and exclude in v.uses for v in TRANSFORMS.get(technique).variants):
        assert "no_such" not in reason
        return
    assert "no layer" in reason or "no node" in reason
    assert "'no_such'" in reason
    ways = [v for v in TRANSFORMS.get(technique).variants if v.accepts & formats]
    prepared = any(stage.name == "onnx_graph" for way in ways for stage in way.stages)
    assert left != prepared, "preparing a graph makes nodes with other names"
    heavy = next(layer for layer in model.layers if layer.kind in ("convolution", "dense"))
    for name in (heavy.name, heavy.type, f"!{heavy.name}"):
        assert "'no_such'" not in said(model, Step(technique, {exclude: name}))[0]
        assert "exclude" not in said(model, Step(technique, {exclude: name}))[0]


def test_layers_are_known_behind_steps_that_keep_them(onnx_cnn):
    wrong = Step("prune_channels", {"exclude": "no_such", "criterion": "l2"})
    assert said(onnx_cnn, Step("clip_weights"), wrong)[1]
    assert said(onnx_cnn, Step("distill"), Step("prune_magnitude", {"exclude": "no_such"}))[1]
    assert not said(onnx_cnn, Step("simplify_graph"), wrong)[1], "fused nodes have other names"
    cut = Step("cut_layers", {"count": 1})
    assert "no layer of the model can be cut" in said(onnx_cnn, Step("clip_weights"), cut)[0]
    assert not said(onnx_cnn, Step("prune_channels"), cut)[1], "the shapes of fewer channels are not known"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step("prune_channels", {"criterion": "batchnorm"}), "no batch normalization for criterion=batchnorm"),
        (Step("cut_layers"), "no layer of the model can be cut: none gives the shape that it takes"),
        (Step("distill", {"depth": 0.5}), "no block that can be left out"),
    ],
)
def test_a_model_that_lacks_what_is_looked_for(step, words, model):
    """The dense network has no normalization, and no two layers of one shape; the Keras network has both."""
    reason, left = said(model, step)
    assert left == (model.name.startswith(("dense", "cnn_onnx")) or model.format == "onnx"), reason
    assert (words in reason) == left


def test_hidden_layers_are_those_of_the_original(model):
    reason, left = said(model, Step("distill", {"hidden": "no_*"}))
    assert "'no_*'" in reason
    assert left == (model.format != "onnx"), "in an ONNX file, a tensor may be called that"
    name = model.layers[1].name
    assert "hidden" not in said(model, Step("distill", {"hidden": f"{name[:-1]}*"}))[0]


@pytest.mark.parametrize("name", sorted(graphs.GRAPHS))
def test_what_cannot_be_cut_by_its_shapes_has_no_span(name, tmp_path):
    """Held against the search for spans that building does."""
    import onnx

    from deploykit.surgery.channels.onnx_axes import plain
    from deploykit.surgery.layers import onnx_spans

    graph = graphs.graph(name)
    onnx.save(graph, str(tmp_path / "model.onnx"))
    loaded = dk.load(tmp_path / "model.onnx")
    known = {layer.name: layer.shape for layer in loaded.layers}
    made = plain(graph)
    shapes = {node.output[0]: known.get(node.name, node.name) for node in made.graph.node}
    shapes |= {spec.name: spec.shape for spec in loaded.inputs}
    found = onnx_spans.spans(made, lambda names: {n: shapes.get(n, n) for n in names})
    assert not (spans.impossible(loaded.layers, loaded.inputs) and found)


@pytest.mark.parametrize("target", [r.name for r in RUNTIMES.all() if not r.missing()])
@pytest.mark.parametrize("technique", [t.name for t in TRANSFORMS.all() if not (t.from_file or t.keyed)])
def test_no_setting_is_ignored_in_silence(technique, target, onnx_cnn):
    """Whatever is turned on is used by the way that is taken, or named."""
    adapter = TRANSFORMS.get(technique)
    routes = Routes(onnx_cnn, data(onnx_cnn), 0)
    for parameter in adapter.parameters:
        asked = Step(technique, {parameter.name: another(parameter)})
        found = routes.find(Recipe((asked,)), Target(target))
        if isinstance(found, Impossible):
            assert found.reason
            continue
        (step,) = (s for s in found.steps if s.kind == "transform")
        used = parameter.name in adapter.variant(step.variant).uses
        named = any(parameter.name in words for words in found.unused)
        assert used != named, f"{parameter.name} by {step.variant}"
        if named:
            with pytest.raises(UnsupportedModelError, match=f"does not use {parameter.name}"):
                dk.build(onnx_cnn, asked, data(onnx_cnn), target=target)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"epochs": 5}, "where epochs has no effect: fine-tune with rounds=2 or more"),
        ({"learning_rate": 0.1, "batch_size": 8}, "where batch_size, learning_rate have no effect"),
        ({"train_examples": 0}, "where train_examples has no effect"),
        ({"schedule": "constant"}, "where schedule has no effect: leave that out"),
        ({"epochs": 0}, ""),
        ({"epochs": 5, "rounds": 2}, ""),
    ],
)
def test_an_onnx_file_that_is_pruned_in_one_go_is_not_trained(parameters, words, onnx_cnn):
    reason, left = said(onnx_cnn, Step("prune_magnitude", parameters))
    assert left == bool(words)
    assert words in reason


@pytest.mark.parametrize(
    ("technique", "parameters", "words"),
    [
        ("distill", {"hidden_weight": 2.0}, "hidden_weight of distillation has no effect without hidden"),
        ("distill", {"loss": "mse", "temperature": 3.0}, "has no effect with loss=mse"),
        ("finetune", {"epochs": 0, "optimizer": "sgd"}, "optimizer of fine-tuning has no effect with epochs=0"),
        ("prune_magnitude", {"scope": "global", "schedule": "constant"}, "leave schedule out"),
    ],
)
def test_settings_that_change_nothing_beside_others(technique, parameters, words, tmp_path):
    keras = dk.load(models.build("cnn_keras", tmp_path))
    assert words in said(keras, Step(technique, parameters))[0]
    with pytest.raises(UnsupportedModelError, match=words):
        dk.build(keras, Step(technique, parameters), data(keras))


@pytest.mark.parametrize("first", ["quantize_dynamic", "quantize_static", "quantize_float16"])
@pytest.mark.parametrize("then", ["prune_magnitude", "clip_weights", "prune_channels", "cut_layers", "distill"])
def test_what_is_quantized_is_refused_for_one_reason(first, then, model):
    reasons = {said(model, Step(first), Step(then), target=Target(r))[0] for r in ("onnxruntime", "litert")}
    (reason,) = reasons
    assert f"{TRANSFORMS.get(then).label} after {TRANSFORMS.get(first).label}: it is already quantized" in reason


@pytest.mark.parametrize("first", ["cluster_weights", "quantize_simulated"])
def test_values_that_are_shared_are_not_trained_and_not_faster(first, onnx_cnn):
    label = TRANSFORMS.get(first).label
    for then in ("distill", "finetune"):
        reason, left = said(onnx_cnn, Step(first), Step(then))
        assert left
        assert f"{TRANSFORMS.get(then).label} after {label}: it is already made of few values" in reason
    assert "ONNX Runtime multiplies shared values like any others" in said(onnx_cnn, Step(first))[0]
    assert "shared values like" not in said(onnx_cnn, Step(first), Step("quantize_dynamic"))[0]
    assert "is measured, the size in bits is computed" in said(onnx_cnn, Step("quantize_simulated"))[0]


@pytest.mark.parametrize(
    ("layers", "possible"),
    [
        ([("dense", 8), ("dense", 3)], False),
        ([("dense", 8), ("dense", 8)], True),
        ([("dense", 4), ("dense", 3)], True),  # as wide as the input
        ([("dense", 8), ("activation", 8), ("dense", 3)], False),  # no weights between
        ([("dense", 8), ("dense", 3), ("activation", 8)], True),
        ([("dense", 8), ("dense", None)], True),  # an open dimension may be any
        ([("dense", 8), ("dense", 0)], True),  # and so may a shape that is not known
        ([("dense", 8), ("other", 3)], True),
    ],
)
def test_shapes_that_come_again_may_enclose_a_span(layers, possible):
    made = [
        Layer(f"l{i}", kind, None if size == 0 else (None, size), 10 * (kind == "dense"), kind)
        for i, (kind, size) in enumerate(layers)
    ]
    assert spans.impossible(made, [TensorSpec("x", (None, 4), "float32")]) != possible


def test_wide_networks_are_judged_at_once():
    """Two thousand layers of different shapes, one of them open: each shape is looked at once."""
    sizes = [*range(3, 2000), None]
    made = [Layer(f"l{size}", "Gemm", (None, size), 10, "dense") for size in sizes]
    assert not spans.impossible(made, [TensorSpec("x", (None, 2), "float32")])
    assert spans.impossible(made[:-1], [TensorSpec("x", (None, 2), "float32")])

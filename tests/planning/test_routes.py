import numpy as np
import onnx
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import SettingError
from deploykit.planning.routes import Impossible, Routes
from deploykit.storage.store import Store
from deploykit.transforms._contract import TRANSFORMS
from tests.surgery import graphs

ONNX = Target("onnxruntime")


def static(**parameters):
    return Recipe((Step("quantize_static", parameters),))


def dynamic(**parameters):
    return Recipe((Step("quantize_dynamic", parameters),))


@pytest.fixture
def routes(onnx_model, images):
    return Routes(onnx_model, images, 0)


def test_schemes_share_the_graph_and_the_calibration(routes):
    found = [
        routes.find(recipe, ONNX).steps
        for recipe in (
            static(),
            static(activations="int8", per_channel=True, form="qoperator", exclude="Softmax"),
            static(calibration="entropy"),
            static(calibration="entropy", operators="conv_matmul"),
            static(calibration="percentile"),
            dynamic(),
        )
    ]
    assert len({route[0].key for route in found}) == 1, "the graph"
    assert len({route[1].key for route in found[:-1]}) == 1, "the first pass over the examples"
    clipped = [route[2].key for route in found[2:5]]
    assert clipped[0] == clipped[1] != clipped[2]
    assert found[-1][1] is found[-1][-1]
    assert len({route[-1].key for route in found}) == len(found)
    assert [step.kind for step in found[0]] == ["prepare", "prepare", "transform"]
    assert [step.needs_data for step in found[0]] == [False, True, False]
    assert [step.needs_data for step in found[2]] == [False, True, True, False]
    for route in found:
        assert [step.source for step in route] == ["", *(step.key for step in route[:-1])]


def test_only_what_reads_data_depends_on_them(onnx_model, images, routes):
    other = dk.Dataset.from_arrays(np.ones((400, 1, 8, 8), np.float32), np.arange(400) % 3)
    first, second = (r.find(static(), ONNX).steps for r in (routes, Routes(onnx_model, other, 0)))
    assert first[0].key == second[0].key
    assert first[1].key != second[1].key
    assert first[2].key != second[2].key, "what is made of other ranges is another artifact"


def test_the_order_of_excluded_names_does_not_matter(routes):
    one, two = (routes.find(static(exclude=text), ONNX).steps for text in ("Softmax,Relu", "Relu, Softmax, Relu"))
    assert one[-1] == two[-1]
    assert one[-1].key != routes.find(static(), ONNX).key


@pytest.mark.parametrize("recipe", [static(exclude="Softmax"), dynamic(exclude="Softmax")])
def test_what_cannot_be_excluded_is_left_out_with_the_reason(recipe, images, tmp_path):
    from deploykit.testing import models

    model = dk.load(models.build("cnn_keras", tmp_path))
    routes = Routes(model, images, 0)
    litert = Target("litert")
    assert not isinstance(routes.find(Recipe((Step(recipe.steps[0].technique),)), litert), Impossible)
    assert not isinstance(routes.find(recipe, ONNX), Impossible)
    assert "with exclude needs int8" in routes.find(recipe, litert).reason
    assert "LiteRT" in routes.find(recipe, litert).reason


@pytest.mark.parametrize("runtime", ["litert", "tensorflow", "onnxruntime"])
def test_channels_of_a_keras_model_are_cut_before_it_is_converted(runtime, images, tmp_path):
    from deploykit.testing import models

    model = dk.load(models.build("cnn_keras", tmp_path))
    found = Routes(model, images, 0).find(Recipe((Step("prune_channels"),)), Target(runtime))
    first = next(step for step in found.steps if step.kind == "transform")
    assert (first.variant, first.format) == ("keras", "keras")
    assert [step.kind for step in found.steps][-1] == "convert"
    assert sum(step.kind == "convert" for step in found.steps) == 1


def test_layers_are_quantized_in_several_ways(routes):
    """By two steps, of which the first leaves layers to the second."""
    first, second = static(exclude="Gemm").steps[0], dynamic().steps[0]
    found = routes.find(Recipe((first, second)), ONNX)
    assert [step.adapter for step in found.steps if step.kind == "transform"] == ["quantize_static", "quantize_dynamic"]
    assert {"int8", "quantized", "fully quantized"} <= found.effects


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((static(), dynamic()), "int8 dynamic after int8 static: it is already quantized; let the first step leave"),
        ((dynamic(), static(exclude="Conv")), "int8 static after int8 dynamic: it is already quantized"),
        ((static(exclude="Conv"), dynamic(), static()), "int8 static after int8 dynamic: it is already quantized"),
    ],
)
def test_nothing_is_quantized_when_nothing_is_left(steps, reason, routes):
    recipe = Recipe(tuple(step for part in steps for step in part.steps))
    assert reason in routes.find(recipe, ONNX).reason


@pytest.mark.parametrize(
    ("settings", "target", "reason"),
    [
        ({"activations": "int16", "form": "qoperator"}, "onnxruntime", 'use form="qdq"'),
        ({"activations": "uint16"}, "litert", 'use activations="int16"'),
        ({"activations": "int16", "io": "int8"}, "litert", 'use io="float"'),
    ],
)
def test_16_bits_are_left_out_where_there_are_none(settings, target, reason, images, tmp_path):
    from deploykit.testing import models

    routes = Routes(dk.load(models.build("cnn_keras", tmp_path)), images, 0)
    assert reason in routes.find(static(**settings), Target(target)).reason


def test_16_bits_are_said_to_be_slow_and_left_out_where_they_are_wrong(routes):
    recipe = static(activations="int16")
    said = {}
    for target in (ONNX, Target("openvino")):
        found = routes.find(recipe, target)
        said[target.runtime] = {p.severity: p.reason for p in routes.problems(found, target)}
    assert "compute in float" in said["onnxruntime"]["pointless"]
    assert "computes something else" in said["openvino"]["impossible"]


def test_integer_operators_are_not_corrected(routes):
    reason = routes.find(static(form="qoperator", correction="bias"), ONNX).reason
    assert 'use form="qdq"' in reason


def test_bad_values_are_refused(routes):
    with pytest.raises(SettingError, match="exclude must be text"):
        routes.find(static(exclude=3), ONNX)


def test_shared_work_is_done_once_and_not_again(onnx_model, images, tmp_path):
    def built():
        records = Store(tmp_path / "s").records("step")
        return {key for key, record in records.items() if "error" not in record}

    target = Target("onnxruntime")
    first = dk.build(onnx_model, static(), images, target=target, store=tmp_path / "s")
    assert first.notes["quantize_static"]["calibration_examples"] == len(next(iter(images.calibration().values())))
    before = built()
    assert len(before) == 4, "the original model, its graph, its ranges and the artifact"
    second = dk.build(
        onnx_model, static(activations="int8", exclude="Conv"), images, target=target, store=tmp_path / "s"
    )
    assert len(built() - before) == 1
    dk.build(onnx_model, dynamic(), images, target=target, store=tmp_path / "s")
    assert len(built() - before) == 2
    kept = {node.op_type for node in onnx.load(second.path).graph.node}
    assert {"Conv", "QuantizeLinear"} <= kept
    assert second.notes["quantize_static"]["float"]["Conv"] == 1
    sizes = [r["compressed_bytes"] for r in Store(tmp_path / "s").records("step").values()]
    assert sum(size == 0 for size in sizes) == 2, "what only other steps read is not compressed"


def test_a_route_is_found_once_and_is_canonical(routes):
    plain = routes.find(static(), ONNX)
    assert routes.find(static(), Target("onnxruntime", threads=2)) is plain, "threads change no file"
    same = routes.find(static(calibration="minmax", exclude=""), ONNX)
    assert same.recipe == Recipe((Step("quantize_static"),))
    assert (same.key, same.label, same.family) == (plain.key, plain.label, "quantize")
    assert {"int8", "quantized"} <= plain.effects
    assert routes.find(Recipe(), ONNX).steps == ()


def test_an_onnx_model_reaches_litert_by_way_of_a_saved_model(routes):
    litert = Target("litert")
    assert [step.adapter for step in routes.find(Recipe(), litert).steps] == [
        "onnx_to_saved_model", "saved_model_to_tflite",
    ]  # fmt: skip
    assert [step.adapter for step in routes.find(static(), litert).steps] == ["onnx_to_saved_model", "quantize_static"]
    assert routes.find(static(), ONNX).steps[-1].format == "onnx", "what needs no conversion gets none"


def test_a_quantized_graph_is_not_converted(routes, images, tmp_path):
    """Neither one that a step has quantized, nor one that came quantized."""
    from onnxruntime.quantization import quantize_dynamic

    found = routes.find(static(exclude="Softmax"), Target("litert"))
    assert "with exclude needs int8 static (ONNX Runtime)" in found.reason
    quantize_dynamic(routes.model.path, tmp_path / "int8.onnx")
    own = Routes(dk.load(tmp_path / "int8.onnx"), images, 0)
    assert "quantized ONNX models cannot be converted to TFLite" in own.find(Recipe(), Target("litert")).reason
    assert not isinstance(own.find(Recipe(), ONNX), Impossible)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (["correct_bias"], "no step before has done that; put it behind such a step"),
        (["correct_bias", "quantize_static"], "no step before has done that"),
        (["prune_channels", "quantize_static", "correct_bias"], "after channel pruning: it is a model with fewer"),
        (
            ["equalize_layers", "quantize_static", "correct_bias"],
            "other scales than the original's; let quantize_static",
        ),
        (["normalize_weights", "quantize_static", "correct_bias"], "other scales than the original's"),
        (["finetune", "quantize_static", "correct_bias"], "after fine-tuning: it is a model whose layers have learned"),
        (["cluster_weights", "equalize_layers"], "equalize before that"),
    ],
)
def test_corrections_come_where_there_is_something_to_correct(steps, reason, routes):
    assert reason in routes.find(Recipe(tuple(map(Step, steps))), ONNX).reason
    assert (
        routes.find(Recipe((Step("quantize_static"), Step("correct_bias"))), ONNX).steps[-1].adapter == "correct_bias"
    )


def routes_of(name, tmp_path):
    onnx.save(graphs.graph(name), str(tmp_path / "model.onnx"))
    data = dk.Dataset.from_arrays(graphs.examples(name, 100))
    return Routes(dk.load(tmp_path / "model.onnx"), data, 0)


@pytest.mark.parametrize(
    ("name", "settings", "advice"),
    [
        ("depthwise", {"per_channel": False}, "per_channel"),
        ("depthwise", {}, ""),
        ("attention", {"operators": "all"}, "operators=conv_matmul"),
        ("attention", {}, ""),
        ("chain", {}, ""),
    ],
)
def test_the_plan_says_which_settings_a_model_asks_for(name, settings, advice, tmp_path):
    routes = routes_of(name, tmp_path)
    said = [p.reason for p in routes.problems(routes.find(static(**settings), ONNX), ONNX) if p.severity == "note"]
    found = [reason for reason in said if "the model has" in reason]
    assert len(found) == bool(advice)
    assert advice in "".join(found)


@pytest.mark.parametrize(
    ("name", "recipe", "asked"),
    [
        ("depthwise", static, {"per_channel": True}),
        ("chain", static, {}),
        ("attention", static, {"operators": "conv_matmul"}),
        ("channels_last", static, {}),
        ("depthwise", dynamic, {}),
        ("attention", dynamic, {}),
    ],
)
def test_settings_follow_the_model_where_none_are_given(name, recipe, asked, tmp_path):
    routes, usual = routes_of(name, tmp_path), {"per_channel": False, "operators": "all"}
    plain, technique = routes.find(recipe(), ONNX), recipe().steps[0].technique
    declared = {k: v for k, v in usual.items() if k in plain.steps[-1].parameters}
    assert plain.recipe.steps[0].parameters == asked
    assert plain.steps[-1].parameters.items() >= {**declared, **asked}.items()
    words = {"per_channel": "per channel", "operators": "operators conv matmul"}
    assert {k for k, said in words.items() if said in plain.label} == asked.keys()
    same = routes.find(recipe(**{**declared, **asked}), ONNX)
    assert (same.recipe, same.key) == (plain.recipe, plain.key), "written out it is the same"
    other = routes.find(recipe(**declared), ONNX)
    assert other.steps[-1].parameters.items() >= declared.items(), f"what is given to {technique} wins"
    assert (other.key != plain.key) == bool(asked)
    assert routes.find(other.recipe, ONNX).key == other.key, "a recipe of a row means what the row is"


def test_depthwise_convolutions_that_are_quantized_on_the_fly_have_a_scale_for_each_channel(tmp_path):
    found = routes_of("depthwise", tmp_path).find(dynamic(convolutions=True), ONNX)
    assert found.recipe.steps[0].parameters == {"convolutions": True, "per_channel": True}


def test_files_that_were_made_before_a_setting_came_are_found_again(routes, monkeypatch):
    technique = TRANSFORMS.get("quantize_static")
    usual, learned = (routes.find(static(**given), ONNX).key for given in ({}, {"rounding": "learned"}))
    (variant,) = (v for v in technique.variants if v.name == "onnxruntime")
    before = tuple(p for p in technique.parameters if p.name != "rounding")
    monkeypatch.setattr(type(technique), "parameters", before)
    monkeypatch.setattr(type(variant), "uses", tuple(u for u in variant.uses if u != "rounding"))
    monkeypatch.setattr(type(variant), "unable", lambda *_: "")
    monkeypatch.setattr(type(variant), "finishing_needs", lambda *_: frozenset())
    old = Routes(routes.model, routes.data, 0).find(static(), ONNX)
    assert "rounding" not in old.steps[-1].parameters
    assert old.key == usual != learned

"""Planning: routes, shared steps, merged duplicates, reasons; without importing a framework."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import deploykit as dk
from deploykit.converters._contract import CONVERTERS
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import SettingError
from deploykit.core.model import Layer, Model, TensorSpec
from deploykit.planning import arithmetic
from deploykit.transforms._contract import TRANSFORMS

RNG = np.random.default_rng(0)


def model(format_name="keras"):
    return Model(
        f"/nowhere/net.{format_name}", format_name, (TensorSpec("image", (None, 8, 8, 1), "float32"),),
        (TensorSpec("class", (None, 3), "float32"),), (), 10, 10, "d" * 64,
    )  # fmt: skip


def data(labels=True):
    return dk.Dataset.from_arrays(
        RNG.random((100, 8, 8, 1)).astype(np.float32), RNG.integers(0, 3, 100) if labels else None
    )


@pytest.fixture(scope="module")
def quick():
    return dk.plan(model(), data(), "quick")


def test_the_preset_quick_on_keras(quick):
    by_runtime = {}
    for planned in quick.candidates:
        by_runtime.setdefault(planned.candidate.target.runtime, []).append(planned.label)
    assert len(by_runtime["litert"]) == 9
    assert len(by_runtime["onnxruntime"]) == 9
    assert len(by_runtime["tensorflow"]) == 4
    assert len(quick.candidates) == 22
    assert quick.duplicates > 0
    baseline = next(c for c in quick.candidates if c.key == quick.baseline)
    assert (baseline.label, baseline.candidate.target.runtime) == ("original", "tensorflow")


def test_shared_steps_run_once(quick):
    assert len([s for s in quick.steps.values() if s.adapter == "prune_magnitude"]) == 1
    assert len([s for s in quick.steps.values() if s.adapter == "distill"]) == 1
    exports = [s for s in quick.steps.values() if s.format == "saved_model"]
    assert len(exports) == 4  # the original, and one model each that is sparse, smaller, and smaller and distilled
    assert sum(len(c.steps) for c in quick.candidates) > len(quick.steps)


def test_a_step_key_depends_on_what_decides_the_output(quick):
    other = dk.plan(model(), data(), "quick", seed=1)
    changed = {s.adapter for k, s in quick.steps.items() if k not in other.steps}
    assert "prune_magnitude" in changed
    same = [s for k, s in quick.steps.items() if k in other.steps]
    assert any(s.adapter == "keras_to_saved_model" for s in same)


def test_impossible_combinations_have_a_reason(quick):
    reasons = {o.label: o.reason for o in quick.left_out}
    assert "int8 dynamic on TensorFlow" in reasons
    assert "makes an ONNX or PyTorch or TFLite file; TensorFlow cannot run it" in reasons["int8 dynamic on TensorFlow"]


def test_of_an_onnx_model_the_applicable_part_is_planned():
    plan = dk.plan(model("onnx"), data(), "quick")
    targets = {c.candidate.target.runtime: c.steps for c in plan.candidates if c.label == "original"}
    assert targets["onnxruntime"] == ()
    words = [plan.steps[key].words for key in targets["litert"]]
    assert words == ["convert ONNX to SavedModel", "convert SavedModel to TFLite"]
    assert {c.label for c in plan.candidates} >= {"original", "int8 dynamic", "int8 static"}
    assert all(o.reason for o in plan.left_out)


def test_of_a_tflite_model_the_original_is_planned():
    plan = dk.plan(model("tflite"), data(), "quick")
    assert next(c.label for c in plan.candidates) == "original"
    assert plan.candidates[0].steps == ()


def test_pruning_without_labels_is_fine_tuned_on_what_the_original_answers():
    space = dk.Space([Recipe((Step("prune_magnitude"),))], [Target("litert"), Target("onnxruntime")])
    plan = dk.plan(model(), data(labels=False), space)
    pruned = [c for c in plan.candidates if c.candidate.recipe.steps]
    assert {c.candidate.target.runtime for c in pruned} == {"litert", "onnxruntime"}
    steps = [plan.steps[c.steps[0]] for c in pruned]
    assert {(step.words, step.variant, step.needs) for step in steps} == {
        ("magnitude pruning 50 %", "keras", ("teacher", "train"))
    }


def test_onnx_files_are_pruned_in_one_go_unless_there_are_rounds():
    space = dk.Space([Recipe((Step("prune_magnitude"),)), Recipe((Step("prune_magnitude", {"rounds": 2}),))])
    plan = dk.plan(model("onnx"), data(labels=False), space)
    pruned = {plan.steps[c.steps[0]].variant for c in plan.candidates if c.candidate.recipe.steps}
    assert pruned == {"onnx", "onnx_rounds"}
    assert "pruned in one go, without fine-tuning" in str(plan)


def test_pruning_without_training_needs_none():
    recipe = Recipe((Step("prune_magnitude", {"epochs": 0}),))
    plan = dk.plan(model(), data(labels=False), dk.Space([recipe]))
    assert recipe in [c.candidate.recipe for c in plan.candidates]
    assert not plan.left_out


@pytest.mark.parametrize(
    ("recipe", "target", "said"),
    [
        (Step("prune_magnitud"), Target("litert"), "did you mean 'prune_magnitude'"),
        (Step("prune_magnitude", {"sparsity": 1.5}), Target("litert"), "1.5"),
        (Step("prune_magnitude", {"sparsty": 0.5}), Target("litert"), "sparsity"),
        (Step("prune_magnitude"), Target("litertt"), "known: executorch, litert"),
        (Step("prune_magnitude"), Target("litert", threads=0), "at least 1"),
    ],
)
def test_bad_settings_are_found_before_any_work(recipe, target, said):
    with pytest.raises(SettingError, match=said.replace("(", r"\(")):
        dk.plan(model(), data(), dk.Space([Recipe((recipe,))], [target]))


def test_the_preset_quick_tries_convolutions_and_matrix_products_alone():
    plan = dk.plan(model("onnx"), data(), "quick")
    tried = [s.parameters for c in plan.candidates for s in c.candidate.recipe.steps]
    assert any(parameters.get("operators") == "conv_matmul" for parameters in tried)


@pytest.mark.parametrize("preset", ["quick", "balanced", "thorough", "smallest"])
def test_presets_train_on_labels_only_where_there_are_some(preset):
    """Without labels the same recipes are tried, and the teacher alone says what is right."""

    def distilled(plan):
        steps = [s for c in plan.candidates for s in c.candidate.recipe.steps if s.technique == "distill"]
        return [s.parameters for s in steps]

    labeled, unlabeled = (dk.plan(model(), data(labels), preset) for labels in (True, False))
    assert distilled(labeled) == [{"alpha": 0.5}] * len(distilled(labeled))
    assert distilled(unlabeled) == [{}] * len(distilled(labeled))
    assert not any("label" in left.reason for left in unlabeled.left_out)


def test_distillation_is_expected_to_take_what_it_takes(monkeypatch):
    """About 8 s for the tutorial's network (6.8 million multiplications) on a core with AVX512."""
    monkeypatch.setattr("deploykit.planning.arithmetic._rate", lambda: 80e9)
    distill = TRANSFORMS.get("distill")
    variant, values = distill.variant("keras"), distill.complete({})
    examples = variant.examples(values, 200, 15_000)
    assert 5 < arithmetic.seconds("step", "tensorflow", 17, 6_801_322, examples) < 20
    assert variant.examples(distill.complete({"epochs": 4}), 200, 15_000) == examples / 2
    assert variant.examples(distill.complete({"epochs": 0}), 200, 15_000) == 0


def test_a_recipe_of_ones_own_keeps_its_settings_without_labels():
    space = dk.Space([Recipe((Step("distill", {"alpha": 0.5}),))], [Target("onnxruntime")])
    plan = dk.plan(model("onnx"), data(labels=False), space)
    assert "needs labeled training data" in plan.left_out[0].reason


def layers(*types):
    return tuple(Layer(f"layer{i}", kind, None, 1000) for i, kind in enumerate(types))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (replace(model("onnx"), layers=layers("DequantizeLinear", "Conv", "QuantizeLinear")),
         "it has DequantizeLinear, QuantizeLinear"),
        (replace(model("onnx"), layers=layers("com.microsoft.QLinearAdd", "Conv")), "it has com.microsoft.QLinearAdd"),
        (replace(model("tflite"), inputs=(TensorSpec("image", (None, 8, 8, 1), "int8", 0.1, -3),)),
         "'image' hold quantized numbers"),
        (replace(model("tflite"), parameter_count=1_000_000, size_bytes=1_020_000),
         "1,020,000 bytes hold 1,000,000 weights"),
    ],
)  # fmt: skip
def test_of_a_quantized_model_int8_is_left_out(given, said):
    plan = dk.plan(given, data(), "quick", check=False)
    assert {c.label for c in plan.candidates} == {"original"}
    reasons = [o.reason for o in plan.left_out if "int8" in o.label]
    assert reasons
    assert all(f"the model is already quantized: {said}" in reason for reason in reasons)


def test_of_a_float_model_it_is_not():
    given = replace(model("tflite"), parameter_count=1_000_000, size_bytes=2_010_000, layers=layers("CONV_2D"))
    plan = dk.plan(given, data(), "quick", check=False)
    assert not any("already quantized" in o.reason for o in plan.left_out)


def test_nothing_can_run(monkeypatch):
    monkeypatch.setattr(CONVERTERS.get("tflite_to_onnx"), "accepts", "")
    with pytest.raises(SettingError, match="no runtime can run the original model"):
        dk.plan(model("tflite"), data(), dk.Space([], [Target("onnxruntime")]))


def test_a_plan_round_trips_and_reads_well(quick):
    assert type(quick).from_json(quick.to_json()) == quick
    assert "22 candidates" in str(quick)


def test_a_plan_says_what_was_read(tmp_path):
    images = RNG.random((100, 8, 8, 1)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=images, labels=np.arange(100) % 3, spare=np.zeros(5))
    plan = dk.plan(model(), dk.Dataset.from_npz(tmp_path / "d.npz"), "quick", check=False)
    said = str(plan).splitlines()
    for line in (
        f"  read {tmp_path / 'd.npz'} (npz)", "  input from array x: float32, 8x8x1",
        "  labels array labels: class indices", "  train 40: 3 classes of 13 to 14",
        "  not used: array spare (5,): not an input and not labels",
    ):  # fmt: skip
        assert line in said
    assert "array spare (5,)" in plan._repr_html_()
    assert type(plan).from_json(plan.to_json()).reading == plan.reading


@pytest.mark.long
def test_planning_imports_no_framework():
    code = (
        "import sys, numpy as np, deploykit as dk\n"
        "from deploykit.core.model import Model, TensorSpec\n"
        "m = Model('/n.keras', 'keras', (TensorSpec('i', (None, 4), 'float32'),),"
        " (TensorSpec('o', (None, 3), 'float32'),), (), 1, 1, 'd')\n"
        "dk.plan(m, (np.zeros((50, 4), 'f'), np.arange(50) % 3), 'quick')\n"
        "print([n for n in ('tensorflow', 'keras', 'onnxruntime', 'onnx', 'pandas', 'altair') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

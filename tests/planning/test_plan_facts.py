"""What a plan says before the work: reasons, expected time, what the data can tell, what the store holds already."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.model import Layer, Model, TensorSpec
from deploykit.core.problem import Facts, Kernel
from deploykit.core.serial import from_plain
from deploykit.loading._contract import FORMATS
from deploykit.planning.expected import sessions
from deploykit.planning.makespan import PlannedTask, makespan
from deploykit.runtimes._contract import RUNTIMES
from deploykit.transforms._contract import TRANSFORMS

RNG = np.random.default_rng(0)
SIGNED = {"activations": "int8", "form": "qoperator"}


def model(layers=(("Conv", 90), ("Gemm", 10)), batch=None, operator_set=21):
    found = [Layer(f"l{i}", operator, None, count) for i, (operator, count) in enumerate(layers)]
    found = tuple(replace(layer, kind=FORMATS.get("onnx").kind_of(layer)) for layer in found)
    inputs, outputs = (TensorSpec("x", (batch, 4), "float32"),), (TensorSpec("y", (batch, 3), "float32"),)
    return Model("/net.onnx", "onnx", inputs, outputs, found, 100, 400, "d" * 64, operator_set=operator_set)


def data(count=540, **options):
    return dk.Dataset.from_arrays(RNG.random((count, 4)).astype(np.float32), np.arange(count) % 3, **options)


def space(technique, threads=1, **parameters):
    return dk.Space([Recipe((Step(technique, parameters),))], [Target("onnxruntime", threads=threads)])


def said(plan):
    return {r.severity: r.reason for r in plan.remarks} | {"impossible": "; ".join(o.reason for o in plan.left_out)}


@pytest.mark.parametrize(
    ("given", "wanted", "severity", "words"),
    [
        (model(batch=300), space("quantize_static"), "impossible", "batches of 300, but there are 200 calibration"),
        (model(batch=64), space("quantize_static"), "note", "leave over 8 of 200 calibration examples"),
        (model(operator_set=11), space("quantize_static", per_channel=True), "note", "the graph is first raised to 13"),
        (model(operator_set=9), space("quantize_dynamic", convolutions=True), "note", "operator set 9 lacks operators"),
        (model([("Conv", 100)]), space("quantize_dynamic"), "impossible", "nothing to quantize"),
        (model(), space("quantize_dynamic"), "pointless", "90 % of the weights are in layers that stay float"),
        (model([("LSTM", 80), ("Gemm", 20)]), space("quantize_static"), "pointless", "80 % of the weights"),
        (model(), space("quantize_dynamic", convolutions=True), "pointless", "ConvInteger"),
        (model(), space("quantize_static", threads=999), "pointless", "999 threads on"),
    ],
)
def test_reasons_are_given_before_the_work(given, wanted, severity, words):
    plan = dk.plan(given, data(), wanted)
    assert words in said(plan).get(severity, "")
    assert (len(plan.candidates) == 1) == (severity == "impossible")  # what is pointless is kept: the user asked for it


def test_an_old_operator_set_really_is_raised(tmp_path, onnx_model, images):
    """The claim about operator sets, made to the quantizer itself: scales per channel need an axis, which 12 lacks."""
    import onnx

    old = tmp_path / "old.onnx"
    graph = onnx.load(onnx_model.path)
    graph.opset_import[0].version = 12
    onnx.save(graph, old)
    loaded = dk.load(old)
    assert loaded.operator_set == 12
    plan = dk.plan(loaded, images, space("quantize_static", per_channel=True))
    assert "raised to 13" in said(plan)["note"]
    built = dk.build(loaded, Recipe((Step("quantize_static", {"per_channel": True}),)), images)
    examples = next(iter(images.batch().values()))[:2]
    found, float_ones = (b.predict(examples)["probabilities"] for b in (built, dk.build(loaded, Recipe(()), images)))
    assert 0 < abs(found - float_ones).max() < 0.1


def test_what_is_quantized_is_not_quantized_again(onnx_model, images):
    twice = dk.Recipe((Step("quantize_static"), Step("quantize_dynamic")))
    plan = dk.plan(onnx_model, images, dk.Space([twice], [Target("onnxruntime")]))
    assert [c.candidate.recipe.steps for c in plan.candidates] == [()]
    assert "int8 dynamic after int8 static: it is already quantized" in said(plan)["impossible"]
    with pytest.raises(dk.DeploykitError, match="quantized"):
        dk.build(onnx_model, twice, images)


def test_openvino_may_lack_integer_operators_of_onnx_runtime(onnx_model, images):
    targets = [Target("openvino")]
    recipes = [dk.Recipe((Step("quantize_static", {"form": form}),)) for form in ("qdq", "qoperator")]
    plan = dk.plan(onnx_model, images, dk.Space(recipes, targets))
    told = [r.label for r in plan.remarks if "not those of ONNX Runtime" in r.reason]
    assert len(told) == 1
    assert "qoperator" in told[0]


@pytest.mark.parametrize(
    ("machine", "features", "threads", "technique", "parameters", "runtime", "words"),
    [
        ("x86_64", ("avx2",), 1, "quantize_static", {}, "onnxruntime", "no 8-bit dot products"),
        ("x86_64", ("avx_vnni",), 1, "quantize_static", {"reduce_range": True}, "onnxruntime", "7-bit weights only"),
        ("x86_64", ("avx_vnni",), 1, "quantize_static", SIGNED, "onnxruntime", ""),  # the runtime was not asked
        ("x86_64", (), 1, "quantize_float16", {}, "litert", "converted to float32"),
        ("aarch64", (), 1, "quantize_float16", {}, "litert", ""),
        ("x86_64", ("avx512_fp16",), 1, "quantize_float16", {}, "litert", ""),
        ("x86_64", (), 1, "prune_magnitude", {"sparsity": 0.5}, "litert", "multiplies zeros"),
        ("x86_64", (), 5, "quantize_float16", {}, "tensorflow", "5 threads on 4 cores"),
    ],
)  # fmt: skip
def test_the_processor_decides_what_is_pointless(machine, features, threads, technique, parameters, runtime, words):
    adapter = TRANSFORMS.get(technique)
    variant = adapter.variants[-1]
    values = {k: v for k, v in adapter.complete(parameters).items() if k in variant.uses}
    facts = Facts(model(), 200, machine, features, 4)
    target = Target(runtime, threads=threads)
    found = [
        *variant.problems(values, facts),
        *RUNTIMES.get(runtime).problems(target, variant.effects(values), facts),
    ]
    reasons = "; ".join(p.reason for p in found if p.severity == "pointless" and "stay float" not in p.reason)
    assert words in reasons if words else not reasons


#: Technique, parameters, runtime, and what is said with the kernels of two recorded hosts.
FORMS = [
    ("quantize_static", {}, "onnxruntime", "", ""),
    ("quantize_static", SIGNED, "onnxruntime", "×5.7 the time of float32 in ONNX Runtime here (kernel QLinearConv", ""),
    ("quantize_static", {"activations": "int8"}, "onnxruntime", "", ""),
    ("quantize_dynamic", {"convolutions": True}, "onnxruntime", "×6.3 the time of float32", ""),
    ("quantize_dynamic", {"convolutions": False}, "onnxruntime", "", ""),
    ("quantize_static", {}, "openvino", "", ""),
    ("quantize_static", {"activations": "int8"}, "openvino", "",
     "OpenVINO computes convolutions with int8 activations in float32 here (kernel brgconv_avx512_f32"),
    ("quantize_dynamic", {"convolutions": True}, "openvino", "in float32 here", "in float32 here"),
]  # fmt: skip


@pytest.mark.parametrize("host", ["epyc", "other"])
@pytest.mark.parametrize(("technique", "parameters", "runtime", "epyc", "other"), FORMS)
def test_what_a_runtime_does_here_is_what_it_was_seen_to_do(host, technique, parameters, runtime, epyc, other):
    known = json.loads((Path(__file__).parent / "kernels" / f"{host}.json").read_text("utf-8"))
    asked = {name: from_plain(dict[str, Kernel], plain) for name, plain in known.items() if name != "host"}
    facts = Facts(model(), 200, "x86_64", ("avx2", "avx512_vnni"), 4, lambda name: asked.get(name, {}))
    adapter = TRANSFORMS.get(technique)
    variant = next(v for v in adapter.variants if v.produces == "onnx")
    values = {k: v for k, v in adapter.complete(parameters).items() if k in variant.uses}
    found = RUNTIMES.get(runtime).problems(Target(runtime), variant.effects(values), facts)
    reasons = "; ".join(p.reason for p in found if p.severity == "pointless")
    words = epyc if host == "epyc" else other
    assert words in reasons if words else not reasons


def test_zeros_are_not_pointless_where_channels_are_cut_as_well():
    target, facts = Target("litert"), Facts(model(), 200, "x86_64", (), 4)
    found = RUNTIMES.get("litert").problems(target, frozenset({"sparse", "smaller"}), facts)
    assert [(p.severity, "zeros save storage" in p.reason) for p in found] == [("note", True)]


@pytest.mark.parametrize(
    ("technique", "parameters", "unused", "label"),
    [
        ("prune_magnitude", {"pattern": "1:4"}, {"sparsity": 0.8}, "magnitude pruning (pattern 1:4)"),
        ("prune_magnitude", {"threshold": 0.1}, {"sparsity": 0.8}, "magnitude pruning (threshold 0.1)"),
        ("prune_weight_activation", {"pattern": "1:4"}, {"sparsity": 0.8}, "(pattern 1:4)"),
        ("clip_weights", {"limit": 0.1}, {"percentile": 99.0}, "(limit 0.1)"),
        ("cut_layers", {"count": 2}, {"ratio": 0.5}, "layer pruning 2 layers"),
    ],
)
def test_a_setting_in_the_place_of_another_one_is_named_alone(technique, parameters, unused, label):
    plan = dk.plan(model(), data(), space(technique, **parameters))
    [planned] = [c for c in plan.candidates if c.label != "original"]
    assert label in planned.label
    assert "%" not in planned.label
    plan = dk.plan(model(), data(), space(technique, **parameters, **unused))
    assert [c.label for c in plan.candidates] == ["original"]
    assert f"takes the place of {next(iter(unused))}: leave one of them out" in said(plan)["impossible"]


def test_whether_the_examples_can_confirm_a_drop():
    few = dk.plan(model(), data(), space("quantize_static"), max_drop=0.005)
    assert not few.can_resolve
    assert "a drop of 0.5 pp cannot be confirmed; about 3,100 would" in few.resolution
    half = 1.96 * (few.flips / few.examples_needed) ** 0.5
    never = replace(few, max_drop=0.0)
    assert not never.can_resolve
    assert "no number of examples can confirm" in never.resolution
    enough = replace(few, evaluation_examples=few.examples_needed, resolves=half)
    assert enough.can_resolve
    assert "enough to confirm" in enough.resolution


def test_of_real_labels_nothing_is_claimed():
    plan = dk.plan(
        model(), (RNG.random((90, 4)).astype("f"), RNG.random((90, 3)).astype("f")), space("quantize_static")
    )
    assert plan.resolution == ""


def test_what_the_store_holds_is_not_expected_again(swept, onnx_model, images, small_space):
    store, report, _ = swept
    fresh = dk.plan(onnx_model, images, small_space, launches=2)
    known = dk.plan(onnx_model, images, small_space, store=store, launches=2, max_drop=0.01)
    assert fresh.expected.steps > 0
    assert fresh.seconds > 0
    assert fresh.disk_bytes > 0
    assert (known.expected.steps, known.expected.evaluations, known.expected.sessions, known.seconds) == (0, 0, 0, 0.0)
    assert "nothing left to do" in str(known)
    more = dk.Space(
        [*small_space.recipes, Recipe((Step("quantize_static", {"per_channel": True}),))], small_space.targets
    )
    new = dk.plan(onnx_model, images, more, store=store, launches=2)
    assert (new.expected.steps, new.expected.evaluations) == (1, 1)
    assert new.expected.known_from == "this model"
    assert len(report.rows) + 1 == len(new.candidates)


def test_other_launches_are_timed_anew_and_no_launches_not_at_all(swept, onnx_model, images, small_space):
    store = swept[0]
    again = dk.plan(onnx_model, images, small_space, store=store, launches=4).expected
    assert again.stages["latency"] > 0
    assert (again.steps, again.evaluations, again.stages["build"]) == (0, 0, 0.0)
    assert dk.plan(onnx_model, images, small_space, launches=0).expected.stages["latency"] == 0


def test_jobs_wait_for_what_they_need_and_share_the_slots():
    jobs = {"a": PlannedTask(2.0), "b": PlannedTask(1.0, ("a",)), "c": PlannedTask(3.0), "d": PlannedTask(1.0)}
    assert makespan(jobs, 1) == 7.0
    assert makespan(jobs, 2) == 4.0
    assert makespan(jobs, 9) == 3.0
    assert makespan({}, 2) == 0.0


def test_every_group_of_sessions_has_the_baseline_and_its_clone():
    home, away = Target("tensorflow"), Target("litert")
    assert sessions([(home, False)], home) == [home, home, home]
    assert sorted(t.runtime for t in sessions([(away, False)], home)) == [
        "litert",
        "litert",
        "tensorflow",
        "tensorflow",
    ]
    assert len(sessions([(away, True), (away, False)], home)) == 4
    assert len(sessions([(home, False)] * 30, home)) == 30 + 2 * 2


def test_the_notebook_shows_names_as_text(quiet_plan):
    html = replace(quiet_plan, candidates=(replace(quiet_plan.candidates[0], label="<script>alert(1)</script>"),))
    shown = html._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "var(--jp-ui-font-color1" in shown  # the colors of the theme, light or dark


def test_the_page_says_what_the_text_says(quiet_plan):
    shown, text = quiet_plan._repr_html_(), str(quiet_plan)
    for words in ("pointless", "candidates", "evaluation examples resolve", "typical durations", "MB of disk"):
        assert words in shown
        assert words in text


@pytest.fixture
def quiet_plan(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(tmp_path))
    return dk.plan(model(), data(), space("quantize_dynamic", convolutions=True), max_drop=0.01)


def test_the_command_line_says_the_same_as_json(onnx_model, tmp_path, images):
    arrays = images.batch("evaluation")
    np.savez(tmp_path / "d.npz", x=next(iter(arrays.values())), y=images.labels())
    command = [sys.executable, "-m", "deploykit", "plan", onnx_model.path, "--data", str(tmp_path / "d.npz"),
               "--max-drop", "0.01", "--store", str(tmp_path / "none"), "--json"]  # fmt: skip
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["expected"]["seconds"] > 0
    assert found["expected"]["stages"].keys() == {"build", "accuracy", "latency"}
    assert found["max_drop"] == 0.01
    assert {c["label"] for c in found["candidates"]} >= {"original", "int8 static"}
    assert not (tmp_path / "none").exists()


def test_a_thousand_candidates_are_planned_without_a_framework():
    code = (
        "import sys, numpy as np, deploykit as dk\n"
        "from deploykit.core.model import Model, TensorSpec\n"
        "m = Model('/n.onnx', 'onnx', (TensorSpec('i', (None, 4), 'float32'),),"
        " (TensorSpec('o', (None, 3), 'float32'),), (), 1, 1, 'd')\n"
        "r = [dk.Recipe((dk.Step('quantize_static', {'exclude': f'n{i}'}),)) for i in range(999)]\n"
        "p = dk.plan(m, (np.zeros((50, 4), 'f'), np.arange(50) % 3), dk.Space(r, [dk.Target('onnxruntime')]))\n"
        "assert len(p.candidates) == 1000 and p.seconds > 0\n"
        "heavy = ('tensorflow', 'keras', 'onnxruntime', 'onnx', 'openvino', 'ai_edge_litert', 'pandas', 'altair')\n"
        "print([n for n in heavy if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_launches_of_an_interrupted_sweep_are_not_expected_again(onnx_model, images, small_space, tmp_path):
    def stop(progress):
        if "round 2 of 3" in progress.doing and ready:
            ready.pop().cancel()

    ready = []
    handle = dk.start_sweep(onnx_model, images, small_space, store=tmp_path / "s", launches=3, progress=stop)
    ready.append(handle)
    handle.wait()
    left = dk.plan(onnx_model, images, small_space, store=tmp_path / "s", launches=3).expected
    whole = dk.plan(onnx_model, images, small_space, launches=3).expected
    assert (left.steps, left.evaluations) == (0, 0)
    assert 0 < left.stages["latency"] < whole.stages["latency"]


def test_a_folder_that_is_not_a_store_yet_has_nothing_finished(onnx_model, images, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert dk.plan(onnx_model, images, check=False, store=tmp_path).expected.evaluations > 0
    with pytest.raises(dk.errors.NoStoreError, match="No store"):
        dk.plan(onnx_model, images, check=False, store=tmp_path / "notes.txt")

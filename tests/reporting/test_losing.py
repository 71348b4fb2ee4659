"""When every candidate in int8 loses too much, the report names what to try."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk
from deploykit.choosing.goals import Goal
from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.result import Interval, Measurement, Result, Score
from deploykit.reporting import losing

ORT, LITERT = Target("onnxruntime"), Target("litert")


def row(drop, *steps, target=ORT, form="onnx", status="measured", integer=True):
    interval = Interval(drop, drop - 0.001, drop + 0.001)
    score = Score("accuracy", 0.9 - drop, Interval(-drop, -drop, -drop), interval, 500)
    candidate = Candidate(Recipe(tuple(steps)), target)
    notes = {step.technique: {"quantized": {"Conv": 1}} for step in steps} if integer else {}
    return Result(
        candidate.key, candidate, status, "int8 static", "quantize", form,
        measurement=Measurement((score,), None, 100, 90), notes=notes,
    )  # fmt: skip


STATIC = Step("quantize_static")
CAREFUL = Step("quantize_static", {"operators": "conv_matmul"})
BASELINE = row(0.0, integer=False)


def test_all_lose_and_the_careful_form_is_named():
    rows = [BASELINE, row(0.35, STATIC), row(0.33, Step("quantize_static", {"per_channel": True}))]
    said = losing.sentence(rows, Goal(), relative=False)
    assert said.startswith("All 2 int8 candidates lose more than 1.0 pp; the least is 33.00 pp (int8 static).")
    assert "convolutions and matrix products alone" in said
    assert "operators" in said
    assert "conv_matmul" in said
    assert said.endswith("on ONNX Runtime.")
    fix = losing.remedy(rows, Goal())
    assert fix.target == ORT
    assert fix.recipe.steps[0].parameters == {"per_channel": True, "operators": "conv_matmul"}


@pytest.mark.parametrize(
    "rows",
    [
        [BASELINE],
        [BASELINE, row(0.35, STATIC), row(0.004, CAREFUL)],
        [BASELINE, row(0.35, STATIC), row(0.35, CAREFUL, status="pending")],
        [BASELINE, row(0.35, Step("prune_magnitude"), integer=False)],
    ],
    ids=["none", "one keeps enough", "one is not finished", "no int8"],
)
def test_nothing_is_said_where_something_is_left(rows):
    assert losing.sentence(rows, Goal(), relative=False) == ""
    assert losing.remedy(rows, Goal()) is None


def test_where_the_careful_form_lost_too_layers_are_to_be_left_out():
    rows = [BASELINE, row(0.35, STATIC), row(0.2, CAREFUL, status="stopped")]
    said = losing.sentence(rows, Goal(max_drop=0.02), relative=False)
    assert "more than 2.0 pp; the least is 20.00 pp" in said
    assert "dk.sensitivity(model, data, 'quantize_static')" in said
    assert losing.remedy(rows, Goal()) is None


def test_a_form_that_has_no_such_setting_is_not_told_to_use_it():
    rows = [BASELINE, row(0.3, STATIC, target=LITERT, form="tflite")]
    assert losing.remedy(rows, Goal()) is None
    assert "calibration examples" in losing.sentence(rows, Goal(), relative=False)
    both = [*rows, row(0.3, STATIC)]
    assert losing.remedy(both, Goal()).target == ORT


GIVEN = Step("existing_file", {"file": f"model_int8.onnx#onnx:quantized:{24 * '0'}"})
CUT = Step("prune_channels", {"ratio": 0.9})


def test_a_quantized_file_that_exists_already_is_an_int8_candidate():
    loses, keeps = (row(drop, GIVEN, integer=False) for drop in (0.2, 0.004))
    assert losing.sentence([BASELINE, row(0.35, STATIC), keeps], Goal(), relative=False) == ""
    said = losing.sentence([BASELINE, row(0.35, STATIC), loses], Goal(), relative=False)
    assert said.startswith("All 2 int8 candidates lose")
    assert "conv_matmul" in said
    alone = losing.sentence([BASELINE, loses], Goal(), relative=False)
    assert alone.startswith("The only int8 candidate loses")
    assert "quantize the original model here" in alone
    plain = Step("existing_file", {"file": f"model.onnx#onnx:{24 * '0'}"})
    assert losing.sentence([BASELINE, row(0.2, plain, integer=False)], Goal(), relative=False) == ""


def test_what_cutting_cost_is_not_blamed_on_int8():
    """Channel pruning alone loses nearly as much as with int8 after it."""
    cut, both = row(0.2, CUT, integer=False), row(0.22, CUT, STATIC)
    rows = [BASELINE, replace(cut, label="channel pruning 90 %"), both]
    said = losing.sentence(rows, Goal(), relative=False)
    assert "The cause is not int8: channel pruning 90 % alone loses 20.00 pp." in said
    assert "calibration" not in said
    fix = losing.remedy(rows, Goal())
    assert fix.recipe.steps == (Step("prune_channels", {"ratio": 0.25}), STATIC)
    assert "Share of the channels" in said
    mixed = losing.sentence([*rows, row(0.3, STATIC)], Goal(), relative=False)
    assert "The cause of 1 of them is not int8" in mixed
    assert losing.remedy([*rows, row(0.3, STATIC)], Goal()).recipe.steps == (CAREFUL,)
    mild = Step("prune_channels", {"ratio": 0.1})
    rows = [BASELINE, row(0.2, mild, integer=False), row(0.22, mild, STATIC)]
    assert losing.remedy(rows, Goal()) is None, "a smaller ratio than the careful one was tried"
    assert "milder settings of that step" in losing.sentence(rows, Goal(), relative=False)


def test_int8_is_the_cause_where_what_comes_before_it_keeps_enough():
    rows = [BASELINE, row(0.008, CUT, integer=False, target=LITERT), row(0.22, CUT, STATIC)]
    said = losing.sentence(rows, Goal(), relative=False)
    assert "not int8" not in said
    assert losing.remedy(rows, Goal()).recipe.steps == (CUT, CAREFUL)


def test_a_cause_that_was_not_measured_is_not_guessed():
    rows = [BASELINE, row(0.22, CUT, STATIC)]
    said = losing.sentence(rows, Goal(), relative=False)
    assert "Whether int8 or what comes before it is the cause is not known." in said
    assert said.endswith("To try: prune channels (ratio 0.9) on ONNX Runtime.")
    assert losing.remedy(rows, Goal()) is None


def outliers(path):
    """A classifier whose scores pass through an addition that int8 ruins: one of its inputs has a wide range."""
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(0, 1, (16, 4)).astype(np.float32), "w")
    wide = numpy_helper.from_array(np.array([0, 0, 0, 2e4], np.float32), "wide")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "product"),
        helper.make_node("Sub", ["m", "wide"], ["a"], "widened"),
        helper.make_node("Add", ["a", "wide"], ["y"], "narrowed"),
    ]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])], [weight, wide],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)]), path)
    return weight


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("losing")
    weight = numpy_helper.to_array(outliers(folder / "net.onnx"))
    x = np.random.default_rng(1).normal(0, 1, (400, 16)).astype(np.float32)
    data = dk.Dataset.from_arrays(x, (x @ weight).argmax(axis=1))
    space = dk.Space([Recipe((STATIC,))], [ORT])
    store = folder / "s"
    model = dk.load(folder / "net.onnx")
    return model, data, store, dk.sweep(model, data, space, store=store, launches=0, progress=lambda _p: None)


def test_report_best_and_page_name_the_fix_and_it_works(report):
    model, data, store, found = report
    lost = next(r for r in found.rows if r.candidate.recipe.steps)
    assert lost.measurement.score.value < 0.9
    best = found.best()
    assert best.key == found.baseline
    for text in (best.explain(), str(found), best.report.to_html()):
        assert "The only int8 candidate loses more than 1.0 pp" in text
        assert text.count("What helps: Which operators are quantized") == 1
    (fix,) = best.suggested()
    assert fix.steps[0].parameters == {"operators": "conv_matmul"}
    again = dk.sweep(model, data, dk.Space([fix], [ORT]), store=store, launches=0, progress=lambda _p: None)
    kept = next(r for r in again.rows if r.candidate.recipe == fix)
    assert kept.measurement.score.drop.value < 0.01
    assert "int8 candidate loses" not in str(again)
    assert "int8 candidate loses" not in again.best().explain()


def test_a_candidate_that_was_picked_by_its_key_is_explained_as_it_is(report):
    found = report[3]
    assert "int8 candidate loses" not in found.choice_for(found.baseline).explain()
    assert replace(found.best(), decision=None).suggested() == []

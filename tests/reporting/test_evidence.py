"""What is shown of a candidate beside the original model, from a real sweep and from outputs made by hand."""

import dataclasses
import html
import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.contract import OutputMeaning
from deploykit.core.errors import CandidateError, DatasetError, SettingError, StoreError
from deploykit.core.result import Interval
from deploykit.measuring.answers import read
from deploykit.measuring.predict import predict
from deploykit.reporting.evidence import class_changes, flips
from deploykit.reporting.evidence.naming import shortened
from deploykit.reporting.evidence.sensitivity import Sensitivity
from deploykit.reporting.evidence.sensitivity_rows import Damage, SensitivityRow
from deploykit.reporting.evidence.sensitivity_table import SensitivityCell
from deploykit.reporting.page import page
from deploykit.storage.store import Store

CLASSES = ["a", "b", "<img src=x>"]


def meaning(kind):
    return OutputMeaning("y", kind, "scored", "float32")


def network(path):
    """Two matrix products with an outlier in the first: one scale for all of its weights is a coarse one."""
    rng = np.random.default_rng(0)
    weights = {"hidden_w": rng.normal(0, 0.2, (16, 24)), "class_w": rng.normal(0, 0.3, (24, 3))}
    weights["hidden_w"][0, 0] = 8.0
    nodes = [
        helper.make_node("MatMul", ["features", "hidden_w"], ["hidden_out"], "hidden"),
        helper.make_node("Relu", ["hidden_out"], ["relu_out"], "relu"),
        helper.make_node("MatMul", ["relu_out", "class_w"], ["logits"], "class"),
        helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax", axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()],
    )
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), path)
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A sweep whose candidates change some answers."""
    folder = tmp_path_factory.mktemp("evidence")
    model = dk.load(network(folder / "network.onnx"))
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(
        rng.normal(0, 1, (1000, 16)).astype(np.float32), rng.integers(0, 3, 1000), classes=CLASSES
    )
    steps = [Step("quantize_static"), Step("quantize_static", {"form": "qoperator"}), Step("quantize_dynamic")]
    space = dk.Space([Recipe((s,)) for s in steps], [Target("onnxruntime")])
    return dk.sweep(model, data, space, store=folder / "s", launches=2, progress=lambda _p: None)


@pytest.fixture(scope="module")
def static(report):
    return next(report.choice_for(r.key) for r in report.rows if "static" in r.label)


# -- flips ----------------------------------------------------------------------------------------------------------


def test_flips_are_those_the_sweep_has_counted(report):
    found = [report.choice_for(r.key).flips() for r in report.rows]
    assert [sorted(f.example for f in one.rows) for one in found] == [sorted(r.measurement.flips) for r in report.rows]
    assert [len(one.rows) for one in found] == [r.measurement.changed for r in report.rows]
    assert any(one.rows for one in found)  # or this test would tell nothing
    assert not report.choice_for(report.baseline).flips().rows


def test_groups_follow_the_labels_and_accuracy_follows_the_groups(report, static):
    found = static.flips()
    for flip in found.rows:
        right = (flip.before == flip.label, flip.after == flip.label)
        assert (
            flip.group == {(True, False): "now wrong", (False, True): "now right", (False, False): "both wrong"}[right]
        )
        assert {flip.label, flip.before, flip.after} <= set(CLASSES)
        assert flip.top_before[0].name == flip.before
        assert flip.top_after[0].confidence == flip.confidence_after
        assert len(flip.top_after) == 3
    assert [f.lost for f in found.rows] == sorted((f.lost for f in found.rows), reverse=True)
    change = static.measurement.score.change.value * found.examples
    assert round(change) == found.counts["now right"] - found.counts["now wrong"]
    assert found.counts == found.to_frame()["group"].value_counts().reindex(found.counts, fill_value=0).to_dict()
    json.dumps(found.to_json())


def test_two_candidates_are_compared_with_each_other(report, static):
    other = next(report.choice_for(r.key) for r in report.rows if "dynamic" in r.label)
    forth, back = static.flips(other), other.flips(static)
    assert {f.example for f in forth.rows} == {f.example for f in back.rows}
    assert forth.counts["now wrong"] == back.counts["now right"]
    assert "int8 dynamic" in forth.against


def test_scores_that_are_no_probabilities_are_said_to_be_none():
    before = np.array([[4.0, 0.0, -1.0], [0.0, 2.0, 1.9]])
    after = np.array([[4.0, 0.0, -1.0], [0.0, 1.9, 2.0]])
    found = flips.find(after, before, None, meaning=meaning("scores"))
    assert "softmax" in found.scores
    assert [f.group for f in found.rows] == ["changed"]
    assert sum(g.confidence for g in found.rows[0].top_before) == pytest.approx(1)
    assert found.counts == {"changed": 1}


def test_rounded_probabilities_stay_probabilities():
    before = np.random.default_rng(0).dirichlet(np.full(1000, 0.05), 50)
    after = np.round(before * 256) / 256  # as int8 outputs are stored
    after[0] = np.roll(after[0], 1)
    assert after.sum(axis=1).mean() < 0.95  # or this test would tell nothing
    found = flips.find(after, before, None, meaning=meaning("probabilities"))
    assert found.scores == "probabilities"
    flip = next(f for f in found.rows if f.example == 0)
    assert flip.confidence_after == after[0].max()
    (_, top) = flips.tops(after[:1], before[:1], meaning("probabilities"))
    assert top == flip.top_after
    back = flips.find(before, after, None, meaning=meaning("probabilities"))
    assert {f.example: f.top_before for f in back.rows} == {f.example: f.top_after for f in found.rows}


def test_scores_that_are_no_numbers_are_an_answer_of_their_own():
    before = np.array([[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan], [np.nan, 0.5]])
    after = np.array([[np.nan, np.nan], [0.2, 0.8], [0.7, 0.3], [0.5, np.nan]])
    found = flips.find(after, before, np.array([0, 1, 0, 0]), ["cat", "dog"], meaning=meaning("probabilities"))
    assert [(f.example, f.group, f.before, f.after) for f in found.rows] == [
        (0, "now wrong", "cat", "not a number"),
        (2, "now right", "not a number", "cat"),
    ]
    assert [f.lost for f in found.rows] == [0.9, 0.0]
    assert found.rows[0].top_after == (flips.Guess(-1, "not a number", 0.0),)
    changes = class_changes.compare(
        after, before, np.array([0, 1, 0, 0]), ["cat", "dog"], meaning=meaning("probabilities")
    )
    assert [(r.name, r.worse, r.better) for r in changes] == [("cat", 1, 1), ("dog", 0, 0)]
    alone = class_changes.compare(after, before, None, ["cat", "dog"], meaning=meaning("probabilities"))
    assert [r.name for r in alone] == ["cat", "dog"]


def test_one_column_is_the_probability_of_the_second_class():
    one = meaning("probability")
    after, before = (read(np.array(values), one) for values in ([[0.4], [0.9]], [[0.7], [0.8]]))
    found = flips.find(after, before, np.array([1, 1]), ["no", "yes"], meaning=one)
    (flip,) = found.rows
    assert (flip.group, flip.before, flip.after) == ("now wrong", "yes", "no")
    assert flip.lost == pytest.approx(0.3)


def test_numbers_have_largest_errors():
    labels = np.array([1.0, 2.0, 3.0])
    before, after = np.array([[1.1], [2.0], [2.0]]), np.array([[1.0], [5.0], [2.5]])
    found = flips.find(after, before, labels, meaning=meaning("values"))
    assert [(f.example, f.group, f.lost) for f in found.rows] == [(1, "largest error", pytest.approx(3.0))]
    assert not found.classes
    unlabelled = flips.find(after[:, :, None], before[:, :, None], None, meaning=meaning("values"))
    assert [f.example for f in unlabelled.rows] == [1, 2, 0]
    assert not unlabelled.labelled
    assert (found.summary(), unlabelled.summary()) == (
        "The 1 example of 3 whose error grew most.", "The 3 examples of 3 whose outputs differ most.",
    )  # fmt: skip


def test_outputs_of_different_models_are_refused():
    with pytest.raises(SettingError, match="candidates of one model"):
        flips.find(np.zeros((2, 3)), np.zeros((3, 3)), None, meaning=meaning("scores"))


def test_outputs_that_are_gone_are_made_again_and_kept(report, tmp_path):
    path = shutil.copytree(report.path, tmp_path / "copy")
    copy = dk.Report.open(path)
    row = next(r for r in copy.rows if "static" in r.label)
    expected = copy.choice_for(row.key).outputs()
    for file in (path / "outputs").iterdir():
        file.unlink()
    said = []
    found = copy.choice_for(row.key).outputs(on_report=lambda *words: said.append(words))
    np.testing.assert_array_equal(found, expected)
    assert [done for done, _, _ in (said[0], said[-1])] == [0, len(expected)]
    assert said[-1] == (len(expected), len(expected), "examples")
    assert len(list((path / "outputs").iterdir())) == 1
    copy.choice_for(row.key).flips()
    assert len(list((path / "outputs").iterdir())) == 2
    shutil.rmtree(path / "steps")
    for file in (path / "outputs").iterdir():
        file.unlink()
    with pytest.raises(CandidateError, match="neither is its file"):
        copy.choice_for(row.key).flips()


def test_outputs_are_made_once_though_several_ask_for_them(report, tmp_path):
    copy = dk.Report.open(shutil.copytree(report.path, tmp_path / "copy"))
    choice = next(copy.choice_for(r.key) for r in copy.rows if "static" in r.label)
    expected = np.array(choice.outputs())
    kept = copy.path / "outputs" / f"{choice.measurement.outputs[:24]}-evaluation.npy"
    kept.unlink()
    said = []
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(choice.outputs, on_report=lambda *words: said.append(words)) for _ in range(3)]
        for one in asked:
            np.testing.assert_array_equal(one.result(), expected)
    assert [done for done, *_ in said].count(0) == 1
    assert kept.is_file()
    assert not list((copy.path / "outputs").glob("*.tmp"))


def test_outputs_of_another_runtime_are_not_kept_as_those_of_the_sweep(report, static, tmp_path):
    copy = dk.Report.open(shutil.copytree(report.path, tmp_path / "copy"))
    older = dataclasses.replace(static.measurement, outputs="f" * 64)
    choice = dataclasses.replace(static, report=copy, result=dataclasses.replace(static.result, measurement=older))
    for file in (copy.path / "outputs").iterdir():
        file.unlink()
    np.testing.assert_array_equal(choice.outputs(), static.outputs())
    assert [f.name for f in (copy.path / "outputs").iterdir()] == [f"{static.measurement.outputs[:24]}-evaluation.npy"]


def test_predictions_come_by_the_names_of_the_original(report, static, tmp_path):
    model = onnx.load(static.exportable().path)
    (output,) = model.graph.output
    model.graph.node.append(helper.make_node("Neg", [output.name], ["negative"]))
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("negative", output.name)
    )
    onnx.save(model, tmp_path / "two.onnx")
    item = dataclasses.replace(static.exportable(), path=tmp_path / "two.onnx")
    x = report.data.splits["evaluation"].take(slice(0, 1)).inputs
    found = predict(item, x)
    assert list(found) == [output.name]  # not the first one of the file
    np.testing.assert_allclose(found[output.name], static.predict(x)[output.name])


def test_a_store_without_its_data_says_so(tmp_path):
    finished = Path(__file__).parents[2] / "notebooks" / "finished"
    report = dk.Report.open(shutil.copytree(finished, tmp_path / "finished"))
    with pytest.raises(StoreError, match="The data of this sweep are not in the store"):
        report.best().flips()


# -- classes --------------------------------------------------------------------------------------------------------


def test_classes_add_up_to_the_whole(report, static):
    found = static.classes()
    assert {r.name for r in found} == set(CLASSES)
    assert sum(r.examples for r in found) == static.measurement.score.examples
    counts = static.flips().counts
    assert sum(r.worse for r in found) == counts["now wrong"]
    assert sum(r.better for r in found) == counts["now right"]
    for row in found:
        assert row.change.low <= row.change.value <= row.change.high
        assert row.after - row.before == pytest.approx(row.change.value)
    values = [r.change.value for r in found]
    assert values == sorted(values)


def test_only_what_stands_after_correction_is_called_sure():
    labels = np.repeat([0, 1], 200)
    before = np.eye(2)[labels]
    after = before.copy()
    after[:40] = [0, 1]  # forty of the first class
    after[200:202] = [1, 0]  # two of the second
    found = class_changes.compare(after, before, labels, ["first", "second"], meaning=meaning("scores"))
    assert [(r.name, r.worse, r.sure) for r in found] == [("first", 40, True), ("second", 2, False)]
    assert "1 of 2 classes lose (first −20.0" in found.summary()


def test_numbers_have_no_classes():
    with pytest.raises(DatasetError, match=r"flips\(\)"):
        class_changes.compare(np.zeros((3, 1)), np.zeros((3, 1)), np.array([0.5, 1.5, 2.0]), meaning=meaning("values"))


def test_another_dataset_is_refused(report, static, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    rng = np.random.default_rng(1)
    data = (rng.normal(0, 1, (60, 16)).astype(np.float32), rng.integers(0, 3, 60))
    space = dk.Space([Recipe()], [Target("onnxruntime")])
    other = dk.sweep(report.model, data, space, store=folder / "s", launches=0, progress=lambda _p: None)
    with pytest.raises(SettingError, match="one sweep"):
        static.flips(other.choice_for(other.baseline))


# -- calibration ----------------------------------------------------------------------------------------------------


def test_calibration_is_that_of_the_outputs_and_the_report_says_it(report, static):
    found = static.calibration()
    labels, before, after = report.data.labels(), report.choice_for(report.baseline).scores(), static.scores()
    for shares, error in ((before, found.before), (after, found.after)):
        sure, right = shares.max(axis=1), shares.argmax(axis=1) == labels
        bins = [(sure >= low / 15) & (sure < (low + 1) / 15) for low in range(15)]
        assert error == pytest.approx(sum(abs((right[b] - sure[b]).sum()) for b in bins) / len(sure), abs=1e-6)
    assert static.changed() == [static.flips().summary(), static.classes().summary(), found.summary()]
    shown = page(report, report.goal(), static, lambda dark: report.chart(dark=dark))
    assert "What compression changed" in shown
    assert all(line in html.unescape(shown) for line in static.changed())


def test_what_was_not_kept_is_left_out_of_the_report_and_runs_nothing(report, tmp_path):
    shutil.copytree(report.path, tmp_path / "s")
    shutil.rmtree(tmp_path / "s" / "outputs")
    copied = dk.Report.open(tmp_path / "s")
    choice = next(copied.choice_for(r.key) for r in copied.rows if "static" in r.label)
    assert choice.changed() == []
    assert report.choice_for(report.baseline).changed() == []
    shown = page(copied, copied.goal(), choice, lambda dark: copied.chart(dark=dark))
    assert "What compression changed" not in shown
    assert not (tmp_path / "s" / "outputs").exists()


# -- why ------------------------------------------------------------------------------------------------------------


def test_why_has_every_layer_of_the_profile_the_largest_difference_first(static):
    found = static.why()
    assert {r.state for r in found} <= {"kept", "added", "gone"}
    assert len(found) == len(static.layers())
    sizes = [abs(r.difference_us) for r in found]
    assert sizes == sorted(sizes, reverse=True)
    assert found.after_us > 0
    assert found.cause.endswith(".")
    for row in found:
        assert (row.before_us is None) == (row.state == "added")
        assert (row.after_us is None) == (row.state == "gone")
        assert row.share is None


def test_without_a_profile_shares_are_an_estimate(report, tmp_path):
    path = shutil.copytree(report.path, tmp_path / "copy")
    with sqlite3.connect(path / "store.sqlite") as db:
        rows = db.execute("SELECT context, key, data FROM rows").fetchall()
        for context, key, data in rows:
            row = json.loads(data)
            if "dynamic" in row["label"]:
                row["measurement"]["profile"] = ""
                db.execute("UPDATE rows SET data = ? WHERE context = ? AND key = ?", (json.dumps(row), context, key))
    db.close()
    copy = dk.Report.open(path)
    found = next(copy.choice_for(r.key) for r in copy.rows if "dynamic" in r.label).why()
    assert found.estimate
    assert "Estimate" in found.note
    assert sum(r.share for r in found) == pytest.approx(1)
    assert found.to_frame()[["before_us", "after_us", "difference_us"]].isna().all(axis=None)
    assert found.to_frame()["share"].is_monotonic_decreasing


# -- weights --------------------------------------------------------------------------------------------------------


def test_quantized_weights_are_compared_as_real_numbers(report, static):
    found = static.weights()
    assert {r.layer for r in found} == {"hidden", "class"}
    assert found.same_format
    for row in found:
        assert row.matched == "name"
        assert (row.before.stored, row.after.stored) == ("float32", "int8")
        assert row.after.scaled
        assert row.after.deviation == pytest.approx(row.before.deviation, rel=0.05)
        assert sum(row.after.histogram) == row.after.count == row.before.count
    assert not found.notes
    assert "int8" in str(found)


def test_a_file_that_is_gone_is_an_error(report, static, tmp_path):
    path = shutil.copytree(report.path, tmp_path / "copy")
    shutil.rmtree(path / "steps")
    with pytest.raises(CandidateError, match="run the same sweep again"):
        dk.Report.open(path).choice_for(static.key).weights()


# -- sensitivity ----------------------------------------------------------------------------------------------------


def test_levels_without_a_pass_are_columns_without_numbers(report):
    table = report.sensitivity_table()
    assert [level.measured for level in table.levels] == [False] * 3
    assert table.to_frame().isna().all(axis=None)
    assert table.layers == ("hidden", "class")
    plan = dk.plan(report.model, report.data, table.to_measure(0), store=report.path, launches=0)
    assert plan.expected.seconds > 0


def test_names_a_technique_does_not_know_cannot_be_left_out(report):
    table = report.sensitivity_table()
    (hidden, *_), *_ = table.cells
    assert hidden.names == ("hidden",)  # the technique reads the original model
    unknown = dataclasses.replace(table, cells=((SensitivityCell(),) * 3, *table.cells[1:]))
    with pytest.raises(SettingError, match="measure this level first"):
        unknown.leaving_out(0, 0)


def test_a_pass_fills_its_column(report, tmp_path):
    path = shutil.copytree(report.path, tmp_path / "copy")
    done = dk.sensitivity(report.model, report.data, "quantize_static", store=path, progress=lambda _p: None)
    table = dk.Report.open(path).sensitivity_table()
    (column,) = [i for i, level in enumerate(table.levels) if level.measured]
    losses = {r.name: r.only.drop for r in done.rows if r.kind == "layer"}
    assert {layer: cells[column].drop for layer, cells in table} == losses
    assert table.layers == ("hidden", "class", "softmax")
    recipe = table.leaving_out(0, column)
    assert recipe.steps[0].parameters["exclude"] == table.layers[0]
    plan = dk.plan(report.model, report.data, dk.Space([recipe], [Target("onnxruntime")]), launches=0)
    assert not [left for left in plan.left_out if "exclude" in left.reason]


def test_default_names_of_layers_stay_apart(report, tmp_path):
    path = shutil.copytree(report.path, tmp_path / "copy")
    given = ["conv2d", "conv2d_1", "conv2d_2"]
    traced = ["functional/conv2d/Conv", "functional/conv2d_1/Conv", "functional/conv2d_2/Conv"]
    twice = ["functional_1/conv2d_1/Conv", "functional_1/conv2d_1_2/Conv", "functional_1/conv2d_2_1/Conv"]
    store = Store(path)
    for number, names in enumerate((given, traced, twice)):
        rows = []
        for i, name in enumerate(names):
            loss = Interval(number + i / 10, 0, 1)
            rows.append(SensitivityRow(name, "layer", "Conv", i, (name,), 9, Damage("", loss, loss)))
        done = Sensitivity(
            "quantize_static", {"calibration": ["minmax", "entropy", "percentile"][number]},
            Target("onnxruntime"), "accuracy", relative=False, examples=9, whole=None, rows=tuple(rows),
            model=report.model.digest, data=report.facts["data"],
        )  # fmt: skip
        store.put_record("sensitivity", str(number), done.to_json())
    table = dk.Report.open(path).sensitivity_table()
    assert table.layers == ("conv2d", "conv2d_1", "conv2d_2")
    columns = [place for place, level in enumerate(table.levels) if level.measured]
    found = sorted([cells[place].drop.value for _, cells in table] for place in columns)
    assert found == [[0.0, 0.1, 0.2], [1.0, 1.1, 1.2], [2.0, 2.1, 2.2]]


def test_shared_folders_are_left_out_of_names():
    assert shortened(["a/b/c/x", "a/b/d", "Conv_1"]) == ["c/x", "d", "Conv_1"]
    assert shortened(["a/x", "x", "a/y"]) == ["a/x", "x", "a/y"]
    assert shortened(["a/x"]) == ["a/x"]

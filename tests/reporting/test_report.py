"""The report of a real sweep: rows, frames, charts, pages, choice, explanation."""

import dataclasses
import json
import re

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import CandidateError, ExportError, GoalMissed, SettingError
from deploykit.core.result import Interval
from deploykit.reporting.evidence import layers
from deploykit.reporting.views import tradeoff
from deploykit.storage.rows import Rows
from deploykit.testing import models


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    model = dk.load(models.build("cnn_onnx", folder))
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(
        rng.random((300, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 300), classes=["a", "b", "<img src=x>"]
    )
    space = dk.Space(
        [Recipe((Step("quantize_dynamic"),))], [Target("onnxruntime"), Target("onnxruntime", device="cuda")]
    )
    with pytest.MonkeyPatch.context() as patch:  # the GPU is lost after it was found: its candidates fail
        patch.setattr("deploykit.sweeping.run.check_devices", lambda _targets: None)
        return dk.sweep(model, data, space, store=folder / "s", launches=2, progress=lambda _p: None)


def test_the_frame_has_flat_columns_with_units(report):
    frame = report.to_frame()
    assert len(frame) == 4
    assert {"p50_ms", "p50_ms_low", "speedup", "size_bytes", "change_high", "cause", "remedy", "log"} <= set(
        frame.columns
    )
    assert frame["is_baseline"].sum() == 1
    assert frame.loc[report.baseline, "speedup"] == 1
    assert (frame[frame.status == "failed"]["cause"] != "").all()


def test_what_a_model_takes_beside_latency(report):
    frame = report.to_frame(price_per_hour=0.36)
    timed = frame[frame.status == "measured"]
    assert (timed.load_ms > 0).all()
    assert (timed.first_ms > 0).all()
    assert (timed.throughput_low < timed.throughput).all()
    # one million predictions one after the other, in hours, at that price
    assert timed.cost_per_million.to_numpy() == pytest.approx((0.36e6 / 3600 / timed.throughput).to_numpy())
    assert (timed.throughput * timed.p50_ms / 1000).between(0.2, 1.5).all()  # a mean beside a median, batch size 1
    for name in ("cold_load_ms", "energy_mj"):  # measured, or it says why
        assert (timed[name].notna() | timed.not_measurable.str.contains(name)).all()
    assert report.to_frame().cost_per_million.isna().all()
    assert frame[frame.status == "failed"].load_ms.isna().all()
    with pytest.raises(SettingError, match="price_per_hour"):
        report.to_frame(price_per_hour=-1)
    assert report.best(minimize="cost", max_drop=1).met
    said = report.best(max_drop=1, price_per_hour=0.36).explain()
    assert "Loads in" in said
    assert "A million predictions cost" in said


def test_json_is_complete_and_comes_back(report, tmp_path):
    data = json.loads(report.save(tmp_path / "deep" / "r.json").read_text())
    assert data["schema"] == 1
    assert {r["key"] for r in data["rows"]} == {r.key for r in report.rows}
    assert all("status" in r for r in data["rows"])
    assert data["best"] in {r["key"] for r in data["rows"]}


def test_opening_gives_the_same_report(report):
    assert dk.Report.open(report.path).rows == report.rows


def test_chart_rows_are_plain_and_complete(report):
    points = tradeoff.points(report.rows, report.baseline)
    assert len(points) == 2
    assert sum(p["is_baseline"] for p in points) == 1
    for point in points:
        assert point["p50_ms_low"] <= point["p50_ms"] <= point["p50_ms_high"]
        assert point["change_low"] <= point["change"] <= point["change_high"]
    json.dumps(points)


def test_the_chart_draws_on_every_axis(report):
    for x in tradeoff.AXES:
        assert tradeoff.png(report.chart(x=x), scale=1)[:4] == b"\x89PNG"
    with pytest.raises(SettingError, match="known: compressed_size"):
        report.chart(x="beauty")


def test_the_limits_word_is_not_on_the_axis(report):
    def place(max_drop):
        marks = [layer["mark"] for layer in report.chart(max_drop=max_drop).to_dict()["layer"]]
        (word,) = (mark for mark in marks if mark.get("text") == "your limit")
        return word["baseline"], word["dy"]

    assert place(0.001) == ("top", 4)
    assert place(0.3) == ("bottom", -4), "the limit is the chart's lower end"


def test_the_page_needs_no_network_and_escapes_text(report, tmp_path):
    page = report.to_html(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == page
    outside = re.findall(r"""(?:src|href|url\()\s*=?\s*["']?(https?://[^"'\s)]+)""", page)
    assert outside == []
    assert "<script" not in page
    assert "failed" in page


def test_the_notebook_form_has_text_and_pictures(report):
    bundle = report._repr_mimebundle_()
    assert "Candidate" in bundle["text/plain"]
    assert "data:image/svg+xml" in bundle["text/html"]


def test_best_explains_itself(report):
    best = report.best(max_drop=0.5)
    assert best.met
    text = best.explain()
    assert best.result.label in text
    assert "evaluation examples" in text
    assert "held-out examples" in text
    assert best.require() is best
    sure = best.measurement.latency.speedup.low
    assert best.require(min_speedup=sure) is best
    with pytest.raises(
        GoalMissed, match=r"is confirmed to be .*× as fast as the original model .*; min_speedup=1000 was"
    ):
        best.require(min_speedup=1000)


def test_an_impossible_goal_returns_the_best_so_far(report):
    best = report.best(max_drop=-0.5)
    assert not best.met
    assert "No candidate is confirmed to stay within" in best.reason
    assert "Goal missed" in best.explain()
    with pytest.raises(GoalMissed, match="No candidate is confirmed to stay within"):
        best.require()


def test_a_layout_that_holds_nothing(report):
    with pytest.raises(CandidateError, match="TensorFlow Serving takes SavedModel, not ONNX\\."):
        report.best(layout="tfserving")
    with pytest.raises(SettingError, match=r"known: .*folder, .*tfserving"):
        report.best(layout="floppy")


def test_a_candidate_by_the_beginning_of_its_key(report):
    row = report.rows[0]
    assert report.choice_for(row.key[:8]).result == row
    with pytest.raises(SettingError, match="Unknown candidate"):
        report.choice_for("zzz")


def test_a_failed_candidate_cannot_be_exported(report, tmp_path):
    failed = next(r for r in report.rows if r.status == "failed")
    with pytest.raises(dk.DeploykitError, match="cannot be exported"):
        dk.export(report.choice_for(failed.key), tmp_path / "out")


def test_predictions_come_from_a_child(report):
    outputs = report.best(max_drop=1).predict(report.data.sample(3))
    assert outputs["probabilities"].shape == (3, 3)
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1, atol=0.05)


# -- layers ---------------------------------------------------------------------------------------------------------


def quantized(report):
    return next(report.choice_for(r.key) for r in report.rows if r.measurement and r.measurement.profile)


def test_a_candidate_says_where_its_time_goes(report):
    choice = quantized(report)
    found = choice.layers()
    assert {"conv", "matmul"} <= {layer["kind"] for layer in found}
    assert any(layer["float_ms"] and layer["ms"] for layer in found)
    for finding in choice.measurement.findings:
        assert finding.text in choice.explain()


def test_suggestions_are_recipes_that_are_not_in_the_report(report):
    choice = quantized(report)
    fixes = {f.fix.key for f in choice.measurement.findings if f.fix is not None}
    assert fixes
    assert {recipe.key for recipe in choice.suggested()} == fixes - {r.candidate.recipe.key for r in report.rows}
    assert dk.Space(choice.suggested(), [choice.result.candidate.target]).recipes


def test_the_chart_of_layers_draws_the_slowest_and_sums_up_the_rest(report):
    choice = quantized(report)
    bars = layers.bars(choice._comparison(), top=3)
    assert len(bars) == 8
    assert len({(b["layer"], b["side"]) for b in layers.bars(choice._comparison(), top=50)}) >= 2 * len(choice.layers())
    whole = {side: sum(b["ms"] for b in bars if b["side"] == side) for side in ("float32", "this candidate")}
    assert whole["float32"] == pytest.approx(sum(x["float_ms"] or 0 for x in choice.layers()))
    assert whole["this candidate"] == pytest.approx(sum(x["ms"] or 0 for x in choice.layers()))
    assert tradeoff.png(choice.chart_layers(top=3), scale=1)[:4] == b"\x89PNG"


def test_without_a_profile_the_reason_is_said(report):
    with pytest.raises(CandidateError, match="no profile of original"):
        report.choice_for(report.baseline).chart_layers()


@pytest.mark.long
def test_a_notebook_with_thousands_of_candidates_stays_small(report):
    like = next(r for r in report.rows if r.key != report.baseline and r.status == "measured")
    slower = dataclasses.replace(
        like.measurement,
        # Steady times: how much of the picture is bars of intervals must not depend on how quiet the machine was.
        latency=dataclasses.replace(
            like.measurement.latency, p50_ms=Interval(0.5, 0.49, 0.51), speedup=Interval(0.2, 0.19, 0.21)
        ),
        scores=(dataclasses.replace(like.measurement.score, drop=Interval(0.5, 0.4, 0.6)),),
    )
    many = [dataclasses.replace(like, key=f"k{i}", label=f"beaten {i}", measurement=slower) for i in range(2000)]
    text = dataclasses.replace(report, rows=Rows.of([*report.rows, *many]))._repr_mimebundle_()["text/html"]
    assert len(text) < 1_500_000
    assert re.search(r"\b[34] of 2,004 rows", text)
    assert text.count(">failed<") == 2
    assert "beaten 7" not in text
    assert "beaten" not in report._repr_mimebundle_()["text/html"]


def test_the_text_says_what_was_left_out_and_why(report):
    given = [{"label": f"int8 on {name}", "reason": "no labels"} for name in ("A", "B", "C")]
    shown = str(dataclasses.replace(report, facts={**report.facts, "left_out": given}))
    assert "left out: int8 on A and 2 more: no labels\n" in shown
    assert "left out" not in str(dataclasses.replace(report, facts={**report.facts, "left_out": []}))


def test_an_original_that_has_changed_since_is_not_taken_for_it(report, tmp_path):
    original = report.choice_for(report.baseline)
    path = original.exportable().path
    content = path.read_bytes()
    try:
        path.write_bytes(content + b"\0")
        with pytest.raises(ExportError, match="has changed since it was measured"):
            dk.export(original, tmp_path / "out")
    finally:
        path.write_bytes(content)
    assert original.exportable().path == path

"""Parallel coordinates: which settings are axes, and where values stand on them."""

from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.result import Result
from deploykit.reporting.settings import settings
from deploykit.reporting.views import parallel, tradeoff

FINISHED = Path(__file__).parents[2] / "notebooks" / "finished"


def row(key, *steps, runtime="litert", family="prune", threads=1):
    candidate = Candidate(Recipe(tuple(steps)), Target(runtime, threads=threads))
    return Result(key, candidate, "measured", key, family)


def test_what_all_candidates_share_is_left_out():
    rows = [
        row("a", Step("prune_magnitude", {"sparsity": 0.5, "epochs": 2})),
        row("b", Step("prune_magnitude", {"sparsity": 0.8, "epochs": 2}), runtime="onnxruntime"),
        row("c", family="original"),
    ]
    found, values = settings(rows)
    assert [s.name for s in found] == ["family", "runtime", "prune_magnitude.sparsity"]
    assert [s.options for s in found] == [("original", "prune"), ("LiteRT", "ONNX Runtime"), ()]
    assert found[2].unit == "%"
    assert values["a"] == {"family": "prune", "runtime": "LiteRT", "prune_magnitude.sparsity": 50.0}
    assert "prune_magnitude.sparsity" not in values["c"]


def test_a_default_is_a_value_like_any_other():
    rows = [
        row("a", Step("quantize_static"), family="quantize"),
        row("b", Step("quantize_static", {"per_channel": True}), family="quantize"),
    ]
    found, values = settings(rows)
    assert [(s.name, s.options) for s in found] == [("quantize_static.per_channel", ("no", "yes"))]
    assert [v["quantize_static.per_channel"] for v in values.values()] == ["no", "yes"]


def test_settings_of_the_same_name_are_named_by_their_technique():
    rows = [
        row(f"{step.technique}{step.parameters}", step)
        for step in (
            Step("prune_magnitude", {"sparsity": 0.5, "epochs": 1}),
            Step("prune_magnitude", {"sparsity": 0.5, "epochs": 2}),
            Step("not_installed", {"epochs": 3}),
            Step("not_installed", {"epochs": 4}),
        )
    ]
    labels = [s.label for s in settings(rows)[0]]
    assert len(labels) == len(set(labels)) == 2


def test_values_stand_where_numpy_puts_them():
    report = dk.Report.open(FINISHED)
    points = tradeoff.points(report.rows, report.baseline)
    listed, values = settings(report.rows)
    axes = parallel.axes(listed, values, points, "pp", True)
    by_title = {axis.title: axis for axis in axes}
    records = parallel.lines(values, points, axes)
    assert len(records) == len(points) * len(axes)
    latency = np.log([p["p50_ms"] for p in points])
    expected = (latency.max() - latency) / np.ptp(latency)
    found = [r["position"] for r in records if r["axis"] == "p50, ms"]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    change = np.array([p["change"] for p in points])
    found = [r["position"] for r in records if r["axis"] == "change, pp"]
    np.testing.assert_allclose(found, (change - change.min()) / np.ptp(change), atol=1e-12)
    runtimes = sorted({p["runtime"] for p in points})
    for record in records:
        if record["axis"] == "runtime":
            expected = (runtimes.index(record["value"]) + 0.5) / len(runtimes)
            assert record["position"] == pytest.approx(expected)
        if record["value"] == "not used":
            assert record["position"] == parallel.UNUSED
    assert [text for _at, text in by_title["sparsity, %"].ticks()] == ["50", "80"]


def test_less_is_up_where_less_is_better():
    axis = parallel.Axis("p50_ms", "p50, ms", (), low=4.0, high=1.0)
    assert axis.position(1.0) == 1
    assert axis.position(4.0) == 0
    assert axis.ticks()[0] == (0.0, "4")


def test_the_chart_draws_in_light_and_dark_and_says_what_it_shows():
    report = dk.Report.open(FINISHED)
    for dark in (False, True):
        chart = report.chart_settings(dark=dark)
        assert tradeoff.png(chart, scale=1)[:4] == b"\x89PNG"
    best = report.best().result
    assert f"{len(report.rows)} candidates" in chart.description
    assert f"The thick line is {best.label} on LiteRT" in chart.description
    assert "image/svg+xml" in chart._repr_mimebundle_()
    lonely = dk.Report(report.path, [report.row(report.baseline)], report.facts).chart_settings()
    assert tradeoff.png(lonely, scale=1)[:4] == b"\x89PNG"

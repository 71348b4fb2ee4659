"""The report's page: labels instead of names of files, and the verdicts that everything else says."""

import html
import re
from pathlib import Path

import deploykit as dk
from deploykit.core.candidate import Target
from deploykit.reporting.places import place

FINISHED = Path(__file__).parents[2] / "notebooks" / "finished"


def texts(page):
    return html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page)).replace("\xa0", " ")


def test_runtimes_are_called_what_people_call_them():
    assert place(Target("litert", threads=2)) == "LiteRT · 2 threads"
    assert place(Target("onnxruntime", device="cuda", batch_size=8)) == "ONNX Runtime cuda · batch 8"
    assert place(Target("not_installed")) == "not_installed"
    report = dk.Report.open(FINISHED)
    said = texts(report.to_html())
    assert "LiteRT · 2 threads" in said
    for name in ("litert", "onnxruntime ", "· cpu ·"):
        assert name not in said.partition("Measured on")[0], name
    assert "LiteRT" in str(report.chart().to_dict())
    assert "litert" not in str(report.chart().to_dict())


def test_every_candidate_has_the_verdict_that_is_said_elsewhere():
    report = dk.Report.open(FINISHED)
    said = texts(report.to_html())
    for row in report.rows:
        assert report.choice_for(row.key).verdict().headline in said
    best = report.best()
    assert str(best.verdict()) in said
    assert str(best.verdict()) in best.explain()


def test_the_page_is_about_the_goal_it_is_asked_for():
    report = dk.Report.open(FINISHED)
    smallest = min(
        (r for r in report.rows if r.measurement.score.drop.high <= 0.02), key=lambda r: r.measurement.size_bytes
    )
    said = texts(report.to_html(minimize="size", max_drop=0.02))
    assert "the lowest size, with a loss of at most 2.0 pp" in said
    assert f"Best so far: {smallest.label}" in re.sub(r"\s+", " ", said)
    missed = texts(report.to_html(max_drop=-0.5))
    assert "Closest so far" in missed


def test_names_from_files_are_text_in_the_page_and_in_its_style():
    report = dk.Report.open(FINISHED)
    facts = report.facts | {"metric": 'x"}</style><img src=y onerror=alert(1)>'}
    page = dk.Report(report.path, report.rows, facts).to_html()
    assert "<img src=y" not in page
    assert page.count("</style>") == 1


def test_a_star_marks_the_sweet_spot_and_the_legend_names_it():
    report = dk.Report.open(FINISHED)
    best = report.best(max_drop=0.005)
    chart = report.chart(max_drop=0.005)
    stars = [layer for layer in chart.to_dict()["layer"] if "sweet" in str(layer.get("encoding"))]
    (star,) = stars
    (point,) = star["data"]["values"]
    assert point["key"] == best.key
    assert point["p50_ms"] == best.measurement.latency.p50_ms.value
    assert star["encoding"]["opacity"]["scale"]["domain"] == ["best within 0.5 pp"]
    assert "Sweet spot (best within 0.5 pp)" in chart.description
    missed = report.chart(max_drop=-0.5)
    assert "sweet spot" not in str(missed.to_dict())
    assert "Chosen: " in missed.description

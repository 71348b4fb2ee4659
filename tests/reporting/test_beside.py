"""Two reports side by side: pairs, what may be claimed, and what must not be compared."""

import dataclasses
import json
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import SettingError
from deploykit.core.result import Interval
from deploykit.reporting import beside
from deploykit.reporting.views import tradeoff
from deploykit.storage.store import Store

FINISHED = Path(__file__).parents[2] / "notebooks" / "finished"


@pytest.fixture(scope="module")
def report():
    return dk.Report.open(FINISHED)


def altered(report, *, keep=lambda row: True, facts=None, **changes):
    """The report as another sweep might have found it.

    ``speed`` divides all latencies but the baseline's, ``drift`` multiplies all, ``change`` is added to qualities,
    ``size`` multiplies sizes, ``cpu`` names the machine.
    """
    rows = []
    for row in report.rows:
        if not keep(row):
            continue
        measured = row.measurement
        latency, score = measured.latency, measured.score
        speed = 1.0 if row.key == report.baseline else changes.get("speed", 1.0)
        slow = changes.get("drift", 1.0) / speed
        latency = dataclasses.replace(
            latency,
            p50_ms=Interval(*(slow * v for v in dataclasses.astuple(latency.p50_ms))),
            speedup=Interval(*(speed * v for v in dataclasses.astuple(latency.speedup))),
        )
        more = 0.0 if row.key == report.baseline else changes.get("change", 0.0)
        score = dataclasses.replace(score, change=Interval(*(v + more for v in dataclasses.astuple(score.change))))
        environment = measured.environment | ({"cpu": changes["cpu"]} if "cpu" in changes else {})
        measured = dataclasses.replace(
            measured,
            latency=latency,
            scores=(score, *measured.scores[1:]),
            size_bytes=round(changes.get("size", 1) * measured.size_bytes),
            environment=environment,
        )
        rows.append(dataclasses.replace(row, measurement=measured))
    return dk.Report(Path("/elsewhere/today"), rows, {**report.facts, **(facts or {})})


def by_key(found):
    return {pair.key: pair for pair in found}


def test_a_report_beside_itself_has_not_changed(report):
    compared = dk.compare_reports(report, FINISHED)
    assert {c.claim for p in compared.pairs for c in (p.quality, p.latency, p.size)} == {"same"}
    assert compared.obstacles == compared.notes == []
    assert compared.summary == f"{len(report.rows)} candidates in both; no change found."


def test_speed_ups_are_compared_with_intervals_that_numpy_gives(report):
    other = altered(report, speed=1.2)
    found = by_key(beside.pairs(report, other))
    assert found[report.baseline].latency.claim == "same"
    z = NormalDist().inv_cdf(1 - 0.025 / len(found)) / 1.959964
    claims = set()
    for row in report.rows:
        if row.key == report.baseline:
            continue
        own = np.log(dataclasses.astuple(row.measurement.latency.speedup))
        below, above = own[0] - own[1], own[2] - own[0]
        half = np.hypot(below, above)
        by = found[row.key].latency.by
        np.testing.assert_allclose(
            np.log([by.value, by.low, by.high]), np.log(1.2) + np.array([0, -half, half]), atol=1e-9
        )
        margin = np.log1p(max(0.02, row.measurement.latency.noise_floor))
        expected = "better" if np.log(1.2) - z * half > margin else "same"
        assert found[row.key].latency.claim == expected
        claims.add(expected)
    assert "better" in claims


def test_what_slowed_the_whole_machine_down_divides_out_and_is_said(report):
    compared = dk.compare_reports(report, altered(report, drift=1.3))
    assert {p.latency.claim for p in compared.pairs} == {"same"}
    assert any("took 1.30× as long in B as in A" in note for note in compared.notes)


def test_qualities_are_compared_with_both_intervals(report):
    compared = dk.compare_reports(report, altered(report, change=-0.05))
    for pair in compared.pairs:
        if pair.key == report.baseline:
            assert pair.quality.by == Interval(0, 0, 0)
            continue
        own = pair.a.measurement.score.change
        half = np.hypot(own.value - own.low, own.high - own.value)
        np.testing.assert_allclose(
            dataclasses.astuple(pair.quality.by), 100 * (np.array([0, -half, half]) - 0.05), atol=1e-9
        )
        assert pair.quality.claim == "worse"
    assert "less accurate −5.00" in str(compared)


def test_for_errors_more_is_worse(report):
    higher = altered(report, change=0.05)
    rows = [
        dataclasses.replace(
            row,
            measurement=dataclasses.replace(
                row.measurement, scores=(dataclasses.replace(row.measurement.score, higher_is_better=False),)
            ),
        )
        for row in report.rows
    ]
    error = dk.Report(report.path, rows, report.facts)
    claims = {p.quality.claim for p in beside.pairs(error, higher) if p.key != report.baseline}
    assert claims == {"worse"}


@pytest.mark.parametrize(
    ("size", "claim", "said"),
    [(0.5, "better", "smaller 0.50×"), (1.02, "worse", "larger 1.02×"), (1.002, "same", "no change found")],
)
def test_sizes_are_compared_as_far_as_they_are_shown(report, size, claim, said):
    compared = dk.compare_reports(report, altered(report, size=size))
    for pair in compared.pairs:
        assert pair.size.claim == claim
        assert pair.size.by.value == pytest.approx(size, abs=1e-4)
    assert said in str(compared)


@pytest.mark.parametrize(
    ("facts", "changes", "kind", "untouched"),
    [
        ({}, {"cpu": "Another CPU"}, "machine", ("quality", "size")),
        ({"data": "data/0123"}, {}, "data", ("latency", "size")),
        ({"metric": "label_f1"}, {}, "metric", ("latency", "size")),
        ({"model": {"digest": "f" * 64}}, {}, "model", ()),
        ({"baseline": "000"}, {}, "baseline", ("size",)),
    ],
)
def test_what_must_not_be_compared_is_named_and_not_claimed(report, facts, changes, kind, untouched):
    facts = {**facts, **({"model": {**report.facts["model"], **facts["model"]}} if "model" in facts else {})}
    other = altered(report, speed=1.5, change=-0.1, size=0.5, facts=facts, **changes)
    compared = dk.compare_reports(report, other)
    assert [o.kind for o in compared.obstacles] == [kind]
    assert compared.obstacles[0].text in compared.notes
    for pair in compared.pairs:
        for name in ("quality", "latency", "size"):
            changed = getattr(pair, name)
            assert (changed.claim == "not compared") == (name not in untouched), name
            if changed.claim == "not compared":
                assert changed.by is None
                assert changed.why == compared.obstacles[0].short
    if kind == "machine":
        assert "Another CPU, 2 cores in B" in compared.obstacles[0].text
        assert "latency not compared: other machine" in beside.in_one_line(
            by_key(compared.pairs)[report.baseline], "pp"
        )


def test_candidates_of_one_report_alone_are_rows_too(report):
    first, *rest = [row.key for row in report.rows if row.key != report.baseline]
    one = altered(report, keep=lambda row: row.key != first)
    other = altered(report, keep=lambda row: row.key not in rest[:2])
    compared = dk.compare_reports(one, other)
    lonely = {p.key: p.quality.why for p in compared.pairs if not (p.a and p.b)}
    assert lonely == {first: "only in B", rest[0]: "only in A", rest[1]: "only in A"}
    assert "2 only in A, 1 only in B" in compared.summary
    assert len(compared.to_frame()) == len(report.rows)


def test_the_two_charts_have_the_same_axes_and_their_own_fronts(report):
    other = altered(report, speed=4, change=-0.02)
    compared = dk.compare_reports(report, other)
    left, right = compared.chart().to_dict()["hconcat"]

    def domain(chart, channel):
        return next(
            layer["encoding"][channel]["scale"]["domain"]
            for layer in chart["layer"]
            if "domain" in str(layer.get("encoding", {}).get(channel, {}).get("scale", {}))
        )

    points = [tradeoff.points(r.rows, r.baseline) for r in (report, other)]
    for channel, low, high in (("x", "p50_ms", "p50_ms"), ("y", "change_low", "change_high")):
        assert domain(left, channel) == domain(right, channel)
        for side in points:
            assert domain(left, channel)[0] <= min(p[low] for p in side)
            assert domain(left, channel)[1] >= max(p[high] for p in side)
    assert tradeoff.png(compared.chart(dark=True), scale=1)[:4] == b"\x89PNG"
    with pytest.raises(SettingError, match="axis"):
        compared.chart(x="beauty")
    keys = [
        {v["key"] for layer in c["layer"] for v in layer.get("data", {}).get("values", ()) if "key" in v}
        for c in (left, right)
    ]
    assert keys[0] == {p["key"] for p in points[0]}
    assert len(points[0]) == len(keys[0])


def test_it_is_shown_as_text_page_notebook_and_json(report, tmp_path):
    compared = dk.compare_reports(report, altered(report, speed=1.5))
    assert compared.names == (FINISHED.name, "today")
    page = compared.to_html(tmp_path / "deep" / "c.html")
    assert (tmp_path / "deep" / "c.html").read_text("utf-8") == page
    assert "<script" not in page
    bundle = compared._repr_mimebundle_()
    assert "data:image/svg+xml" in bundle["text/html"]
    assert bundle["text/plain"].count("Best in ") == 2
    data = json.loads(json.dumps(compared.to_json()))
    assert data["schema"] == 1
    assert {row["key"] for row in data["rows"]} == {row.key for row in report.rows}
    frame = compared.to_frame()
    assert frame.loc[report.baseline, "p50_ms_a"] == report.row(report.baseline).measurement.latency.p50_ms.value


def test_names_from_files_are_text(report):
    rows = [dataclasses.replace(row, label="<img src=x>") for row in report.rows]
    page = dk.compare_reports(dk.Report(Path("/x/<b>a"), rows, report.facts), report).to_html()
    assert "<img src=x>" not in page
    assert "<b>a" not in page


def test_stores_that_are_opened_from_disk_are_paired(report, tmp_path):
    other = altered(report, size=0.5)
    store = Store(tmp_path / "today", create=True)
    store.put_sweep("c", other.facts)
    for place, row in enumerate(other.rows):
        store.put_row("c", place, row)
    compared = dk.compare_reports(FINISHED, tmp_path / "today")
    assert {p.size.claim for p in compared.pairs} == {"better"}

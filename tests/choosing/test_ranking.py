"""Devices ranked by their best candidate, each with a front of its own, under limits."""

from dataclasses import replace

import pytest

import deploykit as dk
from deploykit.choosing.goals import Goal
from deploykit.choosing.ranking import Limits, best_of, quantity
from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.errors import SettingError
from deploykit.core.result import Footprint, Interval, Latency, Measurement, Result, Score
from deploykit.reporting.report import Report

PLACE = {"features": [], "machine": "x86_64", "system": "Linux"}
BIG = {**PLACE, "cpu": "Big", "cores": 64, "host": "rack"}
SMALL = {**PLACE, "cpu": "Small", "cores": 4, "host": "shelf"}


def around(value):
    return Interval(value, 0.9 * value, 1.1 * value)


def row(name, device, p50_ms, drop=0.0, *, environment=BIG, energy=None, per_second=None):
    candidate = Candidate(Recipe((Step(name),)), Target("onnxruntime", device))
    score = Score("accuracy", 0.9 - drop, Interval(-drop, -drop, -drop), Interval(drop, drop, drop), 1000)
    latency = Latency(around(p50_ms), 1, 2, around(10 / p50_ms), None, 1.0, 10, 1000, 0.01)
    footprint = Footprint(throughput=per_second and around(per_second), energy_mj=energy and around(energy))
    measured = Measurement((score,), latency, 1000, 500, environment=environment, footprint=footprint)
    return Result(
        f"{name} {device} {environment['cpu']}", candidate, "measured", name, "quantize", "onnx", measurement=measured
    )


ROWS = [
    row("base", "cpu", 10.0, energy=50, per_second=100),
    row("int8", "cpu", 4.0, 0.001, energy=20, per_second=250),
    row("ruined", "cpu", 1.0, 0.3, energy=5, per_second=1000),
    row("base", "cuda", 2.0, energy=200, per_second=500),
    row("half", "cuda", 1.5, 0.0005, energy=150, per_second=700),
]


@pytest.fixture
def report(small_report):
    return replace(small_report, rows=ROWS)


@pytest.fixture(scope="module")
def small_report():
    return Report.open("notebooks/finished")


def ranks(ranking):
    return [(e.device, e.choice.result.label, e.met) for e in ranking.entries]


def test_each_device_has_its_best_and_the_fastest_is_first(report):
    ranking = dk.rank_devices(report)
    assert ranks(ranking) == [("cuda", "half", True), ("cpu", "int8", True)]
    assert ranking.entries[0].lowest == around(1.5)
    assert "2 of 2 devices meet all limits" in ranking.summary
    assert "cuda of Big, 64 cores (rack)" in ranking.summary


def test_limits_hold_at_the_far_end_of_the_interval(report):
    assert ranks(dk.rank_devices(report, max_p50_ms=1.651))[0] == ("cuda", "half", True)
    misses = dk.rank_devices(report, max_p50_ms=1.64)
    assert [e.met for e in misses.entries] == [False, False]
    assert misses.entries[0].verdict == "p50 may be 1.65 ms, 1.64 is the limit"
    assert misses.summary == "No device meets all limits."
    ranking = dk.rank_devices(report, max_energy_mj=30)
    assert ranks(ranking) == [("cpu", "int8", True), ("cuda", "half", False)]


def test_what_is_not_known_does_not_keep_a_limit():
    unknown = [row("base", "cpu", 1.0)]
    found = best_of(unknown, Goal(), Limits(energy_mj=5.0), relative=False)
    assert found.missed == ("energy is not known",)


def test_costs_follow_the_price_of_each_device(report):
    ranking = dk.rank_devices(report, minimize="cost", price_per_hour={"cpu": 0.36, "cuda": 3.6})
    assert ranks(ranking) == [("cpu", "int8", True), ("cuda", "half", True)]
    assert ranking.entries[0].lowest.value == pytest.approx(0.36 / 3600 / 250 * 1e6)
    assert ranking.entries[1].lowest.value == pytest.approx(3.6 / 3600 / 700 * 1e6)
    assert quantity(ROWS[0], "cost") is None
    same = dk.rank_devices(report, minimize="cost", price_per_hour={"rack": 1.0, "cuda": 9.0})
    assert [e.price_per_hour for e in same.entries] == [1.0, 1.0]


def test_machines_come_from_several_reports(report):
    other = replace(
        report, rows=[row("base", "cpu", 20.0, environment=SMALL), row("int8", "cpu", 9.0, 0.001, environment=SMALL)]
    )
    ranking = dk.rank_devices(report, other, price_per_hour={"shelf": 0.05})
    assert [(e.machine, e.device) for e in ranking.entries] == [
        ("Big, 64 cores (rack)", "cuda"), ("Big, 64 cores (rack)", "cpu"), ("Small, 4 cores (shelf)", "cpu"),
    ]  # fmt: skip
    assert ranking.entries[2].price_per_hour == 0.05
    assert ranking.entries[0].price_per_hour is None


def test_machines_that_look_alike_are_distinguished_by_their_stores(report, tmp_path):
    """Two boards of one kind, whose names are not known."""
    plain = {**PLACE, "cpu": "Board", "cores": 4}
    able = {**plain, "features": ["dotprod"]}

    def of(store, *rows):
        return replace(report, path=tmp_path / store, rows=list(rows))

    one, two = (of(name, row(name, "cpu", p50, environment=plain)) for name, p50 in (("left", 4.0), ("right", 5.0)))
    ranking = dk.rank_devices(one, two)
    assert [e.machine for e in ranking.entries] == ["Board, 4 cores · left", "Board, 4 cores · right"]
    deep = [replace(r, path=tmp_path / side / "runs") for side, r in (("a", one), ("b", two))]
    found = [e.machine for e in dk.rank_devices(*deep).entries]
    assert found == [f"Board, 4 cores · {tmp_path / side / 'runs'}" for side in "ab"]
    both = of("both", row("base", "cpu", 4.0, environment=plain), row("int8", "cpu", 5.0, environment=able))
    found = [e.machine for e in dk.rank_devices(both).entries]
    assert found == ["Board, 4 cores · no. 1", "Board, 4 cores · no. 2"]
    with pytest.raises(SettingError, match="left is given twice"):
        dk.rank_devices(one, one)


def test_a_tie_is_said(report):
    near = replace(report, rows=[*ROWS, row("openvino", "gpu", 1.6)])
    assert "tied with it by interval: gpu of Big" in dk.rank_devices(near).summary


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_p50_ms": 0}, "max_p50_ms must be a positive number, got 0"),
        ({"max_energy_mj": float("nan")}, "max_energy_mj must be a positive number"),
        ({"minimize": "cost"}, "cannot be ranked without prices"),
        ({"max_cost_per_million": 1.0}, "cannot be ranked without prices"),
        ({"price_per_hour": {"tpu": 1.0}}, "'tpu', which none of the reports has"),
        ({"price_per_hour": -1.0}, "must be a positive number"),
        ({"minimize": "beauty"}, "beauty"),
    ],
)
def test_settings_that_cannot_be(report, settings, said):
    with pytest.raises(SettingError, match=said):
        dk.rank_devices(report, **settings)


def test_nothing_to_rank(report):
    with pytest.raises(SettingError, match="nothing to rank"):
        dk.rank_devices()
    with pytest.raises(SettingError, match=r"No candidate of .* is timed"):
        dk.rank_devices(replace(report, rows=[]))


def test_it_is_shown_as_text_a_table_and_a_picture(report):
    ranking = dk.rank_devices(report, max_energy_mj=30)
    text = str(ranking)
    assert "int8" in text
    assert "energy may be 165 mJ, 30 is the limit" in text
    shown = ranking._repr_mimebundle_()["text/html"]
    assert "<table>" in shown
    assert 'class="dk-dark"' in shown
    frame = ranking.to_frame()
    assert list(frame["device"]) == ["cpu", "cuda"]
    assert list(frame["p50_ms"]) == [4.0, 1.5]
    assert ranking.to_json()["devices"][0]["energy_mj_high"] == pytest.approx(22)

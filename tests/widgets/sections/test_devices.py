"""Devices and machines, ranked beside their charts."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from deploykit_widgets.sections.devices import DevicesSection

import deploykit as dk
from deploykit.core.errors import SettingError, StoreError
from deploykit.storage.store import Store

FINISHED = Path(__file__).parents[3] / "notebooks" / "finished"
NONE = dict.fromkeys(("p50", "energy", "cost", "price", "stores"), "")


@pytest.fixture
def stores(tmp_path):
    """A store here, and one of a machine that takes twice as long."""
    shutil.copytree(FINISHED, tmp_path / "here")
    report = dk.Report.open(tmp_path / "here")
    board = Store(tmp_path / "board", create=True)
    board.put_sweep("c", report.facts)
    for place, row in enumerate(report.rows):
        latency, facts = row.measurement.latency, {**row.measurement.environment, "cpu": "Board", "host": "shelf"}
        p50 = latency.p50_ms
        slow = replace(latency, p50_ms=replace(p50, value=2 * p50.value, low=2 * p50.low, high=2 * p50.high))
        board.put_row("c", place, replace(row, measurement=replace(row.measurement, latency=slow, environment=facts)))
    return tmp_path


@pytest.fixture
def section(stores, commands):
    commands.state.change(store=stores / "here", report=dk.Report.open(stores / "here"))
    return DevicesSection(commands)


def ask(section, **limits):
    return section.commands()["devices"]({**NONE, **limits}, [0.01, "latency"]).work()


def test_machines_of_other_stores_stand_beside_this_one(stores, section):
    found = ask(section, stores=f"{stores / 'board'}")
    assert [(d["title"].partition(" · ")[2][:5], d["here"], d["met"]) for d in found["devices"]] == [
        ("AMD E", True, True), ("Board", False, True),
    ]  # fmt: skip
    report = dk.Report.open(stores / "here")
    timed = {r.key for r in report.rows if r.measurement.latency}
    assert {row["key"] for row in found["devices"][0]["rows"]} == timed
    assert found["devices"][0]["best"] == report.best(max_drop=0.01).key
    assert "Lowest latency: cpu of AMD EPYC" in found["summary"]
    assert all(len(d["cells"]) == len(found["headers"]) for d in found["devices"])


def test_limits_are_read_as_they_are_typed(stores, section):
    own = dk.Report.open(stores / "here").best(max_drop=0.01).measurement.latency.p50_ms
    found = ask(section, stores=str(stores / "board"), p50=f" {1.5 * own.value} ", price="shelf=0.1, cpu=1")
    assert [d["met"] for d in found["devices"]] == [True, False]
    assert "p50 may be" in found["devices"][1]["cells"][2]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"p50": "fast"}, "limit of latency must be a positive number, got 'fast'"),
        ({"energy": "-1"}, "limit of energy must be a positive number"),
        ({"price": "cheap"}, "A price must be an amount"),
        ({"price": "1, cpu=2"}, "One price is for all machines"),
        ({"price": "tpu=2"}, "none of the reports has"),
        ({"cost": "3"}, "without prices"),
    ],
)
def test_what_cannot_be_a_limit_is_refused(section, limits, said):
    with pytest.raises(SettingError, match=said):
        ask(section, **limits)


def test_what_is_not_a_store_is_named(stores, section, commands):
    with pytest.raises(StoreError, match="nowhere"):
        ask(section, stores=str(stores / "nowhere"))
    commands.state.change(report=None)
    with pytest.raises(SettingError, match="no results here"):
        ask(section)

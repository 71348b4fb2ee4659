"""Another store beside the Workbench's own."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from deploykit_widgets.sections.beside import BesideSection

import deploykit as dk
from deploykit.core.errors import SettingError, StoreError
from deploykit.storage.store import Store

FINISHED = Path(__file__).parents[3] / "notebooks" / "finished"


@pytest.fixture
def stores(tmp_path):
    """Today's store, and yesterday's with files of twice the size."""
    shutil.copytree(FINISHED, tmp_path / "today")
    report = dk.Report.open(tmp_path / "today")
    old = Store(tmp_path / "yesterday", create=True)
    old.put_sweep("c", report.facts)
    for place, row in enumerate(report.rows):
        measured = dataclasses.replace(row.measurement, size_bytes=2 * row.measurement.size_bytes)
        old.put_row("c", place, dataclasses.replace(row, measurement=measured))
    return tmp_path


@pytest.fixture
def section(stores, commands):
    commands.state.change(store=stores / "today", report=dk.Report.open(stores / "today"))
    return BesideSection(commands)


def test_stores_nearby_are_offered(stores, section, commands):
    assert section.commands()["stores"]().work() == [str(stores / "yesterday")]
    commands.state.change(report=None)
    assert section.commands()["stores"]().work() == []


def test_another_store_comes_with_its_rows_and_with_what_changed(stores, section):
    found = section.commands()["beside"](str(stores / "yesterday")).work()
    report = dk.Report.open(stores / "yesterday")
    assert found["name"] == "yesterday"
    assert f"{len(report.rows)} larger" in found["summary"]
    assert {row["key"] for row in found["rows"]} == {row.key for row in report.rows}
    assert found["headers"][:4] == ["Candidate", "Runtime", "From here to there", "Change here, pp"]
    assert all(len(pair["cells"]) == len(found["headers"]) for pair in found["pairs"])
    assert all("larger 2.00×" in pair["cells"][2] for pair in found["pairs"])
    said = " ".join([found["summary"], *found["notes"], *found["headers"]])
    assert "Best there" in said
    for side in (" A", " B"):
        assert f"in{side} " not in said


def test_a_folder_that_is_not_a_store_says_so(stores, section, commands):
    command = section.commands()["beside"]
    with pytest.raises(StoreError, match="nowhere"):
        command(str(stores / "nowhere")).work()
    with pytest.raises(SettingError, match="missing"):
        command("  ")
    commands.state.change(report=None)
    with pytest.raises(SettingError, match="no results"):
        command("x")

"""Leaving with a candidate: what the browser is sent, and what it can ask."""

from dataclasses import replace

import pytest
from deploykit_widgets.code.script import script
from deploykit_widgets.sections.export import ExportSection, refusal

import deploykit as dk
from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter
from deploykit.core.registry import registry


@pytest.fixture
def section(finished):
    return ExportSection(finished)


def test_without_results_there_is_nothing_to_choose(commands, ask):
    section = ExportSection(commands)
    assert (section.value()["chosen"], section.value()["best"]) == (None, None)
    ask(section, "use_best")
    ask(section, "export", folder="served", layout="folder")
    assert commands.state.problems["export"] == "Nothing is chosen yet. Run the sweep first."


def test_the_best_so_far_is_offered_and_can_be_used(section, ask, finished):
    value = section.value()
    best = finished.state.best
    assert value["chosen"] is None
    assert value["best"]["key"] == best.key
    assert value["best"]["runtime"] == "ONNX Runtime"
    ask(section, "use_best")
    assert finished.state.picked == best.key
    assert section.value()["chosen"] == value["best"]


def test_an_export_is_checked_step_by_step(section, ask, finished, tmp_path):
    ask(section, "use_best")
    seen = []
    finished.state.observe(lambda: seen.append([c.state for c in finished.state.checks]), "checks")
    ask(section, "export", folder=str(tmp_path / "out"), layout="folder")
    assert finished.state.problems.get("export", "") == ""
    assert seen == [
        ["waiting", "waiting", "waiting"],
        ["running", "waiting", "waiting"],
        ["done", "waiting", "waiting"],
        ["done", "running", "waiting"],
        ["done", "done", "waiting"],
        ["done", "done", "running"],
        ["done", "done", "done"],
    ]
    value = section.value()
    assert value["current"]
    words = [c["words"] for c in value["checks"]]
    count = len(value["artifact"]["files"])
    assert words[0] == f"{count} files written."
    assert words[1] == "Digests match the manifest."
    assert words[2].startswith("Golden outputs reproduced ")
    files = {f["path"]: f["bytes"] for f in value["artifact"]["files"]}
    assert files["model.onnx"] == (tmp_path / "out" / "model.onnx").stat().st_size
    assert {"manifest.json", "golden/inputs.npz"} <= set(files)
    assert dk.verify(tmp_path / "out")
    other = next(r.key for r in finished.state.report.rows if r.key != finished.state.exported)
    finished.desk.post(lambda: finished.pick(other))
    assert finished.desk.settle()
    assert not section.value()["current"]


def test_a_failed_export_says_where_and_why(section, ask, finished, tmp_path):
    ask(section, "use_best")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    ask(section, "export", folder=str(tmp_path / "taken"), layout="folder")
    assert "does not hold an artifact (it has thesis.txt)" in finished.state.problems["export"]
    assert [c["state"] for c in section.value()["checks"]] == ["failed", "waiting", "waiting"]
    assert section.value()["artifact"] is None


def test_layouts_that_cannot_hold_a_candidate_say_why(section, ask, finished):
    ask(section, "use_best")
    reasons = {e["name"]: e["reason"] for e in section.value()["layouts"]}
    assert reasons["folder"] == ""
    assert "takes SavedModel, not ONNX" in reasons["tfserving"]
    places = [e["place"] for e in section.value()["layouts"]]
    assert [*dict.fromkeys(places)] == ["Servers", "Clusters", "Clouds", "Devices", "Registries and exchange"]
    assert places == sorted(places, key=[*dict.fromkeys(places)].index)
    row = replace(finished.state.chosen.result, status="failed")
    folder = registry("deploykit.exporters", "layout").get("folder")
    assert refusal(folder, row) == "this candidate failed, so there is nothing to export"


def test_the_settings_of_a_layout_are_controls_and_end_in_artifact_and_script(
    section, ask, finished, tmp_path, monkeypatch
):
    folder = registry("deploykit.exporters", "layout").get("folder")
    level = Parameter("level", "int", 3, "How much.", minimum=1)
    monkeypatch.setattr(type(folder), "parameters", (level, Parameter("packed", "bool", False, "Whether.")))
    ask(section, "use_best")

    def settings():
        (found,) = (e["settings"] for e in section.value()["layouts"] if e["name"] == "folder")
        return {s["name"]: (s["kind"], s["label"], s["values"], s["help"]) for s in found}

    assert settings()["level"] == ("numbers", "Level", [3], "How much. Allowed: at least 1, default 3.")
    assert settings()["packed"][:3] == ("choices", "Packed", [False])
    with pytest.raises(SettingError, match="folder: level must be at least 1, got 0"):
        section.commands()["export"](folder=str(tmp_path / "out"), layout="folder", parameters={"level": 0})
    assert finished.state.checks == ()
    ask(section, "export", folder=str(tmp_path / "out"), layout="folder", parameters={"level": 5, "packed": False})
    assert finished.state.problems.get("export", "") == ""
    assert dk.Artifact.open(tmp_path / "out").manifest.parameters == {"level": 5, "packed": False}
    assert settings()["level"][2] == [5]
    assert 'parameters={"level": 5}' in script(finished.state)

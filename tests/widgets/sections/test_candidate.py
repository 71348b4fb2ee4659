"""What the browser can ask of a candidate, on a finished sweep of a tiny model."""

import io
import json
import shutil

import pytest
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.answers import Later, Reply
from deploykit_widgets.desk import Desk
from deploykit_widgets.sections.candidate import CandidateSection
from deploykit_widgets.space.choice import SpaceChoice
from deploykit_widgets.state import State
from PIL import Image

import deploykit as dk
from deploykit.core.errors import SettingError


@pytest.fixture
def desk():
    """A desk with its errors."""
    errors = []
    made = Desk(errors.append)
    yield made
    made.close()
    assert errors == []


@pytest.fixture
def section(store, desk, tmp_path):
    state = State(shutil.copytree(store, tmp_path / "runs"))
    made = CandidateSection(Commands(state, desk))
    report = dk.Report.open(state.store)
    desk.post(lambda: state.change(report=report, space_choice=SpaceChoice("quick"), space=dk.Space.preset("quick")))
    assert desk.settle()
    return made


def ask(section, command, **arguments):
    """The answer as the browser gets it: JSON, and bytes beside it."""
    found = section.commands()[command](**arguments)
    found = found.work() if isinstance(found, Later) else found
    reply = found if isinstance(found, Reply) else Reply(found)
    return json.loads(json.dumps(reply.value)), list(reply.buffers)


@pytest.fixture
def key(section):
    report = section._commands.state.report
    return next(r.key for r in report.rows if r.key != report.baseline)


def test_it_says_which_candidate_is_the_best_so_far(section):
    state = section._commands.state
    value = section.value()
    assert value["best"] == state.best.key
    assert value["baseline"] == state.report.baseline
    assert value["limit"] == 1.0


def test_the_verdict_comes_with_causes_and_the_comparison(section, key):
    baseline = section._commands.state.report.baseline
    facts, _ = ask(section, "candidate_facts", key=key, other=baseline)
    assert facts["verdict"]["headline"]
    assert facts["compare"].startswith("B ")
    assert {row["state"] for row in facts["why"]["rows"]} <= {"kept", "added", "gone"}
    assert ask(section, "candidate_facts", key=baseline)[0]["verdict"]["kind"] == "baseline"


def test_flips_come_in_pages_with_pictures(section, key):
    choice = section._choice(key)
    every = choice.flips()
    value, buffers = ask(section, "candidate_flips", key=key, count=2)
    assert value["total"] == len(every.rows)
    assert [r["example"] for r in value["rows"]] == [r.example for r in every.rows[:2]]
    assert len(buffers) == len(value["rows"])
    for row, data in zip(value["rows"], buffers, strict=True):
        assert Image.open(io.BytesIO(data)).size == (row["width"], row["height"]) == (8, 8)
        assert row["topAfter"][0][0] == row["after"]
    past, none = ask(section, "candidate_flips", key=key, offset=10_000)
    assert (past["rows"], none) == ([], [])
    for group in value["groups"]:
        assert ask(section, "candidate_flips", key=key, group=group["name"])[0]["total"] == group["count"]


def test_an_example_is_enlarged_and_tried_again(section, key):
    value, (data,) = ask(section, "candidate_sample", key=key, example=3)
    assert (value["width"], Image.open(io.BytesIO(data)).format) == (8, "PNG")
    tried, _ = ask(section, "candidate_try", key=key, example=3)
    assert {name for name, _ in tried["before"]} == {"cat", "dog", "<b>owl</b>"}
    assert sum(share for _, share in tried["after"]) == pytest.approx(1, abs=0.05)
    with pytest.raises(SettingError, match="no example 1000"):
        ask(section, "candidate_sample", key=key, example=1000)


def test_what_an_answer_rests_on_comes_with_a_map_for_each_model(section, key):
    value, buffers = ask(section, "candidate_rests", key=key, example=3)
    assert value["maps"][0] == "the original model"
    assert len(buffers) == len(value["maps"]) == 2
    assert [Image.open(io.BytesIO(data)).size for data in buffers] == [(256, 256)] * 2
    assert value["answer"] in value["summary"]
    assert all(len(row) == 3 for row in value["rows"])
    assert ask(section, "candidate_rests", key=key, example=3) == (value, buffers)
    with pytest.raises(SettingError, match="no example 1000"):
        ask(section, "candidate_rests", key=key, example=1000)


def test_confidences_are_compared_by_bins(section, key):
    value, _ = ask(section, "candidate_calibration", key=key)
    examples = len(section._commands.state.report.data.splits["evaluation"])
    for side in ("before", "after"):
        assert sum(row["examples"] for row in value["rows"] if row["side"] == side) == examples
    assert all(low <= share <= high for share, low, high in (row["accuracy"] for row in value["rows"]))
    assert "Calibration error" in value["summary"]


def test_closed_parts_have_their_answers(section, key):
    classes, _ = ask(section, "candidate_classes", key=key)
    assert {r["name"] for r in classes["rows"]} == {"cat", "dog", "<b>owl</b>"}
    weights, _ = ask(section, "candidate_weights", key=key)
    assert [r["after"]["stored"] for r in weights["rows"]] == ["int8", "int8"]
    assert weights["channels"] == []
    diff, _ = ask(section, "candidate_diff", key=key)
    assert {r["state"] for r in diff["rows"] if r["operator"] == "QuantizeLinear"} == {"added"}
    assert {len(diff["rows"])} == {sum(count for _, count in diff["counts"])}
    conv = next(r for r in diff["rows"] if r["operator"] == "Conv")
    assert conv["before"]["weights"][0][2] == "float32"
    assert conv["after"]["weights"][0][2] == "int8"
    assert conv["error"] > 0
    json.dumps(diff, allow_nan=False)
    place = max(range(len(diff["rows"])), key=lambda k: diff["rows"][k]["own"] or 0.0)
    assert diff["rows"][place]["float"]
    assert ask(section, "candidate_keep_float", key=key, row=place)[0].startswith("Added to the space: quantize static")
    assert section._commands.state.space_choice.extra[0].steps[0].parameters["exclude"]
    assert ask(section, "candidate_keep_float", key=key, row=place)[0].startswith("Already in the space")
    recipe, _ = ask(section, "candidate_recipe", key=key)
    assert recipe["steps"][0]["name"] == "quantize static"
    assert ["Candidate", key] in recipe["file"]
    graphs, _ = ask(section, "candidate_graphs", key=key)
    assert graphs["given"] | {"title": ""} == graphs["before"] | {"title": ""}  # it is an ONNX model already
    assert (graphs["given"]["title"], graphs["before"]["title"]) == ("original file · ONNX", "original · ONNX")
    assert graphs["after"]["title"].startswith("int8 static")
    assert graphs["before"]["path"].endswith("cnn_onnx.onnx")
    assert graphs["after"]["path"].endswith("model.onnx")


def test_a_cell_adds_a_recipe_and_takes_it_out_again(section, desk):
    state = section._commands.state
    table, _ = ask(section, "candidate_sensitivity")
    assert [level["measured"] for level in table["levels"]] == [False]
    assert table["levels"][0]["seconds"] > 0
    assert "Added" in ask(section, "candidate_leave_out", layer=0, level=0)[0]
    (recipe,) = state.space_choice.extra
    assert recipe.steps[0].parameters["exclude"] == table["layers"][0]
    assert recipe in state.space.recipes
    assert ask(section, "candidate_sensitivity")[0]["cells"][0][0]["added"]
    assert "Removed" in ask(section, "candidate_leave_out", layer=0, level=0)[0]
    assert not state.space_choice.extra


def test_measuring_a_level_fills_its_column(section, desk):
    state = section._commands.state
    told = []
    state.observe(lambda: told.append(section.value()["measuring"]), "measuring")
    ask(section, "candidate_measure", level=0)
    assert desk.settle()
    assert told[0]["total"] == 0
    assert told[-1] is None
    table, _ = ask(section, "candidate_sensitivity")
    assert table["levels"][0]["measured"]
    assert all(row[0]["drop"] for row in table["cells"])


def test_without_results_it_says_what_to_do(desk, tmp_path):
    section = CandidateSection(Commands(State(tmp_path), desk))
    assert section.value()["best"] == ""
    with pytest.raises(SettingError, match="run the sweep"):
        ask(section, "candidate_facts", key="x")

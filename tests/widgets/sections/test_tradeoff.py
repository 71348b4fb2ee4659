"""The trade-off panel's rows, goal and best so far, as the browser gets them."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from deploykit_widgets import TradeOff
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.desk import Desk
from deploykit_widgets.evidence.chart import DATASETS, PARAMETERS, specification
from deploykit_widgets.rows import rows_of
from deploykit_widgets.sections.app import AppSection
from deploykit_widgets.sections.tradeoff import TradeoffSection, settings_of
from deploykit_widgets.state import State

from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.errors import DeploykitError, SettingError
from deploykit.core.result import Failure, Interval, Latency, Measurement, Result, Score
from deploykit.reporting.report import Report


def row(name, speedup=1.0, drop=0.0, *, width=0.02, doubt=0.002, size=1000, claim="faster", flags=(), cpu="one"):
    score = Score(
        "accuracy",
        0.9 - drop,
        Interval(-drop, -drop - doubt, doubt - drop),
        Interval(drop, drop - doubt, drop + doubt),
        500,
    )
    p50 = Interval(2 / speedup, 1.9 / speedup, 2.1 / speedup)
    ratio = Interval(speedup, speedup * (1 - width), speedup * (1 + width))
    latency = Latency(p50, 3.0, None, ratio, None, 1.5, 10, 2000, 0.01, flags, claim)
    other = dataclasses.replace(score, metric="agreement", value=0.97)
    measured = Measurement((score, other), latency, size, size // 2, 3_000_000, {"cpu": cpu, "cores": 2}, None, (1, 2))
    measured = dataclasses.replace(measured, seconds={"build": 1.5, "accuracy": 0.5})
    recipe = Recipe((Step("quantize_static"),)) if name != "base" else Recipe()
    return Result(name, Candidate(recipe, Target("onnxruntime")), "measured", name, "quantize", measurement=measured)


BASE = row("base", claim="baseline", doubt=0.0)
FAST = row("fast", 3.0, 0.001)
TIED = row("tied", 2.96, 0.001, size=500)
SLOW = row("slow", 0.5, 0.02, claim="slower")
ELSEWHERE = row("elsewhere", 9.0, 0.0, cpu="another")
TEMPTING = row("tempting", 5.0, 0.009)
FAILED = Result(
    "failed", FAST.candidate, "failed", "<img src=x onerror=alert(1)>", "quantize",
    failure=Failure("build", "Crash", "signal 11", "leave it out", "logs/failed.log"),
)  # fmt: skip
PLANNED = Result("planned", FAST.candidate, "pending", "planned", "prune")
SCREENED = dataclasses.replace(row("screened", 4.0, 0.5), status="pending")
FACTS = {"baseline": "base", "metric": "accuracy", "relative": False, "higher_is_better": True}
ROWS = (BASE, FAST, TIED, SLOW, ELSEWHERE, TEMPTING, FAILED, PLANNED, SCREENED)


@pytest.fixture
def shown(tmp_path):
    """Commands and section of a report, and what ends them."""
    state = State(tmp_path)
    desk = Desk(lambda error: pytest.fail(str(error)))
    commands = Commands(state, desk)
    section = TradeoffSection(commands)
    state.change(report=Report(tmp_path, ROWS, FACTS))
    yield commands, section
    desk.close()


def test_rows_say_who_is_on_the_front_and_why_not():
    rows = rows_of(Report(Path(), ROWS, FACTS))
    assert {key: found["state"] for key, found in rows.items()} == {
        "base": "front", "fast": "front", "tied": "tied", "slow": "beaten", "elsewhere": "beaten",
        "tempting": "front", "failed": "", "planned": "", "screened": "screened",
    }  # fmt: skip
    assert rows["slow"]["why"] == "Beaten: base on ONNX Runtime is faster (95 % confidence), and no worse by estimate."
    assert "different hardware" in rows["elsewhere"]["why"]
    assert not rows["elsewhere"]["compared"]
    assert [rows[key]["status"] for key in ("failed", "planned", "screened")] == ["failed", "planned", "built"]


def test_rows_have_raw_numbers_in_the_units_of_the_page():
    found = rows_of(Report(Path(), ROWS, FACTS))["fast"]
    assert found["change"] == pytest.approx([-0.1, -0.3, 0.1])
    assert found["p50"] == pytest.approx([2 / 3, 1.9 / 3, 0.7])
    assert (found["size"], found["compressed"], found["memory"], found["flips"]) == (1000, 500, 3_000_000, 2)
    assert found["seconds"] == 2.0
    assert (found["agreement"], found["scores"], found["p99"]) == (0.97, {"agreement": 0.97}, None)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_each_value_of_a_setting_of_words_and_numbers_is_one_of_its_options():
    found = [Candidate(Recipe((Step("not_installed", {"limit": v}),)), Target("litert")) for v in (50.0, 8, "auto")]
    rows = [dataclasses.replace(FAST, key=key, candidate=one) for key, one in zip("abc", found, strict=True)]
    report = Report(Path(), (BASE, *rows), FACTS)
    sent = json.loads(json.dumps({"rows": rows_of(report), "settings": settings_of(report)}))
    setting = next(s for s in sent["settings"] if s["name"] == "setting:not_installed.limit")
    assert setting["options"] == ["50.0", "8", "auto"]
    assert [setting["values"].index(sent["rows"][key]["settings"]["not_installed.limit"]) for key in "abc"] == [0, 1, 2]


def test_an_end_that_is_not_finite_can_be_sent():
    wide = row("wide", 2.0)
    latency = dataclasses.replace(wide.measurement.latency, speedup=Interval(2.0, 0.0, float("inf")))
    wide = dataclasses.replace(wide, measurement=dataclasses.replace(wide.measurement, latency=latency))
    found = rows_of(Report(Path(), (BASE, wide), FACTS))["wide"]
    json.dumps(found, allow_nan=False)
    assert found["speedup"][2] > 1000


def test_a_failed_row_has_cause_and_remedy_as_they_are():
    found = rows_of(Report(Path(), ROWS, FACTS))["failed"]
    assert found["name"] == "<img src=x onerror=alert(1)>"
    assert found["failure"] == {"cause": "signal 11", "remedy": "leave it out", "log": "logs/failed.log"}


def test_the_best_so_far_says_how_sure_it_is(shown):
    _, section = shown
    best = section.value()["best"]
    assert (best["name"], best["met"], best["speedup"]) == ("tied", True, "2.96× [2.90, 3.02]")
    assert best["words"] == (
        "−0.10 ± 0.20 pp, within your limit (95 % confidence); tied with 1 other, the smallest file wins; "
        "1 faster candidate may be outside it."
    )


def test_a_missed_goal_names_the_closest(shown):
    commands, section = shown
    section.commands()["set_goal"](max_drop=0.0, minimize="latency")
    assert commands.state.best.key == "base"
    commands.state.change(report=Report(commands.state.store, (FAST, SLOW), {**FACTS, "baseline": "gone"}))
    best = section.value()["best"]
    assert (best["met"], best["missed"]) == (False, "No candidate is confirmed to stay within 0.0 pp.")
    assert (best["name"], best["change"]) == ("fast", "−0.10 ± 0.20 pp")


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        ({"max_drop": 2, "minimize": "latency"}, "between 0 and 100 pp, got 200"),
        ({"max_drop": float("nan"), "minimize": "latency"}, "got nan"),
        ({"max_drop": 0.01, "minimize": "joy"}, "joy"),
    ],
)
def test_a_goal_that_makes_no_sense_is_refused(shown, goal, said):
    _, section = shown
    with pytest.raises(SettingError, match=said):
        section.commands()["set_goal"](**goal)


def test_picking_is_remembered_for_pages_opened_later(shown):
    commands, section = shown
    app = AppSection(commands)
    section.commands()["pick"](a="fast", b="slow")
    assert app.value()["picked"] == {"a": "fast", "b": "slow"}
    assert commands.state.chosen.key == "fast"
    section.commands()["pick"](a="stranger", b="")
    assert app.value()["picked"] == {"a": "fast", "b": ""}


def test_for_errors_losing_is_going_up(tmp_path, shown):
    commands, section = shown
    facts = {**FACTS, "metric": "mean_error", "relative": True, "higher_is_better": False}
    commands.state.change(report=Report(tmp_path, ROWS, facts))
    value = section.value()
    assert (value["unit"], value["limit"], value["metric"]) == ("%", 1.0, "mean error")
    assert value["measures"][0]["higher"] is False


def test_the_log_of_a_failed_candidate_can_be_read(shown):
    commands, section = shown
    log = section.commands()["log"]
    with pytest.raises(DeploykitError, match="gone"):
        log("failed")
    (commands.state.store / "logs").mkdir()
    (commands.state.store / "logs" / "failed.log").write_text("Fatal: <b>\n")
    assert log("failed") == "Fatal: <b>\n"
    (commands.state.store / "logs" / "failed.log").write_text("x" * 1_000_000 + "the end")
    assert log("failed").endswith("xthe end")
    assert len(log("failed")) < 50_000
    with pytest.raises(DeploykitError, match="no log"):
        log("fast")


def test_a_store_from_elsewhere_names_no_file_outside(shown, tmp_path, tmp_path_factory):
    commands, section = shown
    secret = tmp_path_factory.mktemp("private") / "secret"
    secret.write_text("secret")
    (tmp_path / "link").symlink_to(secret)
    for name in (str(secret), "link", "../" * 20 + str(secret)):
        failure = dataclasses.replace(FAILED.failure, log=name)
        commands.state.change(report=Report(tmp_path, (BASE, dataclasses.replace(FAILED, failure=failure)), FACTS))
        with pytest.raises(DeploykitError, match="not inside the store"):
            section.commands()["log"]("failed")


def test_the_chart_is_made_of_named_data_and_parameters_alone():
    spec = specification()
    names = {layer["data"]["name"] for layer in spec["layer"]}
    assert names == set(DATASETS)
    assert {p["name"] for p in spec["params"]} == set(PARAMETERS)
    assert "datasets" not in spec
    assert len(json.dumps(spec)) < 40_000


def test_a_report_is_shown_alone_and_its_choice_is_there_for_code(tmp_path):
    report = Report(tmp_path, ROWS, FACTS)
    panel = TradeOff(report, max_drop=0.02)
    try:
        assert panel._desk.settle()
        assert (panel.choice.key, panel.compared) == ("tempting", None)
        # What a page does: ask, and be answered after what has changed was sent.
        sent = []
        panel.widget.send = lambda content, buffers=(): sent.append(content)
        asked = {"type": "do", "id": "1", "command": "pick", "args": {"a": "slow", "b": "fast"}}
        panel.widget._handle_custom_msg(asked, [])
        assert panel._desk.settle()
        kept = [content["html"] for content in sent if content["type"] == "kept"]
        assert [content for content in sent if content["type"] != "kept"][-1] == {
            "type": "reply", "id": "1", "ok": True, "value": None,
        }  # fmt: skip
        assert f"Compared with: {FAST.label}." in kept[-1]
        assert (panel.choice.key, panel.compared.key) == ("slow", "fast")
        (opened,) = re.findall(r'report = dk.Report.open\("(.+)"\)', panel.code)
        assert Path(opened).resolve() == tmp_path.resolve()  # relative where the working folder is near
        assert panel.code.endswith('choice = report.choice_for("slow", max_drop=0.02)\n')
        panel.widget._handle_custom_msg({"type": "hello"}, [])
        assert panel._desk.settle()
        everything = {name for content in sent for name in content.get("sections", {})}
        assert everything >= {"app", "tradeoff", "code"}
        assert [set(content["set"]) for content in sent if content["type"] == "rows"][-1] == {r.key for r in ROWS}
    finally:
        panel.close()


def test_without_widgets_a_report_alone_is_its_table(tmp_path):
    panel = TradeOff(Report(tmp_path, ROWS, FACTS))
    try:
        bundle = panel._repr_mimebundle_()
        assert "<table" in bundle["text/html"]
        assert "<img src=x" not in bundle["text/html"]
        assert "application/vnd.deploykit.workbench.v1+json" in bundle
    finally:
        panel.close()


def test_a_cost_nobody_knows_is_refused_before_anything_is_shown(tmp_path):
    with pytest.raises(SettingError, match="joy"):
        TradeOff(Report(tmp_path, ROWS, FACTS), minimize="joy")

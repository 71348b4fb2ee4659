"""What goes to the browser and what comes back, without a browser."""

import json

import pytest
from deploykit_widgets.answers import Later, Reply
from deploykit_widgets.desk import Desk
from deploykit_widgets.state import Goal, State
from deploykit_widgets.surface import Hub, Surface

from deploykit.core.errors import SettingError


class GoalSection:
    name = "goal"
    fields = ("goal",)

    def __init__(self, state):
        self.state = state

    def value(self):
        return {"max_drop": self.state.goal.max_drop}

    def commands(self):
        return {"set": self._set, "fail": self._fail, "slow": self._slow, "picture": lambda: Reply("png", [b"\x89"])}

    def _set(self, max_drop):
        self.state.change(goal=Goal(max_drop))
        return max_drop

    def _fail(self):
        raise SettingError("no.", remedy="say yes.")

    def _slow(self, fail):
        def work():
            if fail:
                raise SettingError("too slow.", remedy="wait.")
            return "done"

        return Later("slow", work)


class StoreSection:
    name = "store"
    fields = ("store",)

    def __init__(self, state):
        self.state = state

    def value(self):
        return str(self.state.store)

    def commands(self):
        return {}


@pytest.fixture
def state(tmp_path):
    return State(tmp_path)


@pytest.fixture
def desk():
    made = Desk(lambda error: pytest.fail(str(error)))
    yield made
    made.close()


@pytest.fixture
def rows():
    return {f"k{i}": {"n": i, "words": "x" * 2000} for i in range(700)}


@pytest.fixture
def hub(state, desk, rows):
    return Hub(state, desk, [GoalSection(state), StoreSection(state)], lambda: rows, ["report"])


def test_a_page_gets_everything_and_then_only_what_is_new(hub, state, desk, rows, page_of):
    page = page_of(Surface(), desk, hub)
    (first,) = page.take("sections")
    assert first["sections"] == {"goal": {"max_drop": 0.01}, "store": str(state.store)}
    parts = page.take("rows")
    assert parts[0]["reset"] is True
    assert {k: v for part in parts for k, v in part["set"].items()} == rows
    assert max(len(json.dumps(part)) for part in parts) < 1_000_000

    desk.post(lambda: state.change(goal=Goal(0.05)))
    rows["k3"] = {"n": -3}
    del rows["k4"]
    desk.post(lambda: state.change(report=object()))
    desk.settle()
    assert [m["sections"] for m in page.take("sections")] == [{"goal": {"max_drop": 0.05}}]
    (patch,) = page.take("rows")
    assert (patch["set"], patch["gone"], patch["reset"]) == ({"k3": {"n": -3}}, ["k4"], False)

    desk.post(lambda: state.change(goal=Goal(0.05)))  # another object that says the same
    desk.settle()
    assert page.messages == []

    late = page_of(Surface(), desk, hub)
    assert late.take("sections")[0]["sections"]["goal"] == {"max_drop": 0.05}
    assert page.messages == []  # what a page knows is not sent to it again


def test_a_page_that_was_loaded_again_asks_and_gets_everything(hub, desk, rows, page_of):
    page = page_of(Surface(), desk, hub)
    page.messages.clear()
    page.surface._handle_custom_msg({"type": "hello"}, [])
    desk.settle()
    assert set(page.take("sections")[0]["sections"]) == {"goal", "store"}
    assert sum(len(part["set"]) for part in page.take("rows")) == len(rows)


def test_what_the_notebook_keeps_is_sent_when_it_changes_and_to_pages_that_are_loaded_again(hub, desk, page_of):
    page, other = page_of(Surface(), desk, hub), page_of(Surface(), desk, hub)
    for html in ("one", "one", "two"):
        desk.post(lambda html=html: hub.keep(html))
    desk.settle()
    assert [m["html"] for m in page.take("kept")] == ["one", "two"]
    assert [m["html"] for m in other.take("kept")] == ["one", "two"]
    page.surface._handle_custom_msg({"type": "hello"}, [])
    desk.settle()
    assert [m["html"] for m in page.take("kept")] == ["two"]
    assert other.take("kept") == []


def test_commands_change_the_state_before_they_are_answered(hub, desk, page_of):
    page, other = page_of(Surface(), desk, hub), page_of(Surface(), desk, hub)
    page.messages.clear()
    other.messages.clear()
    page.surface._handle_custom_msg({"type": "do", "id": "7", "command": "set", "args": {"max_drop": 0.2}}, [])
    desk.settle()
    assert [m["type"] for m, _ in page.messages] == ["sections", "reply"]
    assert page.messages[1][0] == {"type": "reply", "id": "7", "ok": True, "value": 0.2}
    assert [m["type"] for m, _ in other.messages] == ["sections"]  # answers go to who asked


def test_answers_have_bytes_and_errors_are_words(hub, desk, page_of):
    page = page_of(Surface(), desk, hub)
    assert page.do("picture") == ({"type": "reply", "id": "1", "ok": True, "value": "png"}, [b"\x89"])
    assert page.do("slow", fail=False)[0]["value"] == "done"
    for command, arguments, said in (
        ("fail", {}, "say yes"),
        ("slow", {"fail": True}, "too slow"),
        ("nonsense", {}, "'nonsense'"),
        ("set", {"wrong": 1}, "wrong"),
    ):
        content, _ = page.do(command, **arguments)
        assert content["ok"] is False
        assert said in content["error"]


def test_two_sections_cannot_have_the_same_command(state, desk):
    with pytest.raises(ValueError, match="set"):
        Hub(state, desk, [GoalSection(state), type("Other", (GoalSection,), {"name": "other"})(state)])


def test_a_panel_that_cannot_be_made_leaves_the_others_alone(state, desk, rows, page_of):
    class Broken(StoreSection):
        name = "broken"
        fields = ("goal",)

        def value(self):
            if self.state.goal.max_drop < 0.02:
                raise OSError("disk full")
            return "well"

    class Problems(StoreSection):
        name = "problems"
        fields = ("problems",)

        def value(self):
            return self.state.problems

    def some():
        if state.report is None:
            raise ValueError("no rows")
        return rows

    page = page_of(
        Surface(), desk, Hub(state, desk, [Broken(state), GoalSection(state), Problems(state)], some, ["report"])
    )
    assert page.sections["goal"] == {"max_drop": 0.01}
    assert page.sections["problems"] == {"broken": "OSError: disk full", "tradeoff": "ValueError: no rows"}
    assert page.do("set", max_drop=0.05)[0]["ok"]
    assert page.sections["broken"] == "well"
    desk.post(lambda: state.change(report=object()))
    assert desk.settle()
    assert page.sections["problems"] == {"broken": "", "tradeoff": ""}
    assert page.rows.keys() == rows.keys()

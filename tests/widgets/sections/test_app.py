"""The frame around the panels, and that kernel and browser have the same ones."""

from pathlib import Path

import pytest
from deploykit_widgets.sections._contract import SECTIONS, Panel, panels, tabs
from deploykit_widgets.sections.app import AppSection

APP = Path(__file__).parents[3] / "widgets" / "src" / "app"


def test_every_panel_is_drawn_and_everything_drawn_is_a_panel():
    assert {panel.name for panel in panels()} == {path.parent.name for path in APP.glob("*/panel.tsx")}


def test_panels_have_places_of_their_own():
    assert [panel.name for panel in tabs()] == ["model", "data", "explore", "export"]
    orders = [panel.order for panel in panels()]
    assert len(set(orders)) == len(orders)


@pytest.mark.parametrize("name", SECTIONS.names())
def test_what_a_section_is_made_from_is_in_the_state(name, commands):
    section = SECTIONS.get(name)(commands)
    hinted = section.hinted if isinstance(section, Panel) else ()
    assert section.fields or not section.value()
    for attribute in (*section.fields, *hinted):
        assert hasattr(commands.state, attribute)


def test_the_frame_follows_what_the_hints_are_made_from(commands):
    fields = AppSection(commands).fields
    assert all(set(panel.hinted) <= set(fields) for panel in tabs())


def test_a_tab_that_is_not_there_is_not_shown(commands, ask):
    app = AppSection(commands)
    ask(app, "show_tab", tab="data")
    ask(app, "show_tab", tab="space")  # a panel without a tab
    assert commands.state.tab == "data"

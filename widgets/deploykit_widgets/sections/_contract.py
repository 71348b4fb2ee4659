"""What the browser shows, in sections; a section with a place on the screen is a panel.

Every file of this folder is one section, named after it, and ends in ``ADAPTER = …``, its class. Another package adds
one through an entry point of the group ``deploykit_widgets.sections``. The browser's part of a panel is the file
``widgets/src/app/NAME/panel.tsx``, which is found in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from deploykit.core.registry import Registry
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.answers import Command
from deploykit_widgets.state import State


class Section:
    """One part of what the browser shows. All methods are called on the desk's thread.

    Args:
        commands: What the buttons do; provides the state, and the desk for long work.

    Attributes:
        name: Key of the section in the browser; the file has the same name.
        fields: State attributes the section is made from.
    """

    name: ClassVar[str]
    fields: tuple[str, ...] = ()

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._state: State = commands.state

    def value(self) -> Any:
        """The section as JSON; called after one of ``fields`` has changed."""
        return {}

    def commands(self) -> Mapping[str, Command]:
        """Commands of the browser, with names that no other section uses."""
        return {}


@dataclass(frozen=True)
class Hint:
    """What stands beside the title of a tab.

    Attributes:
        words: A few words.
        done: Whether the work of the tab is done: it gets a check mark.
        wrong: Whether it needs attention: it gets a warning.
    """

    words: str = ""
    done: bool = False
    wrong: bool = False


class Panel(Section):
    """A section with a place on the screen.

    Attributes:
        title: Title of its tab in the Workbench; "" for a panel that is shown inside a tab, or above all of them.
        order: Place among the panels.
        alone: Whether ``Workbench.panel`` can show it in its own cell.
        hinted: State attributes that `hint` is made from.
    """

    title: ClassVar[str] = ""
    order: ClassVar[int]
    alone: ClassVar[bool] = True
    hinted: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def hint(cls, state: State) -> Hint:
        """What stands beside the title of its tab."""
        del state
        return Hint()


SECTIONS: Registry[type[Section]] = Registry("deploykit_widgets.sections", "section")


def panels() -> tuple[type[Panel], ...]:
    """All panels in their order."""
    found = [section for section in SECTIONS.all() if issubclass(section, Panel)]
    return tuple(sorted(found, key=lambda panel: (panel.order, panel.name)))


def tabs() -> tuple[type[Panel], ...]:
    """The panels that have a tab, in their order."""
    return tuple(panel for panel in panels() if panel.title)

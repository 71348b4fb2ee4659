"""Between the panels' state and the browser: sections go out when they change, commands come in.

The browser contains the whole user interface (``widgets/src/app``). It receives what it shows as *sections*, small JSON
values by name, and as *rows*, the candidates by key. A `Section` builds one section from the state and lists the
commands of its panel. The `Hub` sends what has changed, at most ten times per second and never more than about a
megabyte per message, and answers commands. Sections and commands run on the desk's thread, so they need no locks.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import ipywidgets
import msgspec
import traitlets

from deploykit.core.errors import SettingError
from deploykit_widgets.answers import Command, Later, Reply
from deploykit_widgets.desk import Desk
from deploykit_widgets.sections._contract import Section
from deploykit_widgets.state import State, in_words

_MODULE = "deploykit-widgets"
#: Version of the messages, not of the package; the browser rejects any other.
PROTOCOL = "2.0.0"
#: Shown by our extension: the widget while it has a kernel, else the HTML next to it.
MIME_TYPE = "application/vnd.deploykit.workbench.v1+json"
_PUSH_EVERY_S = 0.1
#: Rows in one message; a row has about two kilobytes.
_ROWS_A_MESSAGE = 300

Rows = dict[str, dict[str, Any]]


class Surface(ipywidgets.DOMWidget):  # type: ignore[misc]  # ipywidgets is not typed
    """The widget shown in a cell; the browser draws it.

    Args:
        panels: Panels to show; if empty, all those of the Workbench.
        static: Makes the HTML for viewers without widgets.

    Example:
        >>> with dk.Workbench(model, data, store="runs/panels") as workbench:
        ...     workbench.panel("tradeoff").panels
        ['tradeoff']
    """

    _model_name = traitlets.Unicode("WorkbenchModel").tag(sync=True)
    _model_module = traitlets.Unicode(_MODULE).tag(sync=True)
    _model_module_version = traitlets.Unicode(PROTOCOL).tag(sync=True)
    _view_name = traitlets.Unicode("WorkbenchView").tag(sync=True)
    _view_module = traitlets.Unicode(_MODULE).tag(sync=True)
    _view_module_version = traitlets.Unicode(PROTOCOL).tag(sync=True)
    panels = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, panels: Sequence[str] = (), static: Callable[[], str] = str) -> None:
        super().__init__(panels=list(panels))
        self._static = static

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self._static()}
        if _voila():
            return {**bundle, **(super()._repr_mimebundle_(**options) or {})}
        # For a widget's own type, viewers without its kernel show only that there is no model.
        return bundle if unattended() else {**bundle, MIME_TYPE: {"model_id": self.model_id, "protocol": PROTOCOL}}

    def keep(self, page: str) -> None:
        """Have the browsers that show it store this static HTML in the notebook."""
        _send(self, {"type": "kept", "html": page})


def unattended() -> bool:
    """Whether the cell is run by papermill, nbconvert or a similar tool, without a user to answer a prompt.

    Their output is read later, in viewers that prefer a widget without its kernel to its static form. Voilà runs cells
    the same way, but shows their widgets to a user.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    request = shell.get_parent() if shell is not None and hasattr(shell, "get_parent") else {}
    asked = request.get("content", {}).get("allow_stdin", True)
    return not asked and not _voila()


def _voila() -> bool:
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


class Hub:
    """Sends sections and rows to surfaces, and answers their commands.

    Args:
        state: What is shown.
        desk: Whose thread makes the sections.
        sections: All panels' sections.
        rows: Makes the candidates' rows by key.
        row_fields: Attributes of the state that rows are made from.
    """

    def __init__(
        self,
        state: State,
        desk: Desk,
        sections: Iterable[Section],
        rows: Callable[[], Rows] = dict,
        row_fields: Sequence[str] = (),
    ) -> None:
        self._state = state
        self._desk = desk
        self._sections = {s.name: s for s in sections}
        self._rows = rows
        self._commands = _commands_of(self._sections.values())
        self._surfaces: list[Surface] = []
        self._dirty = set(self._sections)
        self._rows_dirty = bool(row_fields)
        self._broken: dict[str, str] = {}
        self._sent: dict[str, bytes] = {}
        self._sent_rows: dict[str, bytes] = {}
        self._kept = ""
        for section in self._sections.values():
            state.observe(lambda name=section.name: self._mark(name), *section.fields)  # type: ignore[misc]
        if row_fields:
            state.observe(self._mark_rows, *row_fields)

    def add(self, surface: Surface) -> None:
        """Show everything in another surface."""
        self._surfaces.append(surface)
        surface.on_msg(lambda _widget, content, _buffers: self._receive(surface, content))
        self._desk.post(lambda: self.push(surface))

    def keep(self, page: str) -> None:
        """Have the notebook save this HTML for viewers without a kernel."""
        if page != self._kept:
            self._kept = page
            for surface in self._surfaces:
                surface.keep(page)

    def push(self, newcomer: Surface | None = None) -> None:
        """Send what has changed; a new surface gets everything."""
        dirty = sorted(self._dirty)
        self._dirty.clear()  # before: a section that cannot be made makes that of the problems dirty
        changed = {name: value for name in dirty if (value := self._made(name)) is not None}
        made, gone = self._made_rows()
        for surface in self._surfaces:
            if surface is newcomer:
                continue
            _send_sections(surface, changed)
            _send_rows(surface, made, gone, reset=False)
        if newcomer is not None:
            _send_sections(newcomer, {n: msgspec.Raw(v) for n, v in self._sent.items()})
            _send_rows(newcomer, {k: msgspec.Raw(v) for k, v in self._sent_rows.items()}, [], reset=True)

    def _mark(self, name: str) -> None:
        self._dirty.add(name)
        self._desk.at_most_every(_PUSH_EVERY_S, "push", self.push)

    def _mark_rows(self) -> None:
        self._rows_dirty = True
        self._desk.at_most_every(_PUSH_EVERY_S, "push", self.push)

    def _made(self, name: str) -> Any:
        """The section if it has changed, else None."""
        with self.problems_of(name, name):
            encoded = msgspec.json.encode(self._sections[name].value())
            if self._sent.get(name) != encoded:
                self._sent[name] = encoded
                return msgspec.Raw(encoded)
        return None

    def _made_rows(self) -> tuple[dict[str, Any], list[str]]:
        if not self._rows_dirty:
            return {}, []
        self._rows_dirty = False
        with self.problems_of("rows", "tradeoff"):
            encoded = {key: msgspec.json.encode(row) for key, row in self._rows().items()}
            made = {k: msgspec.Raw(v) for k, v in encoded.items() if self._sent_rows.get(k) != v}
            gone = [k for k in self._sent_rows if k not in encoded]
            self._sent_rows = encoded
            return made, gone
        return {}, []

    @contextlib.contextmanager
    def problems_of(self, part: str, panel: str) -> Iterator[None]:
        """If a part cannot be made, its panel shows the problem; the others are sent, and commands are answered."""
        try:
            yield
        except Exception as error:
            self._broken[part] = in_words(error)
            self._state.problem(panel, error)
        else:
            said = self._broken.pop(part, "")
            if said and self._state.problems.get(panel) == said:
                self._state.problem(panel, None)

    # -- commands ---------------------------------------------------------------------------------------------------

    def _receive(self, surface: Surface, content: Any) -> None:
        """Called in the kernel's thread, whenever the kernel delivers messages."""
        if content.get("type") == "hello":
            self._desk.post(lambda: self._welcome(surface))
        elif content.get("type") == "do":
            self._desk.post(lambda: self._do(surface, content))

    def _welcome(self, surface: Surface) -> None:
        """Send everything to a newly opened page, and the static form as well: the page may show an older file."""
        self.push(surface)
        if self._kept:
            surface.keep(self._kept)

    def _do(self, surface: Surface, content: Mapping[str, Any]) -> None:
        number, name = content.get("id"), str(content.get("command"))

        def good(answer: Any) -> None:
            reply = answer if isinstance(answer, Reply) else Reply(answer)
            self.push()  # what the command changed is there before its answer
            _send(surface, {"type": "reply", "id": number, "ok": True, "value": reply.value}, reply.buffers)

        def bad(error: BaseException) -> None:
            self.push()
            _send(surface, {"type": "reply", "id": number, "ok": False, "error": in_words(error)})

        try:
            if name not in self._commands:
                raise SettingError(
                    f"The kernel has no command {name!r}: the page is from a different version of deploykit.",
                    remedy="reload the page, and restart the kernel.",
                )
            answer = self._commands[name](**content.get("args") or {})
        except Exception as error:
            bad(error)
            return
        if isinstance(answer, Later):
            self._desk.run(answer.name, answer.work, good, bad)
        else:
            good(answer)


def _commands_of(sections: Iterable[Section]) -> dict[str, Command]:
    found: dict[str, Command] = {}
    for section in sections:
        for name, command in section.commands().items():
            if name in found:
                raise ValueError(f"two sections have the command {name!r}")
            found[name] = command
    return found


def _send_sections(surface: Surface, sections: dict[str, Any]) -> None:
    if sections:
        _send(surface, {"type": "sections", "sections": sections})


def _send_rows(surface: Surface, rows: dict[str, Any], gone: list[str], *, reset: bool) -> None:
    items = list(rows.items())
    for start in range(0, max(len(items), 1), _ROWS_A_MESSAGE):
        part = dict(items[start : start + _ROWS_A_MESSAGE])
        first = start == 0
        if part or (first and (gone or reset)):
            _send(surface, {"type": "rows", "set": part, "gone": gone if first else [], "reset": reset and first})


def _send(surface: Surface, content: dict[str, Any], buffers: Sequence[bytes] = ()) -> None:
    # Through JSON once, because the comm supports neither raw JSON nor NumPy numbers.
    plain = msgspec.json.decode(msgspec.json.encode(content))
    with contextlib.suppress(AttributeError):  # the widget was closed
        surface.send(plain, buffers=list(buffers))

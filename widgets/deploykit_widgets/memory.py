"""The user's selections, saved in the store and restored after a kernel restart or when the cell is run again.

The arguments of the cell are saved as well. As long as they are unchanged, later selections are restored. If the cell
changes a part (the model, the data, the space, …), the cell takes precedence for that part.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deploykit.core.digest import json_digest
from deploykit.core.errors import DeploykitError
from deploykit.core.files import read_small, replace_whole
from deploykit.core.model import Model
from deploykit.core.serial import dump, parse
from deploykit.core.space import Space
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.code.script import shown_path
from deploykit_widgets.data.fit import of_reading
from deploykit_widgets.data.notebook_names import found_in, name_of
from deploykit_widgets.data.settings import SETTINGS
from deploykit_widgets.data.source import READERS, source_of
from deploykit_widgets.sections._contract import tabs
from deploykit_widgets.sections.space import SpaceSection
from deploykit_widgets.space.options import value_of
from deploykit_widgets.state import DataSource, Goal, State

#: In the store's folder.
FILE = "workbench.json"
_VERSION = 2
_MOST_BYTES = 1 << 20
_WRITE_EVERY_S = 0.3
_FIELDS = ("model", "data", "data_source", "data_name", "data_step", "declared", "space", "space_choice", "controls",
           "options", "goal", "picked", "second", "tab")  # fmt: skip


@dataclass(frozen=True)
class Given:
    """The arguments of the cell.

    Attributes:
        model: As in ``Workbench``.
        data: As in ``Workbench``.
        space: As in ``Workbench``.
        launches: As in ``Workbench``.
        declared: What it declares about the signature.
    """

    model: Any = None
    data: Any = None
    space: str | Space = "quick"
    launches: int = 10
    declared: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, str]:
        """One text per part, equal when the cell is unchanged."""
        space = self.space if isinstance(self.space, str) else json_digest(self.space.to_json())
        return {
            "model": _path_of(self.model),
            "data": _said(self.data),
            "space": space,
            "launches": str(self.launches),
            "declared": repr(sorted(self.declared.items())),
        }


class Memory:
    """Saves what was clicked, and restores it.

    Args:
        commands: Provides the state to save.
        space: Holds the controls of the Space panel.
        given: The arguments of the cell.
        on: Whether anything is saved or restored.
    """

    def __init__(self, commands: Commands, space: SpaceSection, given: Given, *, on: bool = True) -> None:
        self._on = on
        self._commands = commands
        self._state: State = commands.state
        self._space = space
        self._given = given
        self._said = given.to_json()
        self._written = b""
        #: Saved parts that have not been restored yet; they stay in the file.
        self._pending: dict[str, Any] = {}
        #: How inputs were synthesized, until they are again.
        self._synthesis: Mapping[str, Any] | None = None

    def begin(self) -> None:
        """Restore what was clicked, load the rest from the cell, and save what is clicked from now on."""
        if not self._on:
            self._load(None, None)
            return
        try:
            kept = self._read()
            self._bring_back(kept)
        except Exception as error:
            self._state.problem("sweep", f"Earlier selections cannot be read from {self._path}: {error}")
            self._load(None, None)
        state = self._state
        state.observe(lambda: self._commands.desk.at_most_every(_WRITE_EVERY_S, "memory", self._write), *_FIELDS)
        state.observe(self._choose, "report")
        state.observe(self._synthesize, "model", "data")
        self._synthesize()

    @property
    def _path(self) -> Path:
        return self._state.store / FILE

    # -- reading ----------------------------------------------------------------------------------------------------

    def _read(self) -> dict[str, Any]:
        if not self._path.is_file():
            return {}
        found = parse(read_small(self._path, _MOST_BYTES, "the Workbench's settings", DeploykitError))
        if not isinstance(found, dict) or found.get("version") not in (1, _VERSION):
            return {}  # of a later version, which knows better
        if found["version"] == 1:
            found["options"] = _migrated(found["options"])
        said = found.pop("given")
        now = self._said
        same = {part for part, words in now.items() if said.get(part) == words}
        return {part: value for part, value in found.items() if part not in now or part in same}

    def _bring_back(self, kept: Mapping[str, Any]) -> None:
        state = self._state
        if kept.get("tab") in {panel.name for panel in tabs()}:
            state.change(tab=kept["tab"])
        if "declared" in kept:
            state.change(declared=dict(kept["declared"]))
        for name, value in {**kept.get("options", {}), **{n: kept[n] for n in ("launches",) if n in kept}}.items():
            with contextlib.suppress(DeploykitError):  # this version does not know it, or lacks a package for it
                self._commands.set_option(name, value)
        if "goal" in kept:
            state.change(goal=Goal(**kept["goal"]))
        if "space" in kept:
            self._space.restore(kept["space"])
        if choice := kept.get("choice"):
            self._pending["choice"] = choice
        self._load(kept.get("model"), kept.get("data"), kept.get("named", ([], [])))

    def _load(
        self, model: str | None, data: Mapping[str, Any] | None, named: Sequence[Sequence[str]] = ((), ())
    ) -> None:
        """Load model and data: those that were clicked, or else those of the cell."""
        given, commands = self._given, self._commands
        if model and _with_ends(model, named) != self._said["model"]:
            self._pending |= {"model": model, "named": [*map(list, named)]}
            commands.load_model(model, *map(tuple, named))
        elif isinstance(given.model, Model):
            self._state.change(model=given.model)
        elif given.model is not None:
            commands.load_model(given.model)
        if data:
            self._pending["data"] = dict(data)
            self._synthesis = data.get("synthesis")
        if data and "path" in data and data["reader"] in READERS:
            settings = {name: value for name, value in data.get("settings", {}).items() if name in SETTINGS}
            step = Preprocess.from_json(data["preprocess"])
            commands.load_data(DataSource(data["path"], data["reader"], step, settings), of_reading)
        elif given.data is not None or (data and data.get("name")):
            self._use(given.data, data or {})

    def _use(self, given: Any, kept: Mapping[str, Any]) -> None:
        """Use data of the notebook, read as they were read before."""
        step = Preprocess.from_json(kept["step"]) if kept.get("step") else None
        if isinstance(given, str | os.PathLike):
            self._commands.load_data(source_of(os.fspath(given)), of_reading)
            return
        try:
            data = given if given is not None else found_in(kept["name"])
        except DeploykitError as error:
            self._state.problem("data", error, until=("data",))
            return
        self._commands.use(data=data, name=name_of(data) or str(kept.get("name", "")), step=step)

    def _synthesize(self) -> None:
        """Make inputs again, as soon as there is what they were made from: the same seed makes the same."""
        state, settings = self._state, self._synthesis
        if settings is None or state.model is None or (state.data is None and not settings["alone"]):
            return
        self._synthesis = None
        self._commands.synthesize(settings["settings"])

    def _choose(self) -> None:
        """Restore the selection as soon as the store's results are loaded."""
        report = self._state.report
        if report is None or "choice" not in self._pending:
            return
        choice = self._pending.pop("choice")
        a, b = (key if report.rows.get(key) is not None else "" for key in (choice["a"], choice["b"]))
        if a:
            self._commands.pick(a)
        if b:
            with contextlib.suppress(DeploykitError):  # the best so far has become what it was compared with
                self._commands.compare(b)

    # -- writing ----------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        content = dump(self._content(), indent=True)
        if content == self._written:
            return
        with contextlib.suppress(OSError):  # tried again at the next change; the sweep reports such a store
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_whole(self._path, content)
            self._written = content

    def _content(self) -> dict[str, Any]:
        state, pending = self._state, self._pending
        if (model := state.model) is not None:
            pending.pop("model", None)
            pending.pop("named", None)
        if state.data is not None:
            pending.pop("data", None)
        if state.picked or state.second:
            pending.pop("choice", None)
        content = {
            "version": _VERSION,
            "given": self._said,
            "model": _file_of(model) if model is not None and (model.is_part or not model.origin) else "",
            "named": [list(model.named_inputs), list(model.named_outputs)] if model is not None else [[], []],
            "data": _data(state, self._synthesis),
            "declared": dict(state.declared),
            "space": self._space.kept(),
            "launches": value_of(state.options, "launches"),
            "options": {name: value for name, value in state.options.items() if name != "launches"},
            "goal": asdict(state.goal),
            "choice": {"a": state.picked, "b": state.second},
            "tab": state.tab,
        }
        return {**content, **pending}


def _migrated(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of version 1, where one choice stood for ``max_drop`` and ``racing``."""
    losers = {"stop": {"max_drop": True}, "untimed": {"max_drop": True, "racing": False}}
    others = {name: value for name, value in options.items() if name != "losers" and value != ""}
    return losers.get(options.get("losers", ""), {}) | others


def _data(state: State, later: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """How the data were read; ``later`` is how inputs are about to be synthesized."""
    found, made = _read_as(state), state.synthesis
    how = {"settings": dict(made.settings), "alone": made.given is None} if made else later
    return found if how is None else {**(found or {}), "synthesis": how}


def _read_as(state: State) -> dict[str, Any] | None:
    if state.data_source is not None:
        source = state.data_source
        return {
            "path": shown_path(source.path),
            "reader": source.reader,
            "preprocess": source.preprocess.to_json(),
            "settings": dict(source.settings),
        }
    if state.data_name or state.data_step is not None:
        return {"name": state.data_name, "step": state.data_step.to_json() if state.data_step else None}
    return None


def _path_of(model: Any) -> str:
    """The path of a model given as a path or loaded from one; otherwise a description of the object."""
    if not isinstance(model, Model):
        return _said(model)
    return _with_ends(_file_of(model), (model.named_inputs, model.named_outputs))


def _file_of(model: Model) -> str:
    """The file that a model was loaded from."""
    return shown_path(model.origin if model.is_part else model.path)


def _with_ends(path: str, named: Sequence[Sequence[str]]) -> str:
    """A path with the inputs and outputs that were named, if there are any."""
    return f"{path} {dump([*map(list, named)]).decode()}" if any(named) else path


def _said(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str | os.PathLike):
        return shown_path(value)
    if isinstance(value, Dataset):
        return f"Dataset {value.digest}"
    return f"{type(value).__name__} {name_of(value)}"

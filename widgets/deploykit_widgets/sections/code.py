"""Code: the script for what was clicked, and the same as a notebook for papermill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.core.errors import SettingError
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.answers import Command
from deploykit_widgets.code import script
from deploykit_widgets.code.saved_notebook import notebook_of
from deploykit_widgets.sections._contract import Section


class CodeSection(Section):
    """The code drawer."""

    name = "code"
    fields = ("model", "data", "space_choice", "goal", "picked", "chosen", "artifact", "server", "report",
              "options")  # fmt: skip

    def __init__(self, commands: Commands) -> None:
        super().__init__(commands)
        self._lines: list[str] = []
        self._changed: list[int] = []

    @property
    def script(self) -> str:
        """The whole script."""
        return script.script(self._state)

    def value(self) -> Any:
        """See ``ICode`` in code.tsx."""
        text = self.script
        lines = text.rstrip().split("\n")
        if lines != self._lines:
            # The first time, no click has changed anything.
            self._changed = [i for i, line in enumerate(lines) if line not in self._lines] if self._lines else []
            self._lines = lines
        # Data that appear in the store are not the result of a click.
        found = "data = dk.Dataset.open("
        clicked = [lines[i] for i in self._changed if lines[i].strip() and not lines[i].startswith(found)]
        line = clicked[-1] if clicked else lines[-1]
        return {"script": text, "line": line, "changed": self._changed, "notebook": self._path()}

    def commands(self) -> Mapping[str, Command]:
        """Saving."""
        return {"save_notebook": self._save}

    def _path(self) -> str:
        model = self._state.model
        return f"{Path(model.origin or model.path).stem if model else 'model'}-deploykit.ipynb"

    def _save(self, path: str, overwrite: bool = False) -> Any:
        """Write the notebook; an existing file is overwritten only on request."""
        if not path.strip():
            raise SettingError("No path was given for the notebook.", remedy="give a file name, such as best.ipynb.")
        target = Path(path).expanduser()
        if target.suffix != ".ipynb":
            target = target.with_name(f"{target.name}.ipynb")
        if target.exists() and not overwrite:
            return {"saved": "", "taken": True}
        content = notebook_of(self._state, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, "utf-8")
        place = {"path": target.absolute().as_posix(), "home": Path.home().as_posix(), "bytes": target.stat().st_size}
        return {"saved": script.shown_path(target), "taken": False, "place": place}


ADAPTER = CodeSection

"""Export: layout, folder, and what was checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploykit import Artifact
from deploykit.core.registry import registry
from deploykit.core.result import Result
from deploykit.reporting.report import Choice
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.answers import Command
from deploykit_widgets.code.script import shown_path
from deploykit_widgets.sections._contract import Hint, Panel
from deploykit_widgets.space.controls import described
from deploykit_widgets.state import State

_MOST_FILES = 200


class ExportSection(Panel):
    """What would be exported, and what was exported."""

    name = "export"
    title = "Export & serve"
    order = 40
    hinted = ("server", "artifact")
    fields = ("chosen", "best", "picked", "artifact", "checks", "layout", "exported", "model", "server")

    def __init__(self, commands: Commands) -> None:
        super().__init__(commands)
        self._shown: tuple[Artifact | None, Any] = (None, None)

    @classmethod
    def hint(cls, state: State) -> Hint:
        """Whether a candidate has been exported, and whether it is served."""
        words = "serving" if state.server else "exported" if state.artifact else ""
        return Hint(words, done=bool(words))

    def value(self) -> Any:
        """See ``IExport`` in export/panel.tsx."""
        state = self._state
        row = state.chosen.result if state.chosen and state.picked else None
        if state.artifact is not self._shown[0]:
            self._shown = (state.artifact, None if state.artifact is None else _artifact(state.artifact))
        layouts = sorted(registry("deploykit.exporters", "layout").all(), key=lambda e: e.shelf[0])
        return {
            "chosen": None if row is None else _candidate(state.chosen),
            "best": _candidate(state.best),
            "layouts": [
                {
                    "name": e.name,
                    "label": e.label,
                    "place": e.shelf[1],
                    "help": e.help,
                    "reason": refusal(e, row),
                    "settings": _settings(e, state.artifact),
                }
                for e in layouts
            ],
            "layout": state.layout,
            "folder": f"served/{state.model.name}" if state.model is not None else "",
            "checks": [{"words": c.words, "state": c.state} for c in state.checks],
            "artifact": self._shown[1],
            "current": bool(state.artifact and state.chosen and state.exported == state.chosen.key),
        }

    def commands(self) -> Mapping[str, Command]:
        """Choosing the best, and exporting."""
        return {"use_best": self._use_best, "export": self._commands.export}

    def _use_best(self) -> None:
        """Pick the best so far."""
        if self._state.best is not None:
            self._commands.pick(self._state.best.key)


def refusal(layout: Any, row: Result | None) -> str:
    """Why a layout cannot be used for a candidate, "" if it can."""
    if row is None:
        return str(layout.missing())
    if row.status == "failed":
        return "this candidate failed, so there is nothing to export"
    return str(layout.missing()) or str(layout.refuses(row.format))


def _settings(layout: Any, artifact: Artifact | None) -> list[dict[str, Any]]:
    """Controls of a layout's parameters, with the values of the last export where it had this layout."""
    same = artifact is not None and artifact.manifest.layout == layout.name
    given = artifact.manifest.parameters if artifact is not None and same else {}
    values = layout.complete(given)
    return [described(p, [values[p.name]], first=True) for p in layout.parameters]


def _candidate(choice: Choice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    row = choice.result
    runtimes = {r.name: r.label for r in registry("deploykit.runtimes", "runtime").all()}
    formats = {f.name: f.label for f in registry("deploykit.loading", "format").all()}
    target = row.candidate.target
    return {
        "key": row.key,
        "name": row.label,
        "runtime": runtimes.get(target.runtime, target.runtime),
        "format": formats.get(row.format, row.format),
        "met": choice.met,
        "failed": row.status == "failed",
    }


def _artifact(artifact: Artifact) -> dict[str, Any]:
    sizes = artifact.sizes
    layouts = {e.name: e.label for e in registry("deploykit.exporters", "layout").all()}
    return {
        "path": str(artifact.path),
        "shown": shown_path(artifact.path),
        "name": artifact.manifest.name,
        "what": f"{artifact.manifest.recipe}",
        "layout": layouts.get(artifact.manifest.layout, artifact.manifest.layout),
        "bytes": sum(sizes.values()),
        "files": [{"path": name, "bytes": size} for name, size in list(sizes.items())[:_MOST_FILES]],
        "moreFiles": max(0, len(sizes) - _MOST_FILES),
    }


ADAPTER = ExportSection

"""Export: the chosen candidate as a folder that was proved."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from deploykit.core.artifact import Artifact, files_of
from deploykit.core.registry import registry
from deploykit.core.result import Result
from deploykit_widgets import markup
from deploykit_widgets.commands import Commands
from deploykit_widgets.desk import user_only
from deploykit_widgets.markup import text
from deploykit_widgets.results_table import name_of

_MOST_FILES = 40


class ExportPanel:
    """Layout, folder and what was written.

    Args:
        commands: What the button does.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._layouts = {e.name: e for e in registry("deploykit.exporters", "layout").all()}
        self.what = widgets.HTML()
        state = commands.state
        self.layout = widgets.Dropdown(
            options=[(e.label, n) for n, e in self._layouts.items()],
            value=state.layout if state.layout in self._layouts else None,
            description="Layout", tooltip="Form of the folder",
        )  # fmt: skip
        self.layout.observe(user_only(commands.desk, self.show), names="value")
        self.why = widgets.HTML()
        self.folder = widgets.Text(description="Folder", tooltip="Folder to write, on the machine that runs the kernel")
        self.folder.add_class("dk-wide")
        self.button = widgets.Button(description="Export", icon="download", tooltip="Write the folder and verify it")
        self.button.add_class("dk-primary")
        self.button.on_click(user_only(commands.desk, self._export))
        self.result = widgets.HTML()
        self.widget = widgets.VBox(
            [self.what, self.layout, self.why, widgets.HBox([self.folder, self.button]), self.result]
        )
        self.widget.add_class("dk-panel")
        state.observe(self.show, "chosen", "artifact", "busy", "problems", "model")
        self.show()

    def _export(self) -> None:
        self._commands.export(self.folder.value, str(self.layout.value))

    def show(self) -> None:
        """Draw."""
        state = self._commands.state
        row = state.chosen.result if state.chosen else None
        if not self.folder.value and state.model is not None:
            self.folder.value = f"served/{state.model.name}"
        if row is None:
            said = markup.note("Nothing chosen: run the sweep first.")
        else:
            aside = "" if state.picked else " The best so far; pick another one under Explore."
            name = f'<span class="dk-a">A</span> <b>{text(name_of(row))}</b>'
            said = f'<div>{name}<span class="dk-soft">{aside}</span></div>'
        self.what.value = markup.heading("Export") + said
        reason = refusal(self._layouts.get(str(self.layout.value)), row)
        self.why.value = markup.note(text(reason)) if reason else markup.note(text(self._help()))
        self.button.disabled = row is None or bool(reason) or "export" in state.busy
        done = markup.note("Exporting and verifying …") if "export" in state.busy else ""
        done += markup.problem(state.problems.get("export", ""))
        if state.artifact is not None and not done:
            done = proved(state.artifact)
        self.result.value = done

    def _help(self) -> str:
        layout = self._layouts.get(str(self.layout.value))
        return layout.help if layout else ""


def refusal(layout: Any, row: Result | None) -> str:
    """Why a layout cannot hold a candidate, "" when it can."""
    if layout is None or row is None:
        return ""
    if row.status == "failed":
        return "This candidate failed: there is nothing to export."
    if reason := str(layout.missing()) or str(layout.refuses(row.format)):
        return f"{layout.label} cannot be used: {reason}."
    return ""


def proved(artifact: Artifact) -> str:
    """What was checked, and the files, as HTML."""
    files = files_of(artifact.path)
    items = "".join(
        f'<tr><td>{text(name)}</td><td class="dk-n">{(artifact.path / name).stat().st_size / 1000:,.1f} kB</td></tr>'
        for name in files[:_MOST_FILES]
    )
    more = len(files) - _MOST_FILES
    items += f"<tr><td>and {more} more</td><td></td></tr>" if more > 0 else ""
    return (
        '<div class="dk-verdict dk-good" role="status"><span aria-hidden="true">✓</span> Verified: '
        f"{markup.count(len(files), 'file')} written, digests as in the manifest, golden outputs reproduced in a "
        f"process of its own.</div><div>Folder <code>{text(artifact.path)}</code></div>"
        f'<div class="dk-scroll" tabindex="0"><table aria-label="Files of the artifact">{items}</table></div>'
    )

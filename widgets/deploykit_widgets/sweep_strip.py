"""Sweep: what runs now, what is left; pause, resume, cancel."""

from __future__ import annotations

import ipywidgets as widgets

from deploykit.core.events import Progress
from deploykit.reporting.progress import duration
from deploykit_widgets import markup
from deploykit_widgets.commands import Commands
from deploykit_widgets.desk import user_only
from deploykit_widgets.markup import text
from deploykit_widgets.state import State

_PHASES = {"plan": "Preparing", "build": "Building", "accuracy": "Evaluating", "latency": "Measuring"}
#: Screen readers are told of progress at most this often.
_ANNOUNCE_EVERY_S = 10.0


class SweepStrip:
    """One line, a bar and two buttons.

    Args:
        commands: What the buttons do.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self.line = widgets.HTML()
        self.bar = widgets.HTML()
        self.spoken = widgets.HTML()
        self.spoken.add_class("dk-unseen")
        self.pause = widgets.Button(
            description="Pause", icon="pause", tooltip="Start nothing new; what runs is finished"
        )
        self.cancel = widgets.Button(
            description="Cancel", icon="times", tooltip="Stop now; everything finished is kept"
        )
        self.pause.on_click(user_only(commands.desk, self._pause_or_resume))
        self.cancel.on_click(user_only(commands.desk, commands.cancel))
        top = widgets.HBox([self.line, widgets.HBox([self.pause, self.cancel])])
        top.add_class("dk-strip-top")
        self.problem = widgets.HTML()
        self.widget = widgets.VBox([top, self.bar, self.problem, self.spoken])
        self.widget.add_class("dk-strip")
        commands.state.observe(self.show, "sweep", "progress", "report", "problems")
        self.show()

    def _pause_or_resume(self) -> None:
        if self._commands.state.sweep == "running":
            self._commands.pause()
        else:
            self._commands.resume()

    def show(self) -> None:
        """Draw."""
        state = self._commands.state
        self.widget.layout.display = "none" if state.sweep == "idle" and not state.problems.get("sweep") else ""
        words, left = sentence(state)
        self.line.value = f'<div class="dk-line"><span>{words}</span><span class="dk-soft">{text(left)}</span></div>'
        self.bar.value = bar(state.progress) if state.sweeping else ""
        self.problem.value = markup.problem(state.problems.get("sweep", ""))
        for part in (self.bar, self.problem):
            part.layout.display = "" if part.value else "none"
        self.pause.disabled = state.sweep in {"starting", "cancelling", "done", "idle"}
        self.pause.description = "Pause" if state.sweep in {"starting", "running"} else "Resume"
        self.pause.icon = "pause" if self.pause.description == "Pause" else "play"
        self.pause.layout.display = self.cancel.layout.display = "none" if state.sweep in {"done", "idle"} else ""
        if state.sweep in {"cancelled", "failed"}:
            self.cancel.layout.display = "none"
        self.cancel.disabled = state.sweep == "cancelling"
        spoken = f'<div role="status">{words} {text(left)}</div>'
        if state.sweeping:
            self._commands.desk.at_most_every(_ANNOUNCE_EVERY_S, "announce", lambda: self._speak(spoken))
        else:
            self._speak(spoken if state.sweep != "idle" else "")

    def _speak(self, words: str) -> None:
        self.spoken.value = words


def sentence(state: State) -> tuple[str, str]:
    """What the sweep does, as HTML, and the time left in words."""
    measured, failed, total = counts(state)
    progress = state.progress
    if state.sweep == "idle":
        return "", ""
    if state.sweep == "starting":
        return "<b>Starting the sweep</b>", ""
    if state.sweep == "cancelling":
        return "<b>Cancelling</b>; everything finished is kept", ""
    if state.sweep == "paused":
        left = markup.count(total - measured - failed, "candidate")
        return f"<b>Paused</b>, {left} left. Finished ones are safe.", ""
    if state.sweep == "cancelled":
        return f"<b>Cancelled after {measured + failed} of {total}.</b> Nothing is lost.", ""
    if state.sweep == "failed":
        return f"<b>Stopped after {measured + failed} of {total}.</b> Nothing finished is lost.", ""
    if state.sweep == "done":
        said = f"<b>Done: {measured} measured</b>" + (f", {failed} failed" if failed else "")
        return said + f", {duration(state.took_s)}.", ""
    if progress is None:
        return "<b>Starting processes</b>", ""
    phase = _PHASES.get(progress.phase, "Working")
    parts = [f"<b>{phase}</b>" + (f", {measured + failed} of {total} done" if total else ""), text(progress.doing)]
    parts += [f"{progress.reused} reused"] if progress.reused else []
    parts += [f"{progress.failed} failed"] if progress.failed else []
    left_s = progress.seconds_left
    return " · ".join(parts), "estimating time left" if left_s is None else f"about {duration(left_s)} left"


def counts(state: State) -> tuple[int, int, int]:
    """Candidates measured, failed, and all."""
    rows = state.report.rows if state.report else ()
    measured = sum(r.status == "measured" for r in rows)
    failed = sum(r.status == "failed" for r in rows)
    planned = len(state.plan.candidates) if state.plan else 0
    return measured, failed, max(len(rows), planned if not rows else 0)


def bar(progress: Progress | None) -> str:
    """The bar: units found finished, units done now, units left."""
    total = max(progress.total, 1) if progress else 1
    done, reused = (progress.done, min(progress.reused, progress.done)) if progress else (0, 0)
    share = min(100, round(100 * done / total))
    parts = ((reused, "dk-reused"), (done - reused, "dk-done"))
    inner = "".join(f'<span class="{kind}" style="width:{100 * n / total:.2f}%"></span>' for n, kind in parts)
    return (
        f'<div class="dk-progress" role="progressbar" aria-label="Progress of the sweep" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{share}" aria-valuetext="{done} of {total} units of work">{inner}</div>'
    )

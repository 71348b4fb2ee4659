"""Space: presets, techniques with the controls they declare, where to run, and how many candidates that makes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from deploykit.core.candidate import Target
from deploykit.core.errors import DeploykitError
from deploykit.core.parameter import Parameter
from deploykit.core.registry import registry
from deploykit.core.space import Space
from deploykit_widgets import markup, space_choice
from deploykit_widgets.commands import Commands
from deploykit_widgets.controls import Values
from deploykit_widgets.desk import user_only
from deploykit_widgets.markup import text
from deploykit_widgets.space_choice import PRESETS, SpaceChoice

_THREADS = Parameter(
    "threads", "int", 1, "Threads of one inference.", minimum=1, maximum=max(2, os.cpu_count() or 1), step=1
)
_BATCH = Parameter("batch_size", "int", 1, "Examples in one timed inference.", "Batch", minimum=1, maximum=4096, step=1)
_MOST_REASONS = 40


class SpacePanel:
    """What to try and where.

    Args:
        commands: What the buttons do.
        space: Name of a preset, or a space made in code.
    """

    def __init__(self, commands: Commands, space: str | Space) -> None:
        self._commands = commands
        self._desk = commands.desk
        preset = space if isinstance(space, str) else ""
        self._given = None if isinstance(space, str) else space
        changed = user_only(self._desk, self._read)
        options = [(p.capitalize(), p) for p in PRESETS]
        options += [("Given", "")] if self._given is not None else []
        self.preset = widgets.ToggleButtons(
            options=options, value=preset, tooltips=[_preset_help(v) for _, v in options]
        )
        self.preset.add_class("dk-presets")
        self.preset.observe(user_only(self._desk, self._new_preset), names="value")
        self.techniques = {t.name: Technique(t, changed) for t in space_choice.technique_adapters()}
        self.runtimes = {r.name: RuntimeBox(r, changed) for r in registry("deploykit.runtimes", "runtime").all()}
        self.threads = Values(_THREADS, "Run on", [1], changed)
        self.batch = Values(_BATCH, "Run on", [1], changed)
        self.heading = widgets.HTML()
        self.summary = widgets.HTML()
        self.run = widgets.Button(
            description="Run sweep", tooltip="Build, evaluate and time the candidates", icon="play"
        )
        self.run.add_class("dk-primary")
        self.run.on_click(user_only(self._desk, commands.start))
        where = widgets.VBox([
            widgets.HTML('<div class="dk-label">Run on</div>'),
            *(r.widget for r in self.runtimes.values()),
            widgets.HBox([self.threads.widget, self.batch.widget]),
        ])  # fmt: skip
        where.add_class("dk-section")
        self.widget = widgets.VBox(
            [self.heading, self.preset, *(t.widget for t in self.techniques.values()), where, self.summary, self.run]
        )
        self.widget.add_class("dk-space")
        state = commands.state
        state.observe(self.show, "model", "data", "plan", "report", "sweep", "problems", "space")
        self._new_preset()
        self.show()

    @property
    def choice(self) -> SpaceChoice:
        """What the controls say.

        Raises:
            SettingError: A value cannot be used.
        """
        preset = self.preset.value
        given = None if preset else self._given
        base = SpaceChoice(preset, given).base
        values = {name: t.changes(base) for name, t in self.techniques.items() if t.ticked.value}
        return SpaceChoice(
            preset,
            given,
            {name: bool(t.ticked.value) for name, t in self.techniques.items()},
            {name: v for name, v in values.items() if v},
            self._targets(base),
        )

    def _targets(self, base: Space) -> tuple[Target, ...]:
        """Targets the user wants; empty when the space's own are left as they are."""
        chosen = tuple(n for n, r in self.runtimes.items() if r.ticked.value)
        if not chosen:
            raise DeploykitError("nothing to run: no runtime is ticked.", remedy="tick one under Run on.")
        threads, batches = self.threads.values, self.batch.values
        if (chosen, threads, batches) == self._where(base):
            return ()
        return tuple(
            Target(n, threads=int(t or 1), batch_size=int(b or 1)) for n in chosen for t in threads for b in batches
        )

    def _where(self, base: Space) -> tuple[tuple[str, ...], space_choice.Values, space_choice.Values]:
        """Runtimes, threads and batch sizes of a space."""
        here = [n for n, r in self.runtimes.items() if not r.ticked.disabled]
        usual = [n for n in here if self.runtimes[n].usual]
        targets = [t for t in base.targets if t.runtime in here] or [Target(n) for n in usual]
        named = {t.runtime for t in targets}
        threads, batches = {t.threads for t in targets}, {t.batch_size for t in targets}
        return tuple(n for n in here if n in named), tuple(sorted(threads)), tuple(sorted(batches))

    def _new_preset(self) -> None:
        base = SpaceChoice(self.preset.value, self._given).base
        for technique in self.techniques.values():
            technique.follow(base, fixed=not self.preset.value)
        runtimes, threads, batches = self._where(base)
        for name, box in self.runtimes.items():
            box.ticked.value = name in runtimes
        self.threads.set(threads)
        self.batch.set(batches)
        self._read()

    def _read(self) -> None:
        state = self._commands.state
        try:
            choice = self.choice
            space = choice.space
        except DeploykitError as error:
            state.problem("space", error)
            state.change(space=None)
            return
        state.problem("space", None)
        if choice != state.space_choice:
            state.change(space_choice=choice)
        if space != state.space:
            state.change(space=space)

    def show(self) -> None:
        """Draw counts, reasons and the button."""
        state = self._commands.state
        plan = state.plan
        count = "" if plan is None else markup.count(len(plan.candidates), "candidate")
        self.heading.value = markup.heading("Space", count)
        for name, technique in self.techniques.items():
            technique.count(None if plan is None else sum(_uses(c, name) for c in plan.candidates))
        self.summary.value = self._summary()
        self.run.disabled = plan is None or state.sweeping
        self.run.description = "Sweep is running" if state.sweeping else "Run sweep"

    def _summary(self) -> str:
        state = self._commands.state
        wrong = [state.problems.get(name, "") for name in ("space", "plan")]
        if any(wrong):
            return "".join(map(markup.problem, wrong))
        if state.model is None or state.data is None:
            missing = [n for n, v in (("a model", state.model), ("data", state.data)) if v is None]
            return markup.note(f"Load {' and '.join(missing)} to see what can run.")
        if state.plan is None:
            return markup.note("Planning …")
        rows = state.report.rows if state.report else ()
        return summary(state.plan, {r.key for r in rows if r.status == "measured"})


def _uses(planned: Any, technique: str) -> bool:
    return any(step.technique == technique for step in planned.candidate.recipe.steps)


def summary(plan: Any, known: set[str]) -> str:
    """Counts and what was left out, as HTML."""
    reused = sum(c.key in known for c in plan.candidates)
    parts = [f"<b>{markup.count(len(plan.candidates), 'candidate')}</b>"]
    parts += [f"{reused} known already"] if reused else []
    parts += [f"{markup.count(plan.duplicates, 'duplicate')} merged"] if plan.duplicates else []
    said = ", ".join(parts)
    if plan.refine.top:
        threads = ", ".join(map(str, plan.refine.threads))
        said += f"; then the best {plan.refine.top} with {threads} threads"
    said = f'<div class="dk-count" role="status">{said}.</div>'
    said += "".join(markup.note(text(line)) for line in plan.costs)
    if resolution := plan.resolution:
        said += markup.note(text(resolution if plan.can_resolve else f"⚠ {resolution}"))
    if plan.left_out:
        items = "".join(f"<li>{text(o.label)}: {text(o.reason)}</li>" for o in plan.left_out[:_MOST_REASONS])
        more = len(plan.left_out) - _MOST_REASONS
        items += f"<li>and {more} more</li>" if more > 0 else ""
        combinations = markup.count(len(plan.left_out), "impossible combination")
        said += f"<details><summary>{combinations} left out</summary><ul>{items}</ul></details>"
    if plan.remarks:
        items = "".join(f"<li>{text(label)}: {text(reason)}</li>" for reason, label in plan.reasons[:_MOST_REASONS])
        pointless = len({r.key for r in plan.pointless})
        words = f"{markup.count(pointless, 'pointless candidate')}" if pointless else "Worth knowing"
        said += f"<details><summary>{words}</summary><ul>{items}</ul></details>"
    return said


class Technique:
    """A check box and the controls of one technique.

    Args:
        adapter: The technique.
        on_change: Called when the user has changed something.
    """

    def __init__(self, adapter: Any, on_change: Callable[[Any], None]) -> None:
        self.adapter = adapter
        self._reason = adapter.missing()
        self.ticked = widgets.Checkbox(description=adapter.label, indent=False, tooltip=adapter.help)
        self.ticked.disabled = bool(self._reason)
        self.ticked.observe(on_change, names="value")
        self.ticked.observe(self._fold, names="value")
        self._counted = widgets.HTML()
        self._counted.add_class("dk-soft")
        self.values = {p.name: Values(p, adapter.name, [p.default], on_change) for p in adapter.parameters}
        self._first, self._more = widgets.VBox([]), widgets.VBox([])
        # A button and not an Accordion, whose header no key can reach.
        self._unfold = widgets.ToggleButton(
            description="More settings", icon="caret-right", tooltip=f"Show or hide more settings of {adapter.label}"
        )
        self._unfold.add_class("dk-more")
        self._unfold.observe(self._fold, names="value")
        self._box = widgets.VBox([self._first, self._unfold, self._more])
        self._box.add_class("dk-settings")
        head = widgets.HBox([self.ticked, self._counted])
        head.add_class("dk-technique")
        why = widgets.HTML(markup.note(text(self._reason)))
        self.widget = widgets.VBox([head, *([why] if self._reason else []), self._box])
        self.widget.add_class("dk-section")

    def follow(self, base: Space, *, fixed: bool) -> None:
        """Show what a space does with the technique; ``fixed``: its values cannot be changed here."""
        used = self.adapter.name in space_choice.techniques_of(base)
        shown = space_choice.base_values(base, self.adapter.name, self.adapter.parameters)
        first = space_choice.varied(base, self.adapter.name) or {p.name for p in self.adapter.parameters[:1]}
        for name, values in self.values.items():
            values.set(shown[name])
            values.enable(not (fixed and used))
        self._first.children = [v.widget for n, v in self.values.items() if n in first]
        self._more.children = [v.widget for n, v in self.values.items() if n not in first]
        self.ticked.value = used and not self._reason
        self._fold()

    def changes(self, base: Space) -> dict[str, space_choice.Values]:
        """Parameters whose values differ from the space's.

        Raises:
            SettingError: A value cannot be used.
        """
        shown = space_choice.base_values(base, self.adapter.name, self.adapter.parameters)
        return {n: v.values for n, v in self.values.items() if set(v.values) != set(shown[n])}

    def count(self, candidates: int | None) -> None:
        """Show how many candidates use it."""
        ticked = self.ticked.value and candidates is not None
        self._counted.value = str(candidates) if ticked else ""

    def _fold(self, _change: Any = None) -> None:
        self._box.layout.display = "" if self.ticked.value and self.values else "none"
        self._unfold.layout.display = "" if self._more.children else "none"
        self._unfold.icon = "caret-down" if self._unfold.value else "caret-right"
        self._more.layout.display = "" if self._unfold.value else "none"


class RuntimeBox:
    """A check box of one runtime, with the reason when it cannot be used.

    Args:
        adapter: The runtime.
        on_change: Called when the user has changed it.

    Attributes:
        usual: Whether spaces that name no target include it.
    """

    def __init__(self, adapter: Any, on_change: Callable[[Any], None]) -> None:
        reason = adapter.missing()
        self.usual = adapter.default
        self.ticked = widgets.Checkbox(
            value=self.usual and not reason, description=adapter.label, indent=False, disabled=bool(reason),
            tooltip=" ".join(filter(None, (adapter.help, adapter.note))),
        )  # fmt: skip
        self.ticked.observe(on_change, names="value")
        self.widget = widgets.VBox([self.ticked, *([widgets.HTML(markup.note(text(reason)))] if reason else [])])


def _preset_help(name: str) -> str:
    return {
        "quick": "A few candidates of each technique: minutes",
        "balanced": "More settings and combinations",
        "thorough": "The most settings and combinations: start it before lunch",
        "": "The space that was given in code",
    }[name]

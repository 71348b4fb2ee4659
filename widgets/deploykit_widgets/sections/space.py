"""Space: presets, techniques with the controls they declare, where to run, and how many candidates that makes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from deploykit.core.candidate import Recipe, Target
from deploykit.core.errors import DeploykitError, SettingError, unknown_name
from deploykit.core.parameter import Parameter
from deploykit.core.registry import registry
from deploykit.core.space import Space
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.answers import Command, Later
from deploykit_widgets.sections import _space_summary as summary
from deploykit_widgets.sections._contract import Panel
from deploykit_widgets.space import options
from deploykit_widgets.space.choice import (
    PRESETS,
    SpaceChoice,
    Values,
    base_values,
    technique_adapters,
    techniques_of,
    varied,
)
from deploykit_widgets.space.controls import checked, choices_of, described
from deploykit_widgets.space.where import Where, ask_for_devices

_PRESET_HELP = {
    "quick": "A few candidates per technique. Takes minutes.",
    "balanced": "More settings and combinations.",
    "thorough": "The most settings and combinations. Start it before lunch.",
    "smallest": "For storage and downloads: prunes, shares values and quantizes, and trains in between. Takes minutes.",
    "": "The space given in code.",
}
_THREADS = Parameter("threads", "int", 1, "Threads per inference.", minimum=1, maximum=1024, step=1)
_BATCH = Parameter("batch_size", "int", 1, "Examples per timed inference.", "Batch", minimum=1, maximum=4096, step=1)
_LENGTHS = Parameter(
    "lengths", "int", None, "Sizes of free dimensions (tokens of a text, pixels of a side) at which latency is "
    "measured as well, separated by commas.", minimum=1,
)  # fmt: skip
#: Settings of where to run; in commands they belong to the technique "".
_WHERE = {p.name: p for p in (_THREADS, _BATCH, _LENGTHS)}


class SpaceSection(Panel):
    """What to try and where.

    This class holds the values of the controls and turns them into `State.space_choice` and `State.space`. A value that
    cannot be used is rejected with the reason, and the last good one stays.
    """

    name = "space"
    order = 31
    fields = ("model", "data", "plan", "planning", "obstacles", "report", "sweep", "problems", "busy",
              "space", "space_choice", "options", "goal", "devices", "controls")  # fmt: skip

    def __init__(self, commands: Commands) -> None:
        super().__init__(commands)
        space = commands.state.start
        self._preset = space if isinstance(space, str) else ""
        self._given = None if isinstance(space, str) else space
        self._techniques = {t.name: t for t in technique_adapters()}
        self._ticked: dict[str, bool] = {}
        self._values: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._where = Where()
        #: Why the last values the user entered were rejected.
        self._refused: dict[tuple[str, str], str] = {}
        self._follow()
        commands.state.observe(self._reach, "obstacles")

    # -- what the browser shows -------------------------------------------------------------------------------------

    def value(self) -> Any:
        """See ``ISpace`` in space/panel.tsx."""
        state = self._commands.state
        contract = state.plan.examined.contract if state.plan is not None and state.plan.examined else None
        return {
            "preset": self._preset,
            "presets": [
                {"name": p, "label": p.capitalize() or "Given", "help": _PRESET_HELP[p]}
                for p in (*PRESETS, *([""] if self._given is not None else []))
            ],
            "techniques": [self._technique(t) for t in self._techniques.values()],
            "devices": self._where.devices(state.devices, state.obstacles),
            "devicesKnown": bool(state.devices),
            "where": [
                self._control("", p, fixed=False, first=True) for p in _WHERE.values()
                if p is not _LENGTHS or self._free()
            ],
            "added": [{"key": r.key, "label": describe(r)} for r in self._recipes],
            "plan": summary.counts(state),
            "run": summary.button(state),
            "line": summary.line(state, self._preset, self._changes(), self._ticked, len(self._where.runtimes)),
            "options": options.described(state.options, contract),
            "cores": os.cpu_count() or 1,
        }  # fmt: skip

    def _technique(self, adapter: Any) -> dict[str, Any]:
        state = self._commands.state
        base = self._base
        used = adapter.name in techniques_of(base)
        fixed = used and not self._preset
        first = varied(base, adapter.name) or {p.name for p in adapter.parameters[:1]}
        ticked = self._ticked[adapter.name]
        impossible = state.obstacles.technique(adapter.name, self._where.runtimes) if state.obstacles else ""
        count = summary.uses(state, adapter.name)
        return {
            "name": adapter.name,
            "label": _title(adapter.label),
            "help": adapter.help,
            "on": ticked,
            "count": count if ticked else None,
            # As long as it has candidates (after another step, for example), it is not called impossible.
            "missing": adapter.missing(),
            "impossible": "" if ticked and count else impossible,
            "fixed": fixed,
            "controls": [
                self._control(adapter.name, p, fixed=fixed, first=p.name in first) for p in adapter.parameters
            ],
        }

    def _control(self, owner: str, parameter: Parameter, *, fixed: bool, first: bool) -> dict[str, Any]:
        found = self._commands.state.obstacles
        obstacles = (
            {value: found.value(owner, parameter.name, value, self._where.runtimes) for value in choices_of(parameter)}
            if found
            else {}
        )
        values = self._values[owner, parameter.name]
        return described(
            parameter, values, first=first, fixed=fixed, problem=self._wrong(owner, parameter), obstacles=obstacles,
            empty="none" if parameter is _LENGTHS else "automatic",
        )  # fmt: skip

    # -- what the browser asks for ----------------------------------------------------------------------------------

    def commands(self) -> Mapping[str, Command]:
        """One for each control."""
        commands = self._commands
        return {
            "set_preset": self.set_preset,
            "set_technique": self.set_technique,
            "set_values": self.set_values,
            "set_runtimes": self.set_runtimes,
            "set_threads": lambda values: self.set_values("", "threads", values),
            "set_batch": lambda values: self.set_values("", "batch_size", values),
            "set_lengths": lambda values: self.set_values("", "lengths", values),
            "find_devices": lambda: commands.find_devices(ask_for_devices),
            "add_recipe": self.add_recipe,
            "remove_recipe": commands.remove_recipe,
            "set_option": commands.set_option,
            "look_at": lambda name, value: Later("machine", lambda: options.look_at(name, value)),
            "reset_options": self.reset_options,
        }

    def set_preset(self, name: str) -> None:
        """Start from a preset, or ("") from the space given in code."""
        if name not in PRESETS and (name or self._given is None):
            raise unknown_name("preset", name, PRESETS)
        self._preset = name
        self._follow()

    def set_technique(self, name: str, on: bool) -> None:
        """Turn a technique on or off."""
        technique = self._known(name)
        if on and (reason := technique.missing()):
            raise SettingError(f"{technique.label} cannot be used: {reason}.")
        self._ticked[name] = bool(on)
        self._read()

    def set_values(self, technique: str, parameter: str, values: list[Any]) -> None:
        """Try other values; when one is rejected, the last good ones stay, and the reason is shown next to them."""
        key = technique, parameter
        if key not in self._values:
            raise unknown_name(f"parameter for {technique or 'where to run'}", parameter,
                               {p for t, p in self._values if t == technique})  # fmt: skip
        self._refused.clear()
        adapters = self._techniques[technique].parameters if technique else _WHERE.values()
        try:
            self._values[key] = checked(
                next(p for p in adapters if p.name == parameter), self._owner(technique), values
            )
        except SettingError as error:
            self._refused[key] = summary.sentence(str(error))
        self._read()

    def set_runtimes(self, devices: list[list[str]]) -> None:
        """Run on these pairs of runtime and device."""
        self._where.choose([(str(runtime), str(device)) for runtime, device in devices])
        self._read()

    def add_recipe(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Try one more recipe, given as JSON; returns whether it is new, and its name."""
        found = Recipe.from_json(dict(recipe))
        return {"added": self._commands.add_recipe(found), "label": describe(found), "key": found.key}

    def reset_options(self) -> None:
        """Reset the sweep options to their defaults."""
        self._commands.state.change(options={})

    def kept(self) -> dict[str, Any]:
        """The values of the controls, as JSON."""
        values: dict[str, dict[str, list[Any]]] = {}
        for (owner, parameter), tried in self._values.items():
            values.setdefault(owner, {})[parameter] = list(tried)
        return {
            "preset": self._preset,
            "ticked": dict(self._ticked),
            "values": values,
            "where": [list(place) for place in self._where.chosen],
            "by_hand": self._where.by_hand,
            "added": [recipe.to_json() for recipe in self._recipes],
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Restore saved controls; settings this version does not know keep the values of the preset."""
        if kept["preset"] in PRESETS or self._given is not None:
            self._preset = kept["preset"]
            self._follow()
        for name, on in kept["ticked"].items():
            if name in self._techniques:
                self._ticked[name] = bool(on) and not self._techniques[name].missing()
        for owner, parameters in kept["values"].items():
            for name, tried in parameters.items():
                if (owner, name) in self._values:
                    self._values[owner, name] = tuple(tried)
        with contextlib.suppress(SettingError):
            self._where.choose([(str(runtime), str(device)) for runtime, device in kept["where"]])
            self._where.by_hand = bool(kept.get("by_hand", True))
        self._read()
        for recipe in kept["added"]:
            with contextlib.suppress(DeploykitError):
                self._commands.add_recipe(Recipe.from_json(recipe))

    def _free(self) -> bool:
        """Whether lengths matter: the model has a free dimension besides the batch, or there are some to take out."""
        model = self._commands.state.model
        free = model is not None and any(None in (s.shape or (None,))[1:] for s in model.inputs)
        return free or any(self._values["", "lengths"])

    # -- from controls to a space -----------------------------------------------------------------------------------

    @property
    def _base(self) -> Space:
        return SpaceChoice(self._preset, self._given).base

    @property
    def _recipes(self) -> tuple[Recipe, ...]:
        choice = self._commands.state.space_choice
        return choice.extra if choice else ()

    def _known(self, name: str) -> Any:
        if name not in self._techniques:
            raise unknown_name("technique", name, self._techniques)
        return self._techniques[name]

    def _follow(self) -> None:
        """Reset all controls to the values of the base."""
        base = self._base
        self._refused.clear()
        used = techniques_of(base)
        for name, adapter in self._techniques.items():
            self._ticked[name] = name in used and not adapter.missing()
            for parameter, values in base_values(base, name, adapter.parameters).items():
                self._values[name, parameter] = values
        self._where.follow(base)
        if self._preset and self._commands.state.obstacles:
            self._where.reach(self._commands.state.obstacles)
        threads, batches = self._where.sizes(base)
        self._values["", "threads"], self._values["", "batch_size"] = threads, batches
        self._values["", "lengths"] = _lengths_of(base) or (None,)
        self._read()

    def _reach(self) -> None:
        """Once it is known which runtimes can run the model, a preset uses only these."""
        state = self._commands.state
        obstacles = state.obstacles
        # A sweep that has started uses what was ticked then, and so does the code for it.
        if self._preset and obstacles and not state.sweeping and self._where.reach(obstacles):
            self._read()

    def _owner(self, technique: str) -> str:
        return self._techniques[technique].label if technique else "run on"

    def _wrong(self, owner: str, parameter: Parameter) -> str:
        if refused := self._refused.get((owner, parameter.name)):
            return refused
        try:
            checked(parameter, self._owner(owner), self._values[owner, parameter.name])
        except SettingError as error:
            return summary.sentence(str(error))
        return ""

    def _read(self) -> None:
        state = self._commands.state
        try:
            self._commands.choose_space(self._choice())
        except DeploykitError as error:
            state.problem("space", error)
            state.change(space=None)
        else:
            state.problem("space", None)
        state.change(controls=state.controls + 1)

    def _choice(self) -> SpaceChoice:
        """The choice that the controls make.

        Raises:
            SettingError: A value cannot be used.
        """
        base = self._base
        values = {n: self._changed(base, n) for n in self._techniques if self._ticked[n]}
        threads, batches, sizes = (checked(p, "run on", self._values["", n]) for n, p in _WHERE.items())
        lengths = tuple(sorted(int(n) for n in sizes if n))
        other = lengths != _lengths_of(base)
        # What targets name themselves comes before what the space does.
        own = any(t.lengths for t in base.targets)
        targets = self._targets(base, threads, batches, rebuild=other and own)
        return SpaceChoice(
            self._preset,
            self._given if not self._preset else None,
            dict(self._ticked),
            {name: v for name, v in values.items() if v},
            targets,
            self._recipes,
            lengths if other or (targets and own) else None,
        )

    def _changed(self, base: Space, technique: str) -> dict[str, Values]:
        """Parameters of a technique whose values differ from the base's."""
        parameters = self._techniques[technique].parameters
        shown = base_values(base, technique, parameters)
        found = {p.name: checked(p, self._owner(technique), self._values[technique, p.name]) for p in parameters}
        return {name: values for name, values in found.items() if set(values) != set(shown[name])}

    def _targets(self, base: Space, threads: Values, batches: Values, *, rebuild: bool) -> tuple[Target, ...]:
        """Targets the user wants; empty when the base's own are left as they are, unless ``rebuild``."""
        if not self._where.chosen:
            raise SettingError("Nothing to run: no runtime is selected.", remedy="select one under Run on.")
        if self._where.is_of(base, threads, batches) and not rebuild:
            return ()
        return tuple(
            Target(runtime, device, int(t or 1), int(b or 1))
            for runtime, device in self._where.chosen
            for t in threads
            for b in batches
        )

    def _changes(self) -> int:
        """Number of controls that differ from the preset."""
        choice = self._commands.state.space_choice
        if choice is None:
            return 0
        used = techniques_of(self._base)
        ticks = sum(on != (n in used) for n, on in choice.techniques.items() if not self._techniques[n].missing())
        sizes = (set(self._values["", "threads"]), set(self._values["", "batch_size"]))
        elsewhere = self._where.by_hand or sizes != tuple(map(set, self._where.sizes(self._base)))
        moved = bool(choice.targets) and elsewhere
        sized = _lengths_of(self._base) != tuple(sorted(n for n in self._values["", "lengths"] if n))
        return ticks + sum(map(len, choice.values.values())) + moved + len(choice.extra) + sized


def _lengths_of(space: Space) -> tuple[int, ...]:
    """Sizes at which a space measures latency as well, the targets' own included."""
    return tuple(sorted({*space.lengths, *(n for t in space.targets for n in t.lengths)}))


def describe(recipe: Recipe) -> str:
    """A recipe in words: the labels of its techniques and the parameters that differ from their defaults."""
    techniques = registry("deploykit.transforms", "technique")
    return " → ".join(techniques.get(s.technique).describe(s.parameters) for s in recipe.steps) or "original"


def _title(label: str) -> str:
    """A technique's label as a heading; names of types, such as int8, are written as they are."""
    return label if any(c.isdigit() for c in label.split(" ")[0]) else label[:1].upper() + label[1:]


ADAPTER = SpaceSection

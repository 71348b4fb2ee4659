"""Turn the values of the controls into a space, and into the code that makes the same space."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter, Value
from deploykit.core.registry import registry
from deploykit.core.space import Space

#: Presets in order of cost, and the one for storage.
PRESETS = ("quick", "balanced", "thorough", "smallest")

Values = tuple[Value, ...]


@dataclass(frozen=True)
class SpaceChoice:
    """The values of the controls in the Space panel.

    Attributes:
        preset: Name of a preset; "" for ``given``.
        given: A space made in code.
        techniques: Technique → whether it is ticked.
        values: Technique → parameter → values to try; only those the user changed.
        targets: Where to run; empty: every installed runtime, one thread.
        extra: Recipes that were added individually, for example from the sensitivity of a layer.
        lengths: Sizes of free dimensions at which latency is measured as well; None: those of the base.
    """

    preset: str = "quick"
    given: Space | None = None
    techniques: Mapping[str, bool] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, Values]] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    extra: tuple[Recipe, ...] = ()
    lengths: tuple[int, ...] | None = None

    @property
    def base(self) -> Space:
        """The space that the changes are based on."""
        if self.preset:
            return Space.preset(self.preset)
        if self.given is None:
            raise SettingError("No preset is chosen and no space is given.", remedy="choose a preset.")
        return self.given

    @property
    def changes(self) -> dict[str, dict[str, list[Value]]]:
        """Arguments of ``Space.preset``: changed values of the preset's techniques that are turned on."""
        used = techniques_of(self.base)
        return {
            name: {p: list(v) for p, v in sorted(values.items())}
            for name, values in self.values.items()
            if values and name in used and self.techniques.get(name, True)
        }

    @property
    def left_out(self) -> tuple[str, ...]:
        """Techniques of the base that are turned off."""
        return tuple(t for t in techniques_of(self.base) if not self.techniques.get(t, True))

    @property
    def added(self) -> tuple[Recipe, ...]:
        """Recipes the base lacks: one per combination of values of an added technique, and those added individually."""
        used, found = techniques_of(self.base), []
        for name, ticked in self.techniques.items():
            if ticked and name not in used:
                values = self.values.get(name, {})
                steps = (Step(name, dict(zip(values, v, strict=True))) for v in itertools.product(*values.values()))
                found += [Recipe((step,)) for step in steps]
        return (*found, *(r for r in self.extra if r not in found))

    @property
    def space(self) -> Space:
        """The space.

        Raises:
            SettingError: A value is wrong or missing.
        """
        space = Space.preset(self.preset, **self.changes) if self.preset else self.base  # type: ignore[arg-type]  # lists are invariant
        kept = tuple(r for r in space.recipes if not {s.technique for s in r.steps} & set(self.left_out))
        if self.left_out or self.added:
            space = replace(space, recipes=(*kept, *self.added))
        space = replace(space, targets=self.targets) if self.targets else space
        return space if self.lengths is None else replace(space, lengths=self.lengths)


def techniques_of(space: Space) -> tuple[str, ...]:
    """Names of the techniques a space uses, in order of first use."""
    return tuple(dict.fromkeys(s.technique for r in space.recipes for s in r.steps))


def base_values(space: Space, technique: str, parameters: tuple[Parameter, ...]) -> dict[str, Values]:
    """Parameter → the values a space tries, or the defaults for a technique it does not use."""
    steps = [s for r in space.recipes for s in r.steps if s.technique == technique]
    found = {}
    for parameter in parameters:
        values = dict.fromkeys(s.parameters.get(parameter.name, parameter.default) for s in steps)
        found[parameter.name] = _sorted(tuple(values) or (parameter.default,), parameter)
    return found


def varied(space: Space, technique: str) -> set[str]:
    """Parameters of a technique that a space sets explicitly: the ones worth showing first."""
    return {p for r in space.recipes for s in r.steps if s.technique == technique for p in s.parameters}


def _sorted(values: Values, parameter: Parameter) -> Values:
    order: list[Any] = [None, False, True, *parameter.choices]
    if parameter.kind in {"float", "int"}:
        return tuple(sorted(values, key=lambda v: (v is not None, float(v or 0))))
    if parameter.kind in {"text", "path"}:
        return tuple(sorted(values, key=str))
    return tuple(sorted(values, key=order.index))


def technique_adapters() -> list[Any]:
    """The techniques in the order of their families, without those whose files need a missing package."""
    found = registry("deploykit.transforms", "technique").all()
    return sorted(found, key=lambda t: (t.family.order, t.family.name, t.label))

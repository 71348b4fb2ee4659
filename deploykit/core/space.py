"""Which candidates there are: a list or a grid, as data that can be saved and shared."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.errors import SettingError, unknown_name
from deploykit.core.extras import require
from deploykit.core.files import read_small
from deploykit.core.parameter import Value
from deploykit.core.serial import RARE, Plain, dump, parse

_PRESETS = Path(__file__).with_name("presets")
_FILES = {".json", ".yaml", ".yml"}
_YAML = {".yaml", ".yml"}
#: Most bytes of a file, and most values when what YAML repeats is written out.
_MOST_BYTES, _MOST_VALUES = 16 << 20, 1_000_000


def _listed(given: Any, what: str, *single: type) -> list[Any]:
    """A collection as a list; one alone would be read as what it holds, letter by letter where it is a text."""
    if isinstance(given, (str, *single)) or not isinstance(given, Iterable):
        raise SettingError(f"Expected a list of {what}, got {given!r}.", remedy="put it in a list.")
    return list(given)


@dataclass(frozen=True)
class Refine(Plain):
    """A second round: the best candidates of the first one again, on other targets.

    Attributes:
        top: How many candidates of the first round.
        threads: Threads to try them with.
    """

    top: int = 0
    threads: tuple[int, ...] = ()


@dataclass(frozen=True)
class Space(Plain):
    """Recipes × targets, and an optional second round.

    A combination that no chain of conversions can build is not a candidate of the space: the planner leaves it out and
    lists the reason.

    Attributes:
        recipes: What is applied to the model; the empty recipe (the original model) is always tried. A step or a list
            of steps stands for its recipe.
        targets: Where it runs, a runtime's name for its first device with one thread; empty: every installed runtime
            that is tried by default.
        refine: The second round.
        name: Name of its preset, empty if it was made by hand.
        lengths: Sizes of free dimensions at which latency is measured as well, on targets that name none themselves.

    Example:
        >>> recipes = [dk.Recipe((dk.Step(name),)) for name in ("quantize_dynamic", "quantize_static")]
        >>> space = dk.Space(recipes, [dk.Target("onnxruntime")])
        >>> for candidate in space.candidates(space.targets):
        ...     print(candidate)
        original on onnxruntime · cpu · 1 thread
        quantize dynamic on onnxruntime · cpu · 1 thread
        quantize static on onnxruntime · cpu · 1 thread
    """

    recipes: tuple[Recipe, ...]
    targets: tuple[Target, ...] = ()
    refine: Refine = Refine()
    name: str = ""
    lengths: tuple[int, ...] = field(default=(), metadata={RARE: True})

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipes", tuple(map(Recipe.of, _listed(self.recipes, "recipes", Recipe, Step))))
        targets = [Target(t) if isinstance(t, str) else t for t in _listed(self.targets, "targets", Target)]
        if wrong := [t for t in targets if not isinstance(t, Target)]:
            raise SettingError(
                f"Expected targets, got {wrong[0]!r}.", remedy='give Target("onnxruntime"), or the name of a runtime.'
            )
        object.__setattr__(self, "targets", tuple(targets))
        lengths = _listed(self.lengths, "lengths", int)
        if wrong := [n for n in lengths if type(n) is not int or n < 1]:
            raise SettingError(f"Expected lengths that are whole numbers from 1 on, got {wrong[0]!r}.")
        object.__setattr__(self, "lengths", tuple(lengths))

    def candidates(self, targets: Iterable[Target]) -> tuple[Candidate, ...]:
        """All combinations in a fixed order, without duplicates; the original model comes first."""
        recipes = dict.fromkeys(r.key for r in (Recipe(), *self.recipes))
        by_key = {r.key: r for r in (Recipe(), *self.recipes)}
        sized = (replace(t, lengths=t.lengths or self.lengths) for t in targets)
        pairs = itertools.product((by_key[k] for k in recipes), dict.fromkeys(sized))
        return tuple(Candidate(recipe, target) for recipe, target in pairs)

    @classmethod
    def preset(cls, name: str, **changes: dict[str, list[Value] | Value]) -> Self:
        """A ready-made space.

        Args:
            name: ``"quick"``, ``"balanced"`` or ``"thorough"``; or ``"smallest"``, which prunes, shares values and
                quantizes for the smallest compressed file.
            **changes: For a technique, the values to try instead of the preset's:
                ``prune_magnitude={"sparsity": [0.5, 0.8]}``. Each recipe of the preset that uses the technique is
                repeated for every combination of values.

        Raises:
            SettingError: There is no such preset, or it does not use the technique.
        """
        known = {p.stem: p for p in sorted(_PRESETS.glob("*.json"))}
        if name not in known:
            raise unknown_name("preset", name, known)
        space = cls.from_file(known[name])
        for technique, values in changes.items():
            used = {s.technique for r in space.recipes for s in r.steps}
            if technique not in used:
                raise unknown_name(f"technique in the preset {name!r}", technique, used)
            space = replace(space, recipes=_vary(space.recipes, technique, values))
        return replace(space, name=name)

    @classmethod
    def of(cls, space: Space | str | Path) -> Space:
        """``space`` itself, a preset by its name, or a space from a file (a path that ends in .json, .yaml or .yml).

        Raises:
            SettingError: There is no such preset, or the file cannot be read.
        """
        if isinstance(space, Space):
            return space
        if Path(space).suffix in _FILES:
            return cls.from_file(space)
        return cls.preset(str(space))

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a space from JSON, or from YAML if PyYAML is installed.

        Raises:
            SettingError: The file is missing, broken, or not a space.
        """
        path = Path(path)
        try:
            text = read_small(path, _MOST_BYTES, "the space", SettingError).decode()
        except UnicodeDecodeError as error:
            raise SettingError(f"{path} is not a space: it is not a text file ({error.reason}).") from error
        try:
            data = _parse(text, path.suffix)
            space = cls.from_json(data)
            _check_fields(data)
            return space
        except SettingError as error:
            raise SettingError(f"{path}: {error.message}", remedy=error.remedy) from error
        except RecursionError as error:
            raise SettingError(
                f"{path} is not a space: it is nested too deeply.", remedy="compare it with a saved one."
            ) from error

    def save(self, path: str | Path) -> None:
        """Write the space as JSON, or as YAML if the name ends in .yaml or .yml."""
        path = Path(path)
        if path.suffix in _YAML:
            path.write_text(require("yaml", "").safe_dump(self.to_json(), sort_keys=False), "utf-8")
        else:
            path.write_bytes(dump(self, indent=True))


def _check_fields(data: dict[str, Any]) -> None:
    """Refuse fields a space does not have, which would be ignored: their author expects them to have an effect.

    Raises:
        SettingError: Names the field and where it is.
    """
    recipes = list(enumerate(data["recipes"]))
    places: list[tuple[type[Any], str, Any]] = [(Space, "the space", data), (Refine, "refine", data.get("refine", {}))]
    places += [(Recipe, f"recipes[{i}]", recipe) for i, recipe in recipes]
    places += [
        (Step, f"recipes[{i}].steps[{j}]", step)
        for i, recipe in recipes
        for j, step in enumerate(recipe.get("steps", ()))
    ]
    places += [(Target, f"targets[{i}]", target) for i, target in enumerate(data.get("targets", ()))]
    for kind, place, part in places:
        known = [f.name for f in fields(kind)]
        for name in part:
            if name not in known:
                raise unknown_name(f"field of {place}", str(name), known)


def _parse(text: str, suffix: str) -> Any:
    if suffix in _YAML:
        yaml = require("yaml", "")
        try:
            data = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            raise SettingError(f"Not YAML: {' '.join(str(error).split())}.") from error
        if _written_out(data, {}) > _MOST_VALUES:
            raise SettingError(
                f"Its YAML aliases expand to more than {_MOST_VALUES:,} values.",
                remedy="write it without aliases.",
            )
        return data
    try:
        return parse(text)
    except ValueError as error:
        raise SettingError(f"Not JSON: {error}.") from error


def _written_out(data: Any, known: dict[int, float]) -> float:
    """How many values there are when everything that is repeated is counted each time; infinite when it holds itself.

    Args:
        data: Lists, dictionaries and values.
        known: Counts of the lists and dictionaries seen before, by identity.
    """
    if not isinstance(data, list | dict):
        return 1
    if id(data) not in known:
        known[id(data)] = math.inf
        parts = data.values() if isinstance(data, dict) else data
        known[id(data)] = 1 + sum(_written_out(part, known) for part in parts)
    return known[id(data)]


def _vary(recipes: tuple[Recipe, ...], technique: str, values: dict[str, list[Value] | Value]) -> tuple[Recipe, ...]:
    if not isinstance(values, dict):
        raise SettingError(f"{technique}: expected a dictionary of parameter values, got {values!r}.")
    lists = {k: v if isinstance(v, list | tuple) else [v] for k, v in values.items()}
    if empty := [k for k, v in lists.items() if not v]:
        raise SettingError(f"{technique}: no values are given for {', '.join(empty)}.")
    varied: dict[str, Recipe] = {}
    for recipe in recipes:
        here = lists if any(s.technique == technique for s in recipe.steps) else {}
        for combination in itertools.product(*here.values()):
            change = dict(zip(here, combination, strict=True))
            steps = tuple(
                Step(s.technique, {**s.parameters, **change}) if s.technique == technique else s for s in recipe.steps
            )
            varied.setdefault(Recipe(steps).key, Recipe(steps))
    return tuple(varied.values())

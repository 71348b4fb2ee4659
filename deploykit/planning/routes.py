"""How a recipe becomes a file a runtime can open: the shortest way through conversions and variants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deploykit.converters._contract import CONVERTERS, Converter
from deploykit.converters._route import shortest
from deploykit.core.adapter import Adapter
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.model import Layer, Model
from deploykit.core.problem import Effect, Problem
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.planning.steps import BuildStep, Steps
from deploykit.reporting import families
from deploykit.runtimes._contract import RUNTIMES, Runtime
from deploykit.transforms._conditions import Done
from deploykit.transforms._contract import TRANSFORMS, Transform, Variant, lacking


@dataclass(frozen=True)
class Impossible:
    """Why a recipe cannot be built for a runtime."""

    reason: str


@dataclass(frozen=True)
class Route:
    """How a recipe becomes what a runtime opens.

    Attributes:
        recipe: What is done, canonical: parameters without effect, and those with their defaults, are dropped.
        runtime: What runs it.
        label: The recipe in words.
        family: Group in charts.
        effects: What its techniques do to the artifact.
        steps: Its build steps in order.
        format: Format of the artifact.
        problems: What its techniques say against it.
        unused: Settings that the recipe turns on and that no step uses, in words; they are dropped.
    """

    recipe: Recipe
    runtime: Runtime
    label: str
    family: str
    effects: frozenset[Effect]
    steps: tuple[BuildStep, ...]
    format: str
    problems: tuple[Problem, ...]
    unused: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Key of the last step, "" when the original model runs as it is."""
        return self.steps[-1].key if self.steps else ""

    @property
    def compiled(self) -> bool:
        """Whether the last step compiles the artifact for this machine."""
        return bool(self.steps) and self.steps[-1].kind == "compile"

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the variants of its steps."""
        return tuple(step.variant for step in self.steps)


_Edge = Converter | tuple[Transform, Variant]
#: Effects that a model has which is quantized as the user gives it.
_QUANTIZED: tuple[Effect, ...] = ("quantized", "fully quantized")


@dataclass(frozen=True)
class _Wanted:
    """One step of a recipe.

    Attributes:
        step: The step.
        technique: What is to be done.
        values: All its parameters, checked; those that follow the model have the values that it asks for.
        given: The same, None where they follow the model.
        binding: Names of the ones that are set and that a variant must use.
        lacking: What variants lack, by their names; those that lack nothing are not in it.
        effects: What any of its variants does to a model.
    """

    step: Step
    technique: Transform
    values: dict[str, Any]
    given: dict[str, Any]
    binding: frozenset[str]
    lacking: dict[str, str]
    effects: frozenset[Effect]

    @property
    def defaults(self) -> dict[str, Any]:
        """The default of each parameter."""
        return {p.name: p.default for p in self.technique.parameters}


@dataclass(frozen=True)
class _Judged:
    """What a variant says of one of its steps."""

    problems: tuple[Problem, ...]
    effects: frozenset[Effect]


class Routes:
    """Finds routes for one model and its data. What recipes have in common is worked out once, so keep it for a sweep.

    Args:
        model: The original model.
        data: The data; None when there are none.
        seed: Seed of the transforms.
        compiling: Whether runtimes that compile for a device do so in a step of its own. Say False where tasks run on
            other machines than this one: each session is then compiled as it is opened.
    """

    def __init__(self, model: Model, data: Dataset | None, seed: int, *, compiling: bool = True) -> None:
        self.model = model
        self.data = data
        self._compiling = compiling
        self._make = Steps(model, data, seed)
        self._quantized = FORMATS.get(model.format).quantized(model)
        self._converters = [c for c in sorted(CONVERTERS.all(), key=lambda c: c.name) if not c.missing()]
        self._runtimes: dict[str, Runtime] = {}
        self._found: dict[tuple[Any, ...], Route | Impossible] = {}
        self._ways: dict[tuple[Any, ...], tuple[_Edge, ...] | None] = {}
        self._lacks: dict[int, str] = {}
        self._judged: dict[str, _Judged] = {}
        self._runs: dict[tuple[Target, frozenset[Effect]], tuple[Problem, ...]] = {}

    def find(self, recipe: Recipe, target: Target) -> Route | Impossible:
        """How a recipe is built for a target, or why it cannot be.

        Raises:
            SettingError: The recipe names an unknown technique or parameter, or a bad value.
        """
        if target.runtime not in self._runtimes:
            self._runtimes[target.runtime] = RUNTIMES.get(target.runtime)
        runtime = self._runtimes[target.runtime]
        compiling = runtime.compiles and self._compiling
        identity = (recipe.key, runtime.name, *((target.device, target.batch_size) if compiling else ()))
        if identity not in self._found:
            found = self._find(recipe, runtime)
            if isinstance(found, Route) and compiling and runtime.compiles_after(found.effects):
                built = self._make.compile(found.key, found.format, runtime, target)
                found = replace(found, steps=(*found.steps, *built))
            self._found[identity] = found
        return self._found[identity]

    def problems(self, route: Route, target: Target) -> list[Problem]:
        """What is known to be wrong with a route on a target, each reason once."""
        identity = (target, route.effects)
        if identity not in self._runs:
            self._runs[identity] = tuple(route.runtime.problems(target, route.effects, self._make.facts))
        unused = [Problem("note", reason) for reason in route.unused]
        return list(dict.fromkeys([*route.problems, *unused, *self._runs[identity]]))

    def lacks(self, step: Step) -> bool:
        """Whether no variant of a technique has the packages and data that it would need with these settings."""
        wanted = self._wanted(step)
        return len(wanted.lacking) == len(wanted.technique.variants)

    def _find(self, recipe: Recipe, runtime: Runtime) -> Route | Impossible:
        wanted = [self._wanted(step) for step in recipe.steps]
        if idle := [reason for one in wanted for reason in one.technique.idle(one.values).values()]:
            return Impossible("; ".join(idle))
        if reason := self._refused([(one, one.technique.variants) for one in wanted]):
            return Impossible(reason)
        if reason := self._lacking(runtime):
            return Impossible(f"{runtime.label}: {reason}")
        path = self._search(wanted, runtime.accepts)
        if path is None:
            return Impossible(self._why_not(wanted, runtime))
        chosen = [(edge[1],) for edge in path if not isinstance(edge, Converter)]
        reason = self._refused(list(zip(wanted, chosen, strict=True)))
        return Impossible(reason) if reason else self._route(path, wanted, runtime)

    def _wanted(self, step: Step) -> _Wanted:
        technique = TRANSFORMS.get(step.technique)
        given = technique.complete(step.parameters)
        values = technique.fitted(given, self._make.facts)
        binding = frozenset(p.name for p in technique.parameters if p.binding and given[p.name] != p.default)
        lacking = {v.name: reason for v in technique.variants if (reason := self._variant_lacking(v, values))}
        effects = frozenset[Effect]().union(*(v.effects(values) for v in technique.variants))
        return _Wanted(step, technique, values, given, binding, lacking, effects)

    def _refused(self, chosen: Sequence[tuple[_Wanted, tuple[Variant, ...]]]) -> str:
        """Why a step cannot be done to what comes before it, by any of the variants there are; "" when it can."""
        done = {effect: Done("", self._quantized) for effect in _QUANTIZED} if self._quantized else {}
        for one, variants in chosen:
            label = one.technique.label
            said = [[c.foreseen(label, done) for c in variant.expects(one.values)] for variant in variants]
            if variants and all(map(any, said)):
                return next(filter(None, said[0]))
            effects = [variant.effects(one.values) for variant in variants]
            done |= dict.fromkeys(frozenset[Effect].intersection(*effects) if effects else (), Done(label))
        return ""

    def _route(self, path: tuple[_Edge, ...], wanted: list[_Wanted], runtime: Runtime) -> Route:
        source, current, left = "", self.model.format, iter(wanted)
        steps: list[BuildStep] = []
        canonical: list[Step] = []
        judged: list[_Judged] = []
        labels: list[str] = []
        unused: list[str] = []
        layers = self.model.layers  # as far as they are known of what a step is given
        for edge in path:
            if isinstance(edge, Converter):
                steps += self._make.convert(source, edge, changed=bool(canonical))
                layers = layers if edge.keeps_layers else ()
            else:
                one, (technique, variant) = next(left), edge
                values = {k: v for k, v in one.values.items() if k in variant.uses}
                steps += self._make.transform(source, current, technique, variant, values)
                on = [k for k, v in one.given.items() if v and v != one.defaults[k] and k not in variant.uses]
                unused += [f"{variant.label} does not use {', '.join(on)}: leave that out"] if on else []
                canonical.append(replace(one.step, parameters=self._canonical(one, values)))
                labels.append(technique.describe(values))
                judged.append(self._judge(steps[-1].key, variant, values, layers))
                layers = layers if variant.keeps_layers else ()
                if "smaller" in judged[-1].effects:
                    layers = tuple(replace(layer, shape=None) for layer in layers)
            source, current = steps[-1].key, steps[-1].format
        recipe = Recipe(tuple(canonical))
        effects = frozenset[Effect]().union(*(said.effects for said in judged))
        return Route(
            recipe, runtime, " → ".join(labels) or "original", families.of_recipe(recipe), effects, tuple(steps),
            current, tuple(problem for said in judged for problem in said.problems), tuple(unused),
        )  # fmt: skip

    def _canonical(self, one: _Wanted, values: dict[str, Any]) -> dict[str, Any]:
        """Parameters that a recipe must name: all that are not what the model asks for and rows mean without them."""
        open_ = {k: None for k, v in one.defaults.items() if v is None}
        followed = one.technique.fitted({**one.given, **open_}, self._make.facts)
        standing = {p.name: p.standing for p in one.technique.parameters}
        return {k: v for k, v in values.items() if v != standing[k] or v != followed[k]}

    def _judge(self, key: str, variant: Variant, values: dict[str, Any], layers: Sequence[Layer]) -> _Judged:
        """What a variant says, asked once for each step that differs."""
        if key not in self._judged:
            said = [*variant.problems(values, self._make.facts)]
            said += variant.unsuited(values, layers, self._make.facts) if layers else ()
            self._judged[key] = _Judged(tuple(said), variant.effects(values))
        return self._judged[key]

    def _search(self, wanted: list[_Wanted], goals: frozenset[str]) -> tuple[_Edge, ...] | None:
        """The shortest chain over states of (techniques done, format)."""
        identity = (tuple((w.technique.name, w.binding, w.effects, *w.lacking) for w in wanted), goals)
        if identity not in self._ways:
            end = len(wanted)
            own = frozenset(_QUANTIZED if self._quantized else ())
            done = [own.union(*(w.effects for w in wanted[:place])) for place in range(end + 1)]
            self._ways[identity] = shortest(
                (0, self.model.format),
                lambda state: state[0] == end and state[1] in goals,
                lambda state: self._edges(state, wanted, done[state[0]]),
            )
        return self._ways[identity]

    def _edges(
        self, state: tuple[int, str], wanted: list[_Wanted], done: frozenset[Effect]
    ) -> Iterator[tuple[_Edge, tuple[int, str]]]:
        place, current = state
        if place < len(wanted):
            here = wanted[place]
            for variant in here.technique.variants:
                if (
                    current in variant.accepts
                    and here.binding <= set(variant.uses)
                    and variant.name not in here.lacking
                ):
                    yield (here.technique, variant), (place + 1, variant.produces)
        for converter in self._converters:
            if converter.accepts == current and converter.refuses.isdisjoint(done):
                yield converter, (place, converter.produces)

    def _lacking(self, adapter: Adapter) -> str:
        """The packages an adapter would need, "" when it can work."""
        if id(adapter) not in self._lacks:
            self._lacks[id(adapter)] = adapter.missing()
        return self._lacks[id(adapter)]

    def _variant_lacking(self, variant: Variant, values: dict[str, Any]) -> str:
        """The packages, data or settings that a variant would need with these parameters."""
        if unable := variant.unable(values):
            return unable
        missing = lacking(variant.needs_for(values), self.data)
        work = (variant, *variant.stages_for(values))
        absent = next(filter(None, map(self._lacking, work)), "")
        return absent or (f"{variant.label} needs {missing}" if missing else "")

    def _why_not(self, wanted: list[_Wanted], runtime: Runtime) -> str:
        for one in wanted:
            if len(one.lacking) == len(one.technique.variants):
                return f"{one.technique.label}: {self._lack(one, runtime) or next(iter(one.lacking.values()))}"
        plain = self._search([], runtime.accepts)
        if plain is None:
            own, wanted_formats = FORMATS.get(self.model.format).label, _either(runtime.accepts)
            if self._quantized and any(c.accepts == self.model.format for c in self._converters):
                own = f"quantized {own}"
            return (
                f"{own} models cannot be converted to {wanted_formats}, which {runtime.label} needs"
                + self._missing_converters()
            )
        for one in wanted:
            if self._search([one], runtime.accepts) is None:
                return self._why_not_alone(one, runtime)
        names = " → ".join(one.technique.label for one in wanted)
        return f"{names} cannot be applied in this order for {runtime.label}"

    def _why_not_alone(self, one: _Wanted, runtime: Runtime) -> str:
        label, variants = one.technique.label, one.technique.variants
        if reason := self._lack(one, runtime):
            return f"{label}: {reason}"
        if one.binding and self._search([replace(one, binding=frozenset())], runtime.accepts) is not None:
            able = " or ".join(v.label for v in variants if one.binding <= set(v.uses)) or "nothing"
            return (
                f"{label} with {', '.join(sorted(one.binding))} needs {able}, whose output {runtime.label} cannot run"
            )
        read = frozenset(f for v in variants for f in v.accepts)
        if self._search([], read) is None:
            own = FORMATS.get(self.model.format).label
            return f"{label} works on {_either(read)} models; {own} models cannot be converted to that"
        made = _either({v.produces for v in variants})
        return f"{label} makes {'an' if made[0] in 'AEIOU' else 'a'} {made} file; {runtime.label} cannot run it"

    def _lack(self, one: _Wanted, runtime: Runtime) -> str:
        """What the variant lacks that would be taken; "" when none would be."""
        path = self._search([replace(one, lacking={})], runtime.accepts) if one.lacking else None
        chosen = [edge[1].name for edge in path or () if not isinstance(edge, Converter)]
        return one.lacking.get(chosen[0], "") if chosen else ""

    def _missing_converters(self) -> str:
        found = [c for c in CONVERTERS.all() if c.accepts == self.model.format]
        reasons = {reason for c in found if (reason := c.missing())}
        return f" ({'; '.join(sorted(reasons))})" if reasons else ""


def describe(recipe: Recipe) -> str:
    """A recipe in words: the labels of its techniques and the parameters that differ from their defaults."""
    return " → ".join(TRANSFORMS.get(s.technique).describe(s.parameters) for s in recipe.steps) or "original"


def _either(formats: Iterable[str]) -> str:
    return " or ".join(FORMATS.get(name).label for name in sorted(formats))

"""How a recipe becomes a file a runtime can open: the shortest way through conversions and variants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from deploykit.converters._contract import CONVERTERS, Converter
from deploykit.converters._route import shortest
from deploykit.core.adapter import Group
from deploykit.core.candidate import Recipe, Step
from deploykit.core.digest import json_digest
from deploykit.core.model import Model
from deploykit.core.serial import Plain
from deploykit.core.tools import Tool
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.runtimes._contract import RUNTIMES, Runtime
from deploykit.transforms._contract import TRANSFORMS, Stage, Transform, Variant

#: Raised when what build steps do changes: old artifacts are then built again.
_BUILD_VERSION = 6


@dataclass(frozen=True)
class BuildStep(Plain):
    """One conversion, stage or transform of a given input: the unit of shared work.

    Attributes:
        key: Digest of everything that decides the output: input, adapter, parameters, seed, tools, data.
        kind: What it is; what ``"prepare"`` makes is a folder that only other steps read.
        adapter: Name of the converter or technique.
        variant: Name of the technique's variant, "" for conversions.
        source: Key of the step that makes the input, "" for the original model.
        source_format: Format of the input.
        format: Format of the output.
        group: Import group of its child.
        words: What it does, for people.
        parameters: Checked parameters it uses.
        stage: Name of the variant's stage, "" when it is none.
        needs_data: Whether it reads the data.
        changed: Whether its input is no longer the original model but what a technique made of it.
        seeded: Whether the seed may change what it makes.
    """

    key: str
    kind: Literal["convert", "prepare", "transform"]
    adapter: str
    variant: str
    source: str
    source_format: str
    format: str
    group: Group
    words: str
    parameters: dict[str, Any] = field(default_factory=dict)
    stage: str = ""
    needs_data: bool = False
    changed: bool = False
    seeded: bool = False


@dataclass(frozen=True)
class Impossible:
    """Why a recipe cannot be built for a runtime."""

    reason: str


_Edge = Converter | tuple[Transform, Variant]


@dataclass(frozen=True)
class _Wanted:
    """One step of a recipe.

    Attributes:
        technique: What is to be done.
        values: All its parameters, checked.
        binding: Names of the ones that are set and that a variant must use.
    """

    technique: Transform
    values: dict[str, Any]
    binding: frozenset[str]


def tools(steps: Iterable[BuildStep], runtimes: Iterable[str]) -> frozenset[Tool]:
    """The adapters that build steps and runtimes are the work of."""
    built = (
        Tool(CONVERTERS.package if step.kind == "convert" else TRANSFORMS.package, step.adapter, step.variant)
        for step in steps
    )
    return frozenset({*built, *(Tool(RUNTIMES.package, name) for name in runtimes)})


class Routes:
    """Finds routes for one model and its data. What recipes have in common is worked out once.

    Args:
        model: The original model.
        data: The data; None when there are none.
        seed: Seed of the transforms.
    """

    def __init__(self, model: Model, data: Dataset | None, seed: int) -> None:
        self._model = model
        self._data = data
        self._seed = seed
        self._quantized = FORMATS.get(model.format).quantized(model)
        self._converters = [c for c in sorted(CONVERTERS.all(), key=lambda c: c.name) if not c.missing()]
        self._has_labels = data is not None and data.labels("train") is not None
        self._ways: dict[tuple[Any, ...], tuple[_Edge, ...] | None] = {}
        self._steps: dict[tuple[Any, ...], tuple[BuildStep, ...]] = {}
        self._lacks: dict[int, str] = {}
        self._tools: dict[int, dict[str, str]] = {}

    def find(self, recipe: Recipe, runtime: Runtime) -> tuple[BuildStep, ...] | Impossible:
        """The build steps of a recipe for a runtime, or why there are none.

        Raises:
            SettingError: The recipe names an unknown technique or parameter, or a bad value.
        """
        wanted = [self._wanted(step) for step in recipe.steps]
        if self._quantized and any("quantized" in w.technique.effects(w.values) for w in wanted):
            return Impossible(
                f"the model is already quantized: {self._quantized}; quantize the float model it was made from"
            )
        if reason := self._lacking(runtime):
            return Impossible(f"{runtime.label}: {reason}")
        path = self._search(wanted, runtime.accepts)
        if path is None:
            return Impossible(self._why_not(wanted, runtime))
        return tuple(self._chain(path, wanted))

    @staticmethod
    def _wanted(step: Step) -> _Wanted:
        technique = TRANSFORMS.get(step.technique)
        values = technique.complete(step.parameters)
        binding = frozenset(p.name for p in technique.parameters if p.binding and values[p.name] != p.default)
        return _Wanted(technique, values, binding)

    def _search(self, wanted: list[_Wanted], goals: frozenset[str]) -> tuple[_Edge, ...] | None:
        """The shortest chain over states of (techniques done, format)."""
        identity = (tuple((w.technique.name, w.binding) for w in wanted), goals)
        if identity not in self._ways:
            end = len(wanted)
            self._ways[identity] = shortest(
                (0, self._model.format),
                lambda state: state[0] == end and state[1] in goals,
                lambda state: self._edges(state, wanted),
            )
        return self._ways[identity]

    def _edges(self, state: tuple[int, str], wanted: list[_Wanted]) -> Iterator[tuple[_Edge, tuple[int, str]]]:
        place, current = state
        if place < len(wanted):
            here = wanted[place]
            for variant in here.technique.variants:
                if current in variant.accepts and here.binding <= set(variant.uses) and not self._lacking(variant):
                    yield (here.technique, variant), (place + 1, variant.produces)
        for converter in self._converters:
            if converter.accepts == current:
                yield converter, (place, converter.produces)

    def _lacking(self, adapter: Runtime | Variant) -> str:
        """The packages or data an adapter would need, "" when it can work."""
        if id(adapter) not in self._lacks:
            self._lacks[id(adapter)] = adapter.missing() or self._lacking_data(adapter)
        return self._lacks[id(adapter)]

    def _lacking_data(self, adapter: Runtime | Variant) -> str:
        needs = getattr(adapter, "needs", ())
        if needs and self._data is None:
            return f"{adapter.label} needs data"
        if "train" in needs and not self._has_labels:
            return f"{adapter.label} needs labeled training data"
        return ""

    def _why_not(self, wanted: list[_Wanted], runtime: Runtime) -> str:
        for one in wanted:
            blocked = [self._lacking(v) for v in one.technique.variants]
            if all(blocked):
                return f"{one.technique.label}: {blocked[0]}"
        plain = self._search([], runtime.accepts)
        if plain is None:
            own, wanted_formats = FORMATS.get(self._model.format).label, _either(runtime.accepts)
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
        if one.binding and self._search([replace(one, binding=frozenset())], runtime.accepts) is not None:
            able = " or ".join(v.label for v in variants if one.binding <= set(v.uses)) or "nothing"
            return (
                f"{label} with {', '.join(sorted(one.binding))} needs {able}, whose output {runtime.label} cannot run"
            )
        read = frozenset(f for v in variants for f in v.accepts)
        if self._search([], read) is None:
            own = FORMATS.get(self._model.format).label
            return f"{label} works on {_either(read)} models; {own} models cannot be converted to that"
        made = _either({v.produces for v in variants})
        return f"{label} makes {'an' if made[0] in 'AEIOU' else 'a'} {made} file; {runtime.label} cannot run it"

    def _missing_converters(self) -> str:
        found = [c for c in CONVERTERS.all() if c.accepts == self._model.format]
        reasons = {reason for c in found if (reason := c.missing())}
        return f" ({'; '.join(sorted(reasons))})" if reasons else ""

    def _chain(self, path: tuple[_Edge, ...], wanted: list[_Wanted]) -> Iterator[BuildStep]:
        source, current, changed = "", self._model.format, False
        left = iter(wanted)
        for edge in path:
            if isinstance(edge, Converter):
                done = changed  # of now: the step is made once
                steps = self._once((source, edge.name), lambda: [self._convert(source, edge, changed=done)])  # noqa: B023
            else:
                _, variant = edge
                values = {k: v for k, v in next(left).values.items() if k in variant.uses}
                identity = (source, id(variant), current, *values.items())
                steps = self._once(identity, lambda: self._transform(source, current, edge, values))  # noqa: B023
            yield from steps
            source, current = steps[-1].key, steps[-1].format
            changed = changed or not isinstance(edge, Converter)

    def _once(self, identity: tuple[Any, ...], make: Callable[[], Iterable[BuildStep]]) -> tuple[BuildStep, ...]:
        if identity not in self._steps:
            self._steps[identity] = tuple(make())
        return self._steps[identity]

    def _convert(self, source: str, converter: Converter, *, changed: bool) -> BuildStep:
        facts = {"kind": "convert", "adapter": converter.name, "variant": "", "parameters": {}}
        key = self._key(source, facts, converter, needs_data=False, seeded=False)
        words = f"convert {FORMATS.get(converter.accepts).label} to {FORMATS.get(converter.produces).label}"
        return BuildStep(
            key, "convert", converter.name, "", source, converter.accepts, converter.produces, converter.group, words,
            changed=changed,
        )  # fmt: skip

    def _transform(
        self, source: str, current: str, edge: tuple[Transform, Variant], values: dict[str, Any]
    ) -> Iterator[BuildStep]:
        """The variant's stages, then the variant itself. What a stage is called alone says what it does."""
        technique, variant = edge
        for stage in variant.stages:
            used = {k: v for k, v in values.items() if k in stage.uses}
            facts = {"kind": "prepare", "stage": stage.name, "parameters": used}
            key = self._key(source, facts, stage, needs_data=bool(stage.needs), seeded=stage.seeded)
            words = " ".join([stage.label, *(str(v) for v in used.values())])
            yield BuildStep(
                key, "prepare", technique.name, variant.name, source, current, current, stage.group, words, used,
                stage.name, bool(stage.needs), seeded=stage.seeded,
            )  # fmt: skip
            source = key
        reads = bool(variant.needs if variant.finish_needs is None else variant.finish_needs)
        facts = {"kind": "transform", "adapter": technique.name, "variant": variant.name, "parameters": values}
        yield BuildStep(
            self._key(source, facts, variant, needs_data=reads, seeded=variant.seeded), "transform", technique.name,
            variant.name, source, current, variant.produces, variant.group, technique.describe(values), values, "",
            reads, seeded=variant.seeded,
        )  # fmt: skip

    @property
    def _scored(self) -> str:
        """What decides which output training is about."""
        return "" if self._data is None or self._data.contract is None else self._data.contract.reading

    def _key(
        self, source: str, facts: dict[str, Any], adapter: Converter | Stage | Variant, *, needs_data: bool,
        seeded: bool,
    ) -> str:  # fmt: skip
        if id(adapter) not in self._tools:
            self._tools[id(adapter)] = adapter.versions()
        return json_digest(
            {
                "source": source or self._model.digest,
                "imports": self._model.imports,
                **facts,
                "tools": self._tools[id(adapter)],
                "data": self._data.digest if needs_data and self._data is not None else "",
                "seed": self._seed if seeded else 0,
                "scored": self._scored if "train" in getattr(adapter, "needs", ()) else "",
                "version": _BUILD_VERSION,
            }
        )


def _either(formats: Iterable[str]) -> str:
    return " or ".join(FORMATS.get(name).label for name in sorted(formats))

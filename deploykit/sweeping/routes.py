"""How a recipe becomes a file a runtime can open: the shortest way through conversions and variants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from deploykit.converters._contract import CONVERTERS, Converter
from deploykit.converters._route import shortest
from deploykit.core.adapter import Group
from deploykit.core.candidate import Recipe
from deploykit.core.dataset import Dataset
from deploykit.core.digest import json_digest
from deploykit.core.model import Model
from deploykit.core.serial import Plain
from deploykit.runtimes._contract import Runtime
from deploykit.transforms._contract import TRANSFORMS, Transform, Variant

#: Raised when what build steps do changes: old artifacts are then built again.
_BUILD_VERSION = 1


@dataclass(frozen=True)
class BuildStep(Plain):
    """One conversion or transform of a given input: the unit of shared work.

    Attributes:
        key: Digest of everything that decides the output: input, adapter, parameters, seed, tools, data.
        kind: What it is.
        adapter: Name of the converter or technique.
        variant: Name of the technique's variant, "" for conversions.
        parameters: Checked parameters the variant uses.
        source: Key of the step that makes the input, "" for the model as given.
        source_format: Format of the input.
        format: Format of the output.
        group: Import group of its child.
        words: What it does, for people.
    """

    key: str
    kind: Literal["convert", "transform"]
    adapter: str
    variant: str
    source: str
    source_format: str
    format: str
    group: Group
    words: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Impossible:
    """Why a recipe cannot be built for a runtime."""

    reason: str


_Edge = Converter | tuple[Transform, Variant]


class Routes:
    """Finds routes for one model and its data.

    Args:
        model: The model as given.
        data: The data; None when there are none.
        seed: Seed of the transforms.
    """

    def __init__(self, model: Model, data: Dataset | None, seed: int) -> None:
        self._model = model
        self._data = data
        self._seed = seed
        self._converters = sorted(CONVERTERS.all(), key=lambda c: c.name)
        self._has_labels = data is not None and data.labels("train") is not None

    def find(self, recipe: Recipe, runtime: Runtime) -> tuple[BuildStep, ...] | Impossible:
        """The build steps of a recipe for a runtime, or why there are none.

        Raises:
            SettingError: The recipe names an unknown technique or parameter, or a bad value.
        """
        techniques = [TRANSFORMS.get(step.technique) for step in recipe.steps]
        values = [t.complete(s.parameters) for t, s in zip(techniques, recipe.steps, strict=True)]
        if runtime.missing():
            return Impossible(f"{runtime.label}: {runtime.missing()}")
        path = self._search(techniques, runtime.accepts)
        if path is None:
            return Impossible(self._why_not(techniques, runtime))
        return tuple(self._steps(path, values))

    def _search(self, techniques: list[Transform], goals: frozenset[str]) -> tuple[_Edge, ...] | None:
        """The shortest chain over states of (techniques done, format)."""
        end = len(techniques)
        return shortest(
            (0, self._model.format),
            lambda state: state[0] == end and state[1] in goals,
            lambda state: self._edges(state, techniques),
        )

    def _edges(self, state: tuple[int, str], techniques: list[Transform]) -> Iterator[tuple[_Edge, tuple[int, str]]]:
        place, current = state
        if place < len(techniques):
            for variant in techniques[place].variants:
                if current in variant.accepts and not variant.missing() and not self._lacking(variant):
                    yield (techniques[place], variant), (place + 1, variant.produces)
        for converter in self._converters:
            if converter.accepts == current and not converter.missing():
                yield converter, (place, converter.produces)

    def _lacking(self, variant: Variant) -> str:
        if variant.needs and self._data is None:
            return f"{variant.label} needs data"
        if "train" in variant.needs and not self._has_labels:
            return f"{variant.label} needs labelled training data"
        return ""

    def _why_not(self, techniques: list[Transform], runtime: Runtime) -> str:
        for technique in techniques:
            blocked = [v.missing() or self._lacking(v) for v in technique.variants]
            if all(blocked):
                return f"{technique.label}: {blocked[0]}"
        plain = self._search([], runtime.accepts)
        if plain is None:
            return (
                f"no conversion leads from {self._model.format} to what {runtime.label} runs "
                f"({', '.join(sorted(runtime.accepts))})" + self._missing_converters()
            )
        for technique in techniques:
            if self._search([technique], runtime.accepts) is None:
                made = sorted({v.produces for v in technique.variants})
                read = sorted({f for v in technique.variants for f in v.accepts})
                return (
                    f"{technique.label} works on {', '.join(read)} and gives {', '.join(made)}: from a "
                    f"{self._model.format} model that does not lead to {runtime.label}"
                )
        names = " → ".join(t.label for t in techniques)
        return f"{names} cannot be done in this order for {runtime.label}"

    def _missing_converters(self) -> str:
        reasons = {c.missing() for c in self._converters if c.accepts == self._model.format and c.missing()}
        return f" ({'; '.join(sorted(reasons))})" if reasons else ""

    def _steps(self, path: tuple[_Edge, ...], values: list[dict[str, Any]]) -> Iterator[BuildStep]:
        source, current, place = "", self._model.format, 0
        for edge in path:
            if isinstance(edge, Converter):
                adapter: Converter | Variant = edge
                facts: dict[str, Any] = {"kind": "convert", "adapter": edge.name, "variant": "", "parameters": {}}
                words = f"convert {edge.accepts} to {edge.produces}"
            else:
                technique, adapter = edge
                used = {k: v for k, v in values[place].items() if k in adapter.uses}
                facts = {
                    "kind": "transform", "adapter": technique.name, "variant": adapter.name, "parameters": used,
                }  # fmt: skip
                words = technique.describe(used)
                place += 1
            key = self._key(source, facts, adapter)
            yield BuildStep(
                key=key, source=source, source_format=current, format=adapter.produces, group=adapter.group,
                words=words, **facts,
            )  # fmt: skip
            source, current = key, adapter.produces

    def _key(self, source: str, facts: dict[str, Any], adapter: Converter | Variant) -> str:
        needs = getattr(adapter, "needs", ())
        return json_digest(
            {
                "source": source or self._model.digest,
                "imports": self._model.imports,
                **facts,
                "tools": adapter.versions(),
                "data": self._data.digest if needs and self._data is not None else "",
                "seed": self._seed if needs else 0,
                "version": _BUILD_VERSION,
            }
        )

"""Techniques and settings that cannot work for a model on the chosen runtimes; their controls show why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.parameter import Value
from deploykit.core.registry import registry
from deploykit.core.space import Space

_Matrix = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Obstacles:
    """Reasons why something is impossible.

    Attributes:
        matrix: Key of a recipe → runtime → why it cannot be built or run there; possible combinations are absent.
    """

    matrix: _Matrix = field(default_factory=dict)

    @classmethod
    def find(cls, model: dk.Model, data: dk.Dataset, declared: Mapping[str, Any]) -> Obstacles:
        """Ask the planner about each technique alone, and about each of its choices, on every installed runtime.

        Args:
            model: From ``dk.load``.
            data: A Dataset.
            declared: What the user says of the signature: arguments of ``dk.plan``.
        """
        targets = tuple(Target(r.name) for r in registry("deploykit.runtimes", "runtime").all() if not r.missing())
        matrix: dict[str, dict[str, str]] = {}
        plan = dk.plan(model, data, Space(tuple(_questions()), targets), check=False, **declared)
        for left in plan.left_out:
            if left.recipe is not None and left.target is not None:
                matrix.setdefault(left.recipe.key, {})[left.target.runtime] = left.reason
        return cls(matrix)

    def runtime(self, name: str) -> str:
        """Why not even the original model runs there; "" if it does."""
        return self.matrix.get(_key(), {}).get(name, "")

    def technique(self, name: str, runtimes: Set[str]) -> str:
        """Why a technique is impossible on all of these runtimes; "" if it is possible on one."""
        return self._said(_key(name), runtimes)

    def value(self, technique: str, parameter: str, value: Value, runtimes: Set[str]) -> str:
        """The same for a choice with all other parameters at their defaults, if the technique itself is possible."""
        if self.technique(technique, runtimes):
            return ""
        return self._said(_key(technique, parameter, value), runtimes)

    def _said(self, key: str, runtimes: Set[str]) -> str:
        # A runtime that cannot run the original model says nothing about the technique, if there is another one.
        open_to = {r for r in runtimes if not self.runtime(r)} or runtimes
        reasons = {r: why for r, why in self.matrix.get(key, {}).items() if r in open_to}
        if not open_to or len(reasons) < len(open_to):
            return ""
        found = list(reasons.values())
        return max(dict.fromkeys(found), key=found.count)


@cache
def _key(technique: str = "", parameter: str = "", value: Value = None) -> str:
    """Key of the recipe of one technique with one parameter set; without a technique, that of the original model."""
    parameters = {parameter: value} if parameter else {}
    return Recipe((Step(technique, parameters),) if technique else ()).key


def _questions() -> Iterator[Recipe]:
    for technique in registry("deploykit.transforms", "technique").all():
        if technique.missing() or technique.from_file or technique.keyed:  # nothing is known before these are named
            continue
        yield Recipe((Step(technique.name),))
        for parameter in technique.parameters:
            for value in (False, True) if parameter.kind == "bool" else parameter.choices:
                if value != parameter.default:
                    yield Recipe((Step(technique.name, {parameter.name: value}),))

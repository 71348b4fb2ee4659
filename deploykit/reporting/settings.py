"""What distinguishes the candidates of a report: the settings that not all of them share, as columns of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.parameter import Parameter, Value
from deploykit.core.registry import registry
from deploykit.core.result import Result
from deploykit.reporting.places import runtime_label


@dataclass(frozen=True)
class Setting:
    """One setting that differs between candidates.

    Attributes:
        name: ``technique.parameter``, or ``family``, ``runtime``, ``threads``, ``batch_size``, ``device``.
        label: What people call it.
        unit: Of its numbers, "" when they have none; shares are in percent.
        options: Its values in their order, when they are words; empty for numbers.
    """

    name: str
    label: str
    unit: str = ""
    options: tuple[str, ...] = ()


Found = tuple[list[Setting], dict[str, dict[str, float | str]]]


def settings(rows: Sequence[Result]) -> Found:
    """The settings that differ, and each candidate's values by its key; what a candidate does not use is left out.

    Numbers are numbers (shares in percent), everything else is words. A setting that all candidates have in common is
    left out: it distinguishes nothing.

    Args:
        rows: Rows of one report.
    """
    techniques = registry("deploykit.transforms", "technique")
    declared: dict[str, tuple[str, Parameter]] = {}
    values: dict[str, dict[str, Any]] = {}
    for row in rows:
        found = values[row.key] = _places(row)
        for step in row.candidate.recipe.steps:
            known = techniques.get(step.technique) if step.technique in techniques else None
            for parameter in known.parameters if known else ():
                declared.setdefault(f"{step.technique}.{parameter.name}", (known.label, parameter))
            for name, value in _parameters(step.parameters, known):
                found[f"{step.technique}.{name}"] = _shown(value, declared.get(f"{step.technique}.{name}"))
    names = list(dict.fromkeys(name for found in values.values() for name in found))
    fixed = [name for name in _PLACES if name in names]
    names = [name for name in (*fixed, *(n for n in names if n not in fixed)) if _differs(name, values)]
    listed = [_setting(name, declared.get(name), [v[name] for v in values.values() if name in v]) for name in names]
    kept = {key: {name: found[name] for name in names if name in found} for key, found in values.items()}
    return _distinct(listed, declared), kept


#: What is known of every candidate, in the order of its axes.
_PLACES = {"family": "technique", "runtime": "runtime", "device": "device", "threads": "threads", "batch_size": "batch"}


def _places(row: Result) -> dict[str, Any]:
    target: Target = row.candidate.target
    return {
        "family": row.family,
        "runtime": runtime_label(target.runtime),
        "device": target.device,
        "threads": target.threads,
        "batch_size": target.batch_size,
    }


def _parameters(given: Mapping[str, Value], known: Any) -> list[tuple[str, Value]]:
    """A step's settings, those at their default as well."""
    if known is None:
        return list(given.items())
    return [(p.name, given.get(p.name, p.default)) for p in known.parameters]


def _shown(value: Value, known: tuple[str, Parameter] | None) -> float | str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return 100 * value if known is not None and known[1].unit == "share" else value
    return "none" if value in (None, "") else str(value)


def _differs(name: str, values: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether two candidates that have the setting have different values."""
    return len({found[name] for found in values.values() if name in found}) > 1


def _setting(name: str, known: tuple[str, Parameter] | None, values: Sequence[float | str]) -> Setting:
    parameter = known[1] if known else None
    label = _PLACES.get(name) or (parameter.label if parameter else "") or name.partition(".")[2].replace("_", " ")
    unit = {"share": "%"}.get(parameter.unit, parameter.unit) if parameter else ""
    if all(isinstance(value, int | float) for value in values):
        return Setting(name, label, unit)
    words = {str(value) for value in values}
    order = [c for c in (parameter.choices if parameter else ()) if c in words]
    return Setting(name, label, "", (*order, *sorted(words.difference(order))))


def _distinct(found: list[Setting], declared: Mapping[str, tuple[str, Parameter]]) -> list[Setting]:
    """With the technique's name where two techniques call a setting the same."""
    labels = [setting.label for setting in found]
    return [
        Setting(s.name, f"{declared[s.name][0]}: {s.label}", s.unit, s.options)
        if labels.count(s.label) > 1 and s.name in declared
        else s
        for s in found
    ]

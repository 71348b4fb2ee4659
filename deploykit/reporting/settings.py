"""What distinguishes the candidates of a report: the settings that not all of them share, as columns of values."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
        options: Its values in their order, in words; empty when all of them are numbers.
        values: The same as candidates have them: some of them can be numbers.
    """

    name: str
    label: str
    unit: str = ""
    options: tuple[str, ...] = ()
    values: tuple[float | str, ...] = ()


def settings(rows: Sequence[Result]) -> tuple[list[Setting], dict[str, dict[str, float | str]]]:
    """The settings that differ, and each candidate's values by its key; what a candidate does not use is left out.

    A setting that all candidates have in common is left out: it distinguishes nothing.

    Args:
        rows: Rows of one report.
    """
    values = {row.key: values_of(row) for row in rows}
    used = list(dict.fromkeys(name for found in values.values() for name in found))
    names = [name for name in (*_PLACES, *(n for n in used if n not in _PLACES)) if _differs(name, values)]
    listed = [_setting(name, [v[name] for v in values.values() if name in v]) for name in names]
    kept = {key: {name: found[name] for name in names if name in found} for key, found in values.items()}
    return _distinct(listed), kept


#: What is known of every candidate, in the order of its axes.
_PLACES = {"family": "technique", "runtime": "runtime", "device": "device", "threads": "threads", "batch_size": "batch"}


def values_of(row: Result) -> dict[str, float | str]:
    """All settings of one candidate, those at their default as well.

    Numbers are numbers (shares in percent), everything else is words.
    """
    target: Target = row.candidate.target
    found: dict[str, float | str] = {
        "family": row.family,
        "runtime": runtime_label(target.runtime),
        "device": target.device,
        "threads": target.threads,
        "batch_size": target.batch_size,
    }
    for step in row.candidate.recipe.steps:
        known = _known(step.technique)[1]
        given = step.parameters if not known else {n: step.parameters.get(n, p.standing) for n, p in known.items()}
        for name, value in given.items():
            found[f"{step.technique}.{name}"] = _shown(value, known.get(name))
    return found


@functools.cache  # the registry looks for new files each time
def _known(technique: str) -> tuple[str, dict[str, Parameter]]:
    """Label and parameters of a technique; none of one that is not installed here."""
    techniques = registry("deploykit.transforms", "technique")
    if technique not in techniques:
        return technique.replace("_", " "), {}
    found = techniques.get(technique)
    return str(found.label), {parameter.name: parameter for parameter in found.parameters}


def _shown(value: Value, parameter: Parameter | None) -> float | str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return 100 * value if parameter is not None and parameter.unit == "share" else value
    return "none" if value in (None, "") else str(value)


def _differs(name: str, values: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether two candidates that have the setting have different values."""
    return len({found[name] for found in values.values() if name in found}) > 1


def _setting(name: str, values: Sequence[float | str]) -> Setting:
    technique, _, parameter_name = name.partition(".")
    parameter = _known(technique)[1].get(parameter_name) if parameter_name else None
    label = _PLACES.get(name) or (parameter.label if parameter else "") or parameter_name.replace("_", " ")
    unit = {"share": "%"}.get(parameter.unit, parameter.unit) if parameter else ""
    if all(isinstance(value, int | float) for value in values):
        return Setting(name, label, unit)
    words = {str(value): value for value in values}
    order = [c for c in (parameter.choices if parameter else ()) if c in words]
    options = (*order, *sorted(words.keys() - set(order)))
    return Setting(name, label, "", options, tuple(words[option] for option in options))


def _distinct(found: list[Setting]) -> list[Setting]:
    """With the technique's name where two techniques call a setting the same."""
    labels = [setting.label for setting in found]
    return [
        replace(s, label=f"{_known(s.name.partition('.')[0])[0]}: {s.label}")
        if labels.count(s.label) > 1 and "." in s.name
        else s
        for s in found
    ]

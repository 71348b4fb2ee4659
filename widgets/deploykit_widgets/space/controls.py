"""Controls generated from declared parameters, as data. Each control offers several values to try."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter, Value
from deploykit_widgets.space.choice import Values

#: A slider with more steps than this is too fine to drag, so its values are typed.
_MOST_STEPS = 100


def described(
    parameter: Parameter,
    values: Iterable[Any],
    *,
    first: bool,
    problem: str = "",
    fixed: bool = False,
    obstacles: Mapping[Value, str] | None = None,
    empty: str = "automatic",
) -> dict[str, Any]:
    """A control as ``IControl`` of spacevalues.ts.

    Args:
        parameter: What it sets.
        values: The values to try, as the user gave them.
        first: Whether it is shown without expanding.
        problem: What is wrong with the values.
        fixed: Whether the values cannot be changed.
        obstacles: Value → why it is impossible.
        empty: What it means to give no value, where that is allowed.
    """  # fmt: skip
    return {
        "name": parameter.name,
        "label": title(parameter),
        "kind": kind_of(parameter),
        "help": help_of(parameter, empty),
        "unit": "" if parameter.unit == "share" else parameter.unit,
        "share": parameter.unit == "share",
        "minimum": parameter.minimum,
        "maximum": parameter.maximum,
        "step": parameter.step,
        "automatic": parameter.default is None,
        "empty": empty if parameter.default is None else "",
        "choices": [
            {"value": v, "label": shown(v), "reason": (obstacles or {}).get(v, "")} for v in choices_of(parameter)
        ],
        "values": list(values),
        "first": first,
        "problem": problem,
        "fixed": fixed,
    }


def checked(parameter: Parameter, owner: str, values: Iterable[Any]) -> Values:
    """The values in their canonical types, each once.

    Raises:
        SettingError: A value cannot be used, or no value is given.
    """
    found = tuple(dict.fromkeys(parameter.check(v, owner) for v in values))
    if not found:
        raise SettingError(f"{owner}: no value was given for {parameter.name}.", remedy="give one.")
    return found


def kind_of(parameter: Parameter) -> str:
    """``"range"`` (a slider), ``"numbers"``, ``"choices"``, ``"names"`` or ``"paths"``."""
    if parameter.kind in {"text", "path"}:
        return "names" if parameter.kind == "text" else "paths"
    if parameter.kind not in {"float", "int"}:
        return "choices"
    low, high, step = parameter.minimum, parameter.maximum, parameter.step
    few = low is not None and high is not None and step and (high - low) / step <= _MOST_STEPS
    return "range" if few and parameter.default is not None else "numbers"


def choices_of(parameter: Parameter) -> tuple[Value, ...]:
    """All values of a choice."""
    if parameter.kind in {"float", "int", "text", "path"}:
        return ()
    known: tuple[Value, ...] = (False, True) if parameter.kind == "bool" else parameter.choices
    return (None, *known) if parameter.default is None else known


def title(parameter: Parameter) -> str:
    """Name of a control."""
    name = parameter.label or parameter.name.replace("_", " ")
    return name[:1].upper() + name[1:]


def help_of(parameter: Parameter, empty: str = "automatic") -> str:
    """Help, range and default in one or two sentences; ``empty`` is the default where there is no value."""
    bounds = f"{parameter.bounds}, " if parameter.bounds and parameter.unit != "share" else ""
    if parameter.unit == "share" and parameter.minimum is not None and parameter.maximum is not None:
        bounds = f"between {100 * parameter.minimum:g} and {100 * parameter.maximum:g} %, "
    default = empty if parameter.default is None else _default(parameter)
    return f"{parameter.help} Allowed: {bounds}default {default}.".replace("Allowed: default", "Default:")


def _default(parameter: Parameter) -> str:
    value = parameter.default
    if parameter.unit == "share" and isinstance(value, int | float):
        return f"{100 * value:g} %"
    if parameter.kind in {"text", "path"}:
        return f"“{value}”" if value else "none"
    unit = f" {parameter.unit}" if parameter.unit and value is not None else ""
    return (f"{value:g}" if isinstance(value, float) else shown(value)) + unit


def shown(value: Any) -> str:
    """A value of a choice in words."""
    if value is None:
        return "automatic"
    return ("on" if value else "off") if isinstance(value, bool) else str(value).replace("_", " ")

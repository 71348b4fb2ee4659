"""How a sweep is run: the options of ``dk.sweep`` that the Space panel has controls for, made from their declaration.

The values are a dictionary of those that differ from their defaults. An option that takes its value from the goal is
True when it is on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from deploykit.core.contract import Contract
from deploykit.core.errors import SettingError, unknown_name
from deploykit.core.registry import registry
from deploykit.core.settings.option import Option, options_of
from deploykit.core.settings.options import SweepOptions

#: Option → value.
Values = Mapping[str, Any]


class Goals(Protocol):
    """A goal: has the values that options take from it."""

    @property
    def max_drop(self) -> float:
        """Largest loss."""


def controlled() -> dict[str, Option]:
    """The options that have a control, in their order."""
    return {name: option for name, option in options_of(SweepOptions).items() if option.panel}


def value_of(values: Values, name: str) -> Any:
    """The value of an option; whether it is on if it takes it from the goal."""
    option = controlled()[name]
    return values.get(name, False if option.of_goal else option.default)


def with_value(values: Values, name: str, value: Any) -> dict[str, Any]:
    """The values with one changed and checked; what only matters together with another option goes with it.

    Raises:
        SettingError: No such option, or a value it cannot have.
        MissingExtraError: A search needs a package that is not installed.
    """
    known = controlled()
    if name not in known:
        raise unknown_name("option of a sweep", name, known)
    option = known[name]
    if option.of_goal:
        if not isinstance(value, bool):
            raise SettingError(f"{name} must be true or false, got {value!r}.", remedy="the goal has its value.")
    elif option.special is not None and value == option.special[0] and value < (option.minimum or 0):
        raise SettingError(
            f"{name} must be at least {option.minimum:g} in the Workbench, got {value!r}.", remedy=option.remedy
        )
    else:
        value = option.check(value)
    found = {**values, name: value}
    usual = {n: False if o.of_goal else o.default for n, o in known.items()}
    changed = {n: found[n] for n in known if n in found and found[n] != usual[n]}
    return {n: v for n, v in changed.items() if not known[n].under or known[n].under in changed}


def look_at(name: str, value: str) -> str:
    """What is at the address that an option has for a value, in words; "" where there is none, or that is not known.

    Raises:
        SettingError: The option takes no address.
        EngineError: It cannot be used; says why.
    """
    option = controlled().get(name)
    if option is None or not option.address or option.adapters is None:
        raise unknown_name("option with an address", name, [n for n, o in controlled().items() if o.address])
    adapter, _, address = value.strip().partition("://")
    known = registry(*option.adapters)
    if not address or adapter not in known:
        return ""
    known.get(adapter).check_installed()
    return str(known.get(adapter).look(address))


def arguments(values: Values, goal: Goals) -> dict[str, Any]:
    """Arguments of ``dk.sweep`` that differ from its defaults, in its order.

    Args:
        values: The values.
        goal: Has the values of the options that take them from there.
    """
    known = controlled()
    return {n: getattr(goal, n) if known[n].of_goal else values[n] for n in known if n in values}


def whole(values: Values) -> bool:
    """Whether exactly the candidates of the plan are run: no search selects among them, and no round adds any."""
    return not ("search" in values or "sensitivity" in values)


def described(values: Values, contract: Contract | None = None) -> dict[str, Any]:
    """The controls as ``IOptions`` of options.tsx: those whose option matters with these values and for this model.

    Args:
        values: The values.
        contract: What the model's inputs and outputs are taken to mean; None as long as that is not known.
    """
    known = controlled()
    shown = [n for n, option in known.items() if _matters(option, values, contract)]
    return {"controls": [_control(n, known[n], value_of(values, n)) for n in shown], "changed": len(values)}


def _matters(option: Option, values: Values, contract: Contract | None) -> bool:
    if option.about and option.name not in values and getattr(contract, option.about, None) is None:
        return False
    return not option.under or option.under in values


def _control(name: str, option: Option, value: Any) -> dict[str, Any]:
    return {
        "name": name,
        "label": option.label,
        "help": option.panel_help,
        "kind": _kind(option),
        "value": option.usual if value is None else value,
        "choices": [
            {"value": n.value, "label": n.label, "help": n.help, "reason": n.missing()} for n in option.named
        ] or [{"value": c, "label": c.replace("_", " "), "help": "", "reason": ""} for c in option.offered],
        "units": list(option.units),
        "unit": option.unit,
        "whole": option.kind == "int",
        "address": option.address,
    }  # fmt: skip


def _kind(option: Option) -> str:
    """``"switch"``, ``"choice"``, ``"number"``, ``"amount"`` (a number with one of several units) or ``"text"``."""
    if option.kind == "bool" or option.of_goal:
        return "switch"
    if option.units:
        return "amount"
    if option.known and not option.address:
        return "choice"
    return "text" if option.kind == "text" else "number"

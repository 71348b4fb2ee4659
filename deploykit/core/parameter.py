"""Settings an adapter declares: typed, with units, defaults and ranges.

The Workbench builds its controls from them, the command line its help, and the planner checks values with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from deploykit.core.errors import SettingError, unknown_name
from deploykit.core.serial import Plain

#: Names that a label shows, and the characters of each.
_SHOWN, _LONG = 3, 32

Value = bool | int | float | str | None


@dataclass(frozen=True)
class Parameter(Plain):
    """One setting.

    Attributes:
        name: Keyword, as written in a recipe.
        kind: What values look like; ``"text"`` is names separated by commas, ``"path"`` is a file or folder.
        default: Used when a recipe does not name it.
        help: One sentence for people; also says what the setting does not buy.
        label: Short name for controls; empty: derived from ``name``.
        minimum: Smallest number allowed.
        maximum: Largest number allowed.
        step: Step of a slider.
        unit: Unit of a number, for example ``"epochs"``; ``"share"`` is shown in percent.
        choices: Allowed values of a choice.
        shown: Part of a recipe's label even at its default.
        binding: A way of doing the technique that does not use it cannot stand in when it is set: such a combination
            is left out with the reason instead of being taken for the default.
        replaces: Name of the setting whose place it takes when it is set, which has no effect then; "": of none.
        under: Name of the setting it only matters with: it has no effect while that one is empty, off or 0.
        usual: With a default of None, which follows from the model: the value that it has for most models. Recipes of
            rows write others out, so that it is what a row means whose recipe leaves it out.
        late: It came when files had been made without it: their keys leave it out at its default, so that they are
            found again.
    """

    name: str
    kind: Literal["float", "int", "bool", "choice", "text", "path"]
    default: Value
    help: str = ""
    label: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()
    shown: bool = False
    binding: bool = False
    replaces: str = ""
    under: str = ""
    usual: Value = None
    late: bool = False

    @property
    def standing(self) -> Value:
        """What a row means whose recipe leaves it out."""
        return self.usual if self.default is None else self.default

    def check(self, value: Any, owner: str) -> Value:
        """The value in its canonical type.

        Raises:
            SettingError: Wrong type or out of range; names the owner, the parameter, the range and the value.
        """
        where = f"{owner}: {self.name}" if owner else self.name
        if hasattr(value, "item") and not getattr(value, "ndim", 0):  # a NumPy scalar
            value = value.item()
        if value is None and self.default is None:
            return None
        if self.kind == "choice":
            if value not in self.choices:
                raise unknown_name(f"value for {where},", value, self.choices)
            return str(value)
        if self.kind == "bool":
            if not isinstance(value, bool):
                raise SettingError(f"{where} must be true or false, got {value!r}.")
            return value
        if self.kind == "text":
            return _names(value, where)
        if self.kind == "path":
            return _path(value, where)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SettingError(f"{where} must be a number, got {value!r} ({type(value).__name__}).")
        if not math.isfinite(value):
            raise SettingError(f"{where} must be a finite number, got {value!r}.")
        number: int | float = float(value) if self.kind == "float" else int(value)
        if number != value:
            raise SettingError(f"{where} must be a whole number, got {value!r}.")
        low, high = self.minimum, self.maximum
        if (low is not None and number < low) or (high is not None and number > high):
            raise SettingError(f"{where} must be {self.bounds}, got {value!r}.", remedy=self.remedy)
        return number

    @property
    def remedy(self) -> str:
        """What is said when a value is out of range."""
        return "leave it out for the default." if self.default is None else f"the default is {self.default}."

    @property
    def bounds(self) -> str:
        """The range in words, "" when there is none."""
        if self.minimum is not None and self.maximum is not None:
            return f"between {_number(self.minimum)} and {_number(self.maximum)}"
        if self.minimum is not None:
            return f"at least {_number(self.minimum)}"
        return f"at most {_number(self.maximum)}" if self.maximum is not None else ""


def _number(value: float) -> str:
    """Whole numbers with all digits: more than six of them are not told apart from their neighbors otherwise."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:g}"


def short(names: str) -> str:
    """Names separated by commas, as a label shows them: the ends of long ones, and the first three."""
    found = [name.strip() for name in names.split(",")]
    shown = [name if len(name) <= _LONG else f"…{name[1 - _LONG :]}" for name in found[:_SHOWN]]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(shown) + more


def _names(value: Any, where: str) -> str:
    """Names separated by commas, sorted and each once: neither order nor repetition means anything."""
    if not isinstance(value, str):
        raise SettingError(f"{where} must be text, got {value!r} ({type(value).__name__}).")
    names = sorted({name for part in value.split(",") if (name := part.strip())})
    if bad := [name for name in names if not name.isprintable()]:
        raise SettingError(f"{where} holds characters that cannot be printed: {bad[0]!r}.")
    return ", ".join(names)


def _path(value: Any, where: str) -> str:
    if not isinstance(value, str | PurePath):
        raise SettingError(f"{where} must be a path, got {value!r} ({type(value).__name__}).")
    if not str(value).isprintable():
        raise SettingError(f"{where} holds characters that cannot be printed: {str(value)!r}.")
    return str(value).strip()


def complete(declared: tuple[Parameter, ...], given: dict[str, Any], owner: str) -> dict[str, Value]:
    """All declared parameters with their values, defaults filled in, sorted by name.

    Raises:
        SettingError: An unknown parameter (lists the known ones) or a bad value.
    """
    known = {p.name: p for p in declared}
    for name in given:
        if name not in known:
            raise unknown_name(f"parameter for {owner}", name, known)
    return {name: known[name].check(given.get(name, known[name].default), owner) for name in sorted(known)}


def replaced(declared: tuple[Parameter, ...], values: dict[str, Any]) -> dict[str, str]:
    """Settings without effect, each with the name of the one that is set in its place."""
    return {p.replaces: p.name for p in declared if p.replaces and values[p.name] != p.default}


def idle(declared: tuple[Parameter, ...], values: dict[str, Any], label: str) -> dict[str, str]:
    """Settings that are not at their defaults and have no effect beside the others, each with the reason.

    Args:
        declared: All parameters.
        values: A value of each.
        label: What they are settings of, in messages.
    """
    instead = replaced(declared, values)
    found = {}
    for p in declared:
        if values[p.name] == p.default:
            continue
        if other := instead.get(p.name):
            found[p.name] = f"{other} of {label} takes the place of {p.name}: leave one of them out"
        elif p.under and not values[p.under]:
            numeric = type(values[p.under]) in (int, float)
            where = f"with {p.under}=0" if numeric else f"without {p.under}"
            found[p.name] = f"{p.name} of {label} has no effect {where}: set {p.under}, or leave {p.name} out"
    return found


def described(declared: tuple[Parameter, ...], values: dict[str, Any], label: str) -> str:
    """A label with the settings that are always shown, and in parentheses those that differ from their defaults."""
    unused = replaced(declared, values)
    always = [_value(p, values[p.name]) for p in declared if p.shown and p.name not in unused]
    others = [
        _named(p, values[p.name]) for p in declared if not p.shown and values[p.name] not in (p.default, p.standing)
    ]
    return " ".join([label, *always]) + (f" ({', '.join(others)})" if others else "")


def _named(parameter: Parameter, value: Value) -> str:
    name = parameter.label or parameter.name.replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {_value(parameter, value)}"


def _value(parameter: Parameter, value: Value) -> str:
    if isinstance(value, float):
        return f"{100 * value:g} %" if parameter.unit == "share" else f"{value:g}"
    return short(str(value)) if parameter.kind == "text" else str(value).replace("_", " ")

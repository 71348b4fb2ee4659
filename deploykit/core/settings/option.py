"""What an option is: a parameter of a public function, with all that signatures, flags and controls need of it.

The options themselves are declared in `deploykit.core.settings.options`.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from deploykit.core.errors import SettingError, unknown_name
from deploykit.core.extras import installed, pip_line, require
from deploykit.core.parameter import Parameter, Value
from deploykit.core.registry import registry

Function = TypeVar("Function", bound=Callable[..., Any])
Group = TypeVar("Group", bound=Mapping[str, Any])
_WIDTH = 120


@dataclass(frozen=True)
class Named:
    """A value of a choice, with a label and a sentence for people, and the extra that it needs."""

    value: str
    label: str
    help: str
    module: str = ""
    extra: str = ""

    def missing(self) -> str:
        """Why it cannot be chosen here; "" when it can."""
        return (
            ""
            if not self.module or installed(self.module)
            else f"{self.module} not installed; {pip_line([self.module], self.extra)}"
        )


@dataclass(frozen=True)
class Option(Parameter):
    """One option: a parameter with what only options have.

    Its ``help`` is the sentence for the command line and the Workbench.

    Attributes:
        more: Further sentences for the documentation of the argument.
        metavar: What its value is called in usage lines.
        flag: Flag of the command line; empty: derived from ``name``.
        no: Help of the flag that turns off what is on by default.
        usual: The default in words, where the value does not say it.
        special: A value outside the range, with what it does.
        exclusive: The minimum itself is not allowed.
        named: The choices, in place of ``choices``.
        adapters: Package and kind of the adapters whose names are choices as well.
        under: The option it only matters with: its control is shown when that one differs from its default. If it is
            ``binding``, setting it without that one is an error.
        panel: The Workbench has a control for it.
        about: Part of the contract that models must have for the control to be shown, such as ``"decoder"``.
        hint: What the control says in place of ``help``.
        of_goal: In the Workbench it is a switch that takes the value from the goal's field of the same name.
        units: A number with one of these units.
        read: Checks a value, in place of the range.
        parse: Reads a value from the command line, in place of its type.
        pairs: A dictionary: the flag takes one NAME=VALUE and can be repeated.
        address: The name of an adapter may be followed by ``://`` and an address.
        files: The name may be that of a Python file, ``FILE.py`` or ``FILE.py:FUNCTION``.
    """

    more: str = ""
    metavar: str = ""
    flag: str = ""
    no: str = ""
    usual: str = ""
    special: tuple[float, str] | None = None
    exclusive: bool = False
    named: tuple[Named, ...] = ()
    adapters: tuple[str, str] | None = None
    panel: bool = False
    about: str = ""
    hint: str = ""
    of_goal: bool = False
    units: tuple[str, ...] = ()
    read: Callable[[Any], Any] | None = None
    parse: Callable[[str], Any] | None = None
    pairs: bool = False
    address: bool = False
    files: bool = False

    @property
    def known(self) -> tuple[str, ...]:
        """All values of a choice; for an option with adapters, those installed here."""
        found = registry(*self.adapters).names() if self.adapters else ()
        return (*self.choices, *(n.value for n in self.named), *found)

    @property
    def offered(self) -> tuple[str, ...]:
        """`known`, with the settings that adapters offer: ``name:value``."""
        found = registry(*self.adapters).all() if self.adapters else ()
        settings = {a.name: tuple(f"{a.name}:{v}" for v in getattr(a, "offered", ())) for a in found}
        return tuple(each for name in self.known for each in (name, *settings.get(name, ())))

    def _has_setting(self, value: str) -> bool:
        """Whether it names an adapter with a setting, ``name:value``, or a Python file with one of the user's.

        Raises:
            SettingError: The adapter has no setting, or not such a one; or there is no such file.
        """
        if self.adapters is None or self.address:
            return False
        if self.files and python_file(value):
            if not Path(path := python_file(value)).is_file():
                raise SettingError(f"File {path} does not exist ({self.name}).", remedy=self.remedy)
            return True
        known = registry(*self.adapters)
        return ":" in value and value.partition(":")[0] in known.names() and bool(known.get(value))

    def _schemes(self) -> set[str]:
        """Beginnings of addresses that belong to an adapter besides its name."""
        found = registry(*self.adapters).all() if self.adapters else ()
        return {scheme for adapter in found for scheme in getattr(adapter, "schemes", ())}

    @property
    def panel_help(self) -> str:
        """What a control says under its label; a choice explains the chosen value instead."""
        return "" if self.named or self.units else self.hint or self.help

    @property
    def bounds(self) -> str:
        """The range in words with its unit and its special value, "" when there is none."""
        found = super().bounds
        if self.exclusive:
            found = f"more than {self.minimum:g}"
        found = f"{found} {self.unit}".strip() if found else ""
        return f"{found}, or {self.special[0]:g} to {self.special[1]}" if found and self.special else found

    def check(self, value: Any, owner: str = "") -> Any:
        """The value in its canonical type.

        Raises:
            SettingError: Wrong type or out of range; names the option, the range and the value.
            MissingExtraError: The choice needs a package that is not installed.
        """
        if value is None and self.default is None:
            return None
        if self.read is not None:
            return self.read(value)
        if self.adapters is not None and not isinstance(value, str):
            return value
        if self.kind == "choice" or self.adapters is not None:
            name = str(value).partition("://")[0].partition("+")[0] if self.address else value
            if name not in self.known and not (self._has_setting(value) or (self.address and name in self._schemes())):
                raise unknown_name(self.name, name, self.known)
            for choice in self.named:
                if choice.value == value and choice.module:
                    require(choice.module, choice.extra)
            return value
        if self.special is not None and value == self.special[0] and not isinstance(value, bool):
            return type(self.default)(value) if self.default is not None else value
        if self.exclusive and not isinstance(value, bool) and isinstance(value, int | float):
            assert self.minimum is not None
            if value <= self.minimum:
                raise SettingError(f"{self.name} must be {self.bounds}, got {value!r}.", remedy=self.remedy)
        return super().check(value, owner)

    @property
    def remedy(self) -> str:
        """The default in words."""
        return f"the default is {self.usual}." if self.usual else super().remedy


def python_file(value: str) -> str:
    """The file that ``FILE.py`` or ``FILE.py:FUNCTION`` names, "" when it is neither."""
    path, colon, function = value.rpartition(".py")
    return f"{path}.py" if colon and path and (not function or function[0] == ":") else ""


def option(kind: Literal["float", "int", "bool", "choice", "text"], default: Any, help: str, **more: Any) -> Option:  # noqa: A002
    """An option; its name is that of the field it is declared for."""
    return Option("", kind, default, help, **more)


def options_of(group: type) -> dict[str, Option]:
    """The options of a group in their order."""
    hints = get_type_hints(group, include_extras=True)
    found = {name: next(o for o in get_args(hint)[1:] if isinstance(o, Option)) for name, hint in hints.items()}
    return {name: replace(option, name=name) for name, option in found.items()}


def complete(group: type[Group], given: Mapping[str, Any]) -> Group:
    """All options of a group with their values, checked, defaults filled in.

    Raises:
        SettingError: An unknown option (lists the known ones), a bad value, or one that needs another option.
        MissingExtraError: A choice needs a package that is not installed.
    """
    known = options_of(group)
    for name in given:
        if name not in known:
            raise unknown_name("option", name, known)
    found = {name: option.check(given.get(name, option.default)) for name, option in known.items()}
    for name, option in known.items():
        other = known.get(option.under)
        if option.binding and other and found[name] != option.default and found[option.under] == other.default:
            raise SettingError(
                f"{name} applies only together with {option.under}: it was {found[name]!r} with the default "
                f"{option.under}, {other.default!r}.",
                remedy=f"also set {option.under}"
                + (f" ({', '.join(n for n in other.known if n != other.default)})." if other.known else "."),
            )
    return found  # type: ignore[return-value]  # a TypedDict of these names, checked one by one


def changed(group: type, values: Mapping[str, Any]) -> dict[str, Value]:
    """The values that differ from their defaults, in the order of the declaration, as a plan names them.

    A function goes by its name and a connection by its type; what is said of the signature is in the contract.
    """
    return {
        name: value if isinstance(value, bool | int | float | str) else getattr(value, "__name__", type(value).__name__)
        for name, option in options_of(group).items()
        if (value := values[name]) != option.default and not isinstance(value, Mapping)
    }


def takes(group: type) -> Callable[[Function], Function]:
    """Give a function with ``**options: Unpack[GROUP]`` the signature and the documentation of these options."""

    def decorate(function: Function) -> Function:
        options = options_of(group)
        types = get_type_hints(group)
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=types[name])
            for name, option in options.items()
        ]
        function.__signature__ = signature.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
        lines = (function.__doc__ or "").splitlines()
        place = next(i for i, line in enumerate(lines) if line.strip().startswith("**options:"))
        described = [line for name, option in options.items() for line in _documented(name, option)]
        function.__doc__ = "\n".join([*lines[:place], *described, *lines[place + 1 :]])
        return function

    return decorate


def _documented(name: str, option: Option) -> list[str]:
    words = " ".join(filter(None, (option.help, *(f'``"{n.value}"``: {n.help}' for n in option.named), option.more)))
    return textwrap.wrap(
        f"{name}: {words}", _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 12, break_long_words=False
    )

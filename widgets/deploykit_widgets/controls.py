"""Controls made from declared parameters: each offers the values to try, not one value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets as widgets

from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter, Value
from deploykit_widgets.markup import text


class Values:
    """The values of one parameter to try.

    Numbers are typed with commas between them; choices and yes-no settings are buttons that stay pressed; names are
    typed with commas between them, and semicolons between one set of names and the next.

    Args:
        parameter: What it declares.
        owner: Name of the technique, for messages.
        values: Values to begin with.
        on_change: Called when the user has changed it (and when `set` has).
    """

    def __init__(
        self, parameter: Parameter, owner: str, values: Iterable[Value], on_change: Callable[[Any], None]
    ) -> None:
        self.parameter = parameter
        self._owner = owner
        self._inner = _CONTROLS.get(parameter.kind, _Choices)(parameter)
        self.widget = self._inner.widget
        self.set(values)
        for control in self._inner.controls:
            control.observe(on_change, names="value")

    @property
    def values(self) -> tuple[Value, ...]:
        """The values, checked, each once.

        Raises:
            SettingError: A value is no number or outside the range, or there is none.
        """
        found = tuple(dict.fromkeys(self.parameter.check(v, self._owner) for v in self._inner.read(self._owner)))
        if not found:
            raise SettingError(f"{self._owner}: no value is given for {self.parameter.name}.", remedy="give one.")
        return found

    def set(self, values: Iterable[Value]) -> None:
        """Show other values."""
        self._inner.write(tuple(values))

    def enable(self, on: bool) -> None:
        """Let it be changed, or not."""
        for control in self._inner.controls:
            control.disabled = not on


class _Numbers:
    """Numbers in a text field, with commas between them; empty stands for a default of None."""

    def __init__(self, parameter: Parameter) -> None:
        self._kind = int if parameter.kind == "int" else float
        self._none = parameter.default is None
        field = widgets.Text(
            description=title(parameter),
            tooltip=help_of(parameter),
            continuous_update=False,
            placeholder="automatic" if self._none else f"for example {parameter.default}",
        )
        field.add_class("dk-field")
        self.controls = (field,)
        self.widget = field

    def read(self, owner: str) -> list[Value]:
        parts = [p.strip() for p in str(self.controls[0].value).split(",")]
        if not any(parts) and self._none:
            return [None]
        return [self._number(p, owner) for p in parts if p]

    def _number(self, words: str, owner: str) -> Value:
        try:
            number = float(words)
        except ValueError as error:
            raise SettingError(
                f"{owner}: {words!r} is not a number.", remedy="type numbers with commas between them."
            ) from error
        return int(number) if self._kind is int and number.is_integer() else number

    def write(self, values: tuple[Value, ...]) -> None:
        shown = (f"{v:g}" if isinstance(v, float) else str(v) for v in values if v is not None)
        self.controls[0].value = ", ".join(shown)


class _Names:
    """Sets of names in a text field, with semicolons between them; an empty set is the default."""

    def __init__(self, parameter: Parameter) -> None:
        field = widgets.Text(
            description=title(parameter),
            tooltip=f"{parameter.help} Semicolons stand between the sets to try; an empty one is tried, too.",
            continuous_update=False,
            placeholder="none",
        )
        field.add_class("dk-field")
        self.controls = (field,)
        self.widget = field

    def read(self, _owner: str) -> list[Value]:
        return [part.strip() for part in str(self.controls[0].value).split(";")]

    def write(self, values: tuple[Value, ...]) -> None:
        self.controls[0].value = "; ".join(str(v) for v in values)


class _Choices:
    """Buttons that stay pressed, several at a time."""

    def __init__(self, parameter: Parameter) -> None:
        known: list[Value] = [False, True] if parameter.kind == "bool" else list(parameter.choices)
        self._values = [*([None] if parameter.default is None else []), *known]
        self.controls = tuple(
            widgets.ToggleButton(description=_shown(v), tooltip=f"{title(parameter)}: {_shown(v)}. {parameter.help}")
            for v in self._values
        )
        for control in self.controls:
            control.add_class("dk-chip")
            control.observe(_tick, names="value")
        name = widgets.HTML(
            f'<span class="dk-field-name" title="{text(parameter.help)}">{text(title(parameter))}</span>'
        )
        chips = widgets.Box(self.controls)
        chips.add_class("dk-chips")
        self.widget = widgets.VBox([name, chips])

    def read(self, _owner: str) -> list[Value]:
        return [v for v, control in zip(self._values, self.controls, strict=True) if control.value]

    def write(self, values: tuple[Value, ...]) -> None:
        for value, control in zip(self._values, self.controls, strict=True):
            control.value = value in values


#: Controls by kind of parameter; all others are choices.
_CONTROLS: dict[str, Any] = {"float": _Numbers, "int": _Numbers, "text": _Names}


def _tick(change: Any) -> None:
    """A pressed chip has a tick, so that its state is not told by color alone."""
    change["owner"].icon = "check" if change["new"] else ""


def title(parameter: Parameter) -> str:
    """Name of a control."""
    name = parameter.label or parameter.name.replace("_", " ")
    return name[:1].upper() + name[1:]


def help_of(parameter: Parameter) -> str:
    """Help, unit and range in a sentence or two."""
    bounds = f"{parameter.bounds}, " if parameter.bounds else ""
    unit = f" {parameter.unit}" if parameter.unit and parameter.default is not None else ""
    default = "automatic" if parameter.default is None else parameter.default
    return f"{parameter.help} Values to try, with commas between them: {bounds}default {default}{unit}.".strip()


def _shown(value: Value) -> str:
    if value is None:
        return "automatic"
    return ("on" if value else "off") if isinstance(value, bool) else str(value).replace("_", " ")

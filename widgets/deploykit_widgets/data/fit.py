"""Whether model and data fit, and the fixes that the Data panel applies with one click."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from deploykit.core.check import Suspicion
from deploykit.data.axes import settings_for
from deploykit.data.preprocess import Preprocess
from deploykit_widgets.data.settings import SETTINGS
from deploykit_widgets.data.typed import FIELDS
from deploykit_widgets.state import State

#: A Python argument with its flag, as messages name it: `scale= and offset= (--scale, --offset)`.
_FLAGS = re.compile(r" \((?:--[\w-]+[^()]*)\)")
_ARGUMENT = re.compile(r"\b([a-z_]+)=(?=\s|$|[.,;:])")
_VALUE = re.compile(r"\b([a-z_]+)=(\([^()]*\)|[^\s,;]+?)(?=[.,;:]?(?:\s|$))")
#: What the fields are called on screen.
_STEPS = {name: name.capitalize() for name in FIELDS}
_READING = {**_STEPS, **{name: setting.label for name, setting in SETTINGS.items()}}
#: What the panel says of outputs and not in fields: output='class'.
_QUOTED = re.compile(r"\b(output|scores)=(['\"])(.*?)\2")


@dataclass(frozen=True)
class Remedy:
    """A different interpretation of data or model.

    Attributes:
        text: What it fixes, in a sentence.
        code: The line of code that applies it; "" when the panel can do so.
        label: The label of its button; "" when the panel cannot apply it.
        setting: See `Suspicion`.
    """

    text: str
    code: str = ""
    label: str = ""
    setting: dict[str, Any] = field(default_factory=dict)


def fits(state: State) -> bool:
    """Whether model and data are loaded and fit, and the model does its job on the data as far as was examined."""
    if state.model is None or state.data is None or state.plan is None or state.misfit is not None:
        return False
    examined = state.plan.examined
    return examined is None or (examined.check.ok and not examined.failure)


def doubtful(state: State) -> bool:
    """Whether something is known to be wrong with the data."""
    return state.misfit is not None or (state.plan is not None and state.data is not None and not fits(state))


def remedies(state: State) -> list[Remedy]:
    """Possible fixes, the most promising first."""
    if state.misfit is not None:
        fix = _shaped(state)
        return [fix] if fix else []
    examined = state.plan.examined if state.plan is not None and state.data is not None else None
    return [_of(state, s) for s in examined.check.suspicions] if examined else []


def on_screen(words: str) -> str:
    """A message in terms of the panel: fields have their names on screen, and command-line flags are removed."""
    return _reworded(words, _STEPS)


def of_reading(words: str) -> str:
    """The same of a file that is read, which has more fields than preprocessing."""
    return _reworded(words, _READING)


def _reworded(words: str, labels: dict[str, str]) -> str:
    words = _FLAGS.sub("", words)
    words = _QUOTED.sub(r'\1 "\3"', words)
    words = _ARGUMENT.sub(lambda found: labels.get(found[1], found[0]), words)
    return _VALUE.sub(lambda found: f"{labels[found[1]]} {_value(found[2])}" if found[1] in labels else found[0], words)


def _value(code: str) -> str:
    if code == '""':
        return code
    bare = code.strip("()\"'").replace("_", " ")
    return " \u00d7 ".join(part.strip() for part in bare.split(",")) if code.startswith("(") else bare


def _of(state: State, suspicion: Suspicion) -> Remedy:
    possible = applies(state, suspicion)
    return Remedy(
        on_screen(suspicion.text),
        "" if possible else suspicion.remedy,
        suspicion.label if possible else "",
        suspicion.setting,
    )


def applies(state: State, suspicion: Suspicion) -> bool:
    """Whether the panel can apply this interpretation; labels must be corrected where they are created."""
    setting = suspicion.setting
    if "preprocess" in setting:
        return state.data is not None and len(state.data.inputs) == 1
    return bool({"output", "scores"} & set(setting))


def _shaped(state: State) -> Remedy | None:
    """Preprocessing that gives examples the shape the model takes, or None."""
    model, data = state.model, state.data
    if model is None or data is None or len(model.inputs) != 1 or len(data.inputs) != 1:
        return None
    wanted = model.inputs[0].example_shape
    name = data.inputs[0]
    given = data.batch("evaluation", slice(0, 1))[name].shape[1:]
    found = settings_for(wanted, given) if wanted is not None else ""
    if not found or isinstance(found, str):
        return None
    before = data.preprocess.get(name, Preprocess())
    if before.layout or before.transpose:
        return None  # the new steps would come before the old ones
    changes: dict[str, Any] = dict(found)
    setting = {"preprocess": {name: replace(before, **changes).to_json()}}
    return Remedy("", "", _label(changes), setting)


def _label(settings: dict[str, Any]) -> str:
    """The label of a button that applies these settings."""
    said = []
    for name, value in settings.items():
        if isinstance(value, tuple):
            value = (" \u00d7 " if name != "transpose" else ", ").join(map(str, value))
        words = {"layout": "Move to", "transpose": "Reorder axes to"}.get(name, f"{name.capitalize()} to")
        said.append(f"{words} {str(value).replace('_', ' ')}")
    return " and ".join([said[0], *(part[:1].lower() + part[1:] for part in said[1:])])

"""Which layers or nodes of a model a technique leaves as they are: what its setting ``exclude`` means."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deploykit.core.errors import SettingError
from deploykit.core.layers.kinds import WORDS, LayerKind
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter
from deploykit.core.problem import Problem

#: Before a name: everything else is left as it is.
NOT = "!"
#: Classes of inner models, which no reader lists.
_INNER = ("Functional", "Model", "Sequential")
_SHOWN = 3


@dataclass(frozen=True)
class Selectable:
    """A node or a layer.

    Attributes:
        name: Its name.
        type: Operator or class.
        weights: How many it holds.
        follows: It is changed only with what comes before it, so ``!name`` need not say it.
        kind: What it does.
    """

    name: str
    type: str
    weights: int = 0
    follows: bool = False
    kind: LayerKind = ""

    @property
    def called(self) -> frozenset[str]:
        """What a setting may call it by: its name, its type, or its kind in words."""
        return frozenset({self.name, self.type, WORDS.get(self.kind, self.type)})


def setting(what: str, types: str, label: str, more: str = "") -> Parameter:
    """The setting of a technique.

    Args:
        what: What parts are called, for example ``"nodes"``.
        types: What their types are called, for example ``"types of operators"``.
        label: What is applied to them, for example ``"stay float"``.
        more: A further sentence.
    """
    return Parameter(
        "exclude",
        "text",
        "",
        f"{what.capitalize()} and {types} that {label}, by name, or by kind (convolutions, depthwise convolutions, "
        f"dense layers, …), separated by commas; ! before a name means that all others {label}."
        f"{f' {more}' if more else ''}",
        label=label,
        binding=True,
    )


def excluded(text: str, parts: Sequence[Selectable], what: str, kind: str) -> set[str]:
    """Names of the parts that are left as they are.

    Args:
        text: The setting, for example ``"conv_1, Softmax"``, ``"!Conv"`` or ``"depthwise convolutions"``.
        parts: All there are.
        what: What a part is called in messages.
        kind: What a type of them is called.

    Raises:
        SettingError: A name is neither a part's nor a type's nor a kind's; names the closest.
    """
    wanted = [name for piece in text.split(",") if (name := piece.strip())]
    names, types = {p.name for p in parts if p.name}, {p.type for p in parts}
    known = {name for part in parts for name in part.called if name}
    for name in wanted:
        if name.removeprefix(NOT).strip() not in known:
            raise _unknown(name.removeprefix(NOT).strip(), names, types, what, kind)
    alone = {name.removeprefix(NOT).strip() for name in wanted if name.startswith(NOT)}
    left = {name for name in wanted if not name.startswith(NOT)}

    def stays(part: Selectable) -> bool:
        if left & part.called:
            return True
        return bool(alone) and not part.follows and not alone & part.called

    return {part.name for part in parts if stays(part)}


def unsuited(text: str, layers: Iterable[Layer], what: str, kind: str) -> Iterator[Problem]:
    """The first name of a setting that no layer of a model has, as far as that is known before building.

    Args:
        text: The setting; see `excluded`.
        layers: Layers of the model, as its reader lists them. Layers of inner models are called by their path there,
            and nodes without a name by their type and number.
        what: What a part is called in messages.
        kind: What a type of them is called.
    """
    wanted = [name for piece in text.split(",") if (name := piece.strip().removeprefix(NOT).strip())]
    if not wanted:
        return
    parts = [Selectable(layer.name, layer.type, layer.parameters, kind=layer.kind) for layer in layers]
    known = {name for part in parts for name in part.called}
    inside = [part.name.split("/") for part in parts if "/" in part.name.strip("/") and part.name[0] != "/"]
    known |= {piece for path in inside for piece in (*path, *_INNER)}
    types = {part.type for part in parts}
    absent = [name for name in wanted if name not in known and re.sub(r"_\d+$", "", name) not in types]
    if parts and absent:
        error = _unknown(absent[0], {p.name for p in parts if p.name}, types, what, kind)
        yield Problem("impossible", f"{error.message.rstrip('.')}: {error.remedy.rstrip('.')}")


def units(parts: Sequence[Selectable], left: set[str]) -> list[list[Any]]:
    """What was changed, in order, as a note: ``[name, type, number of weights]`` for each."""
    return [[p.name, p.type, p.weights] for p in parts if p.name not in left and not p.follows]


def nameable(name: str) -> str:
    """A name as `excluded` can read it."""
    return "".join(c if c.isprintable() and c != "," else "_" for c in name).strip().lstrip(NOT)


def _unknown(name: str, names: set[str], types: set[str], what: str, kind: str) -> SettingError:
    close = difflib.get_close_matches(name, sorted(names | types), n=_SHOWN, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    some = ", ".join(sorted(names)[:_SHOWN]) or "none of them has a name"
    return SettingError(
        f"exclude: the model has no {what} and no {kind} {name!r}.",
        remedy=f"{hint}{kind}s: {', '.join(sorted(types))}; {what}s: {some}{', …' if len(names) > _SHOWN else ''}.",
    )

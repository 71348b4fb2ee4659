"""What a technique does to a layer or a type of operators: the rows of a pass over the layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from deploykit.core.result import Interval, Score
from deploykit.core.serial import Plain


@dataclass(frozen=True)
class Damage(Plain):
    """What a candidate has lost against the original model on the same runtime.

    Attributes:
        key: The candidate's key.
        drop: Loss of the metric, paired; positive is worse.
        fidelity: Loss of fidelity to the original's outputs: needs no labels, and shows what accuracy does not resolve.
        others: Losses by further metrics that need no labels, for example ``"agreement"``.
        size_bytes: Size of its artifact.
    """

    key: str
    drop: Interval
    fidelity: Interval
    others: dict[str, Interval] = field(default_factory=dict)
    size_bytes: int = 0

    @classmethod
    def of(cls, key: str, scores: Sequence[Score], fidelity: str, others: Sequence[str], size_bytes: int) -> Damage:
        """From a candidate's scores, the metric's first."""
        drops = {s.metric: s.drop for s in scores}
        kept = {name: drops[name] for name in others if name in drops}
        return cls(key, scores[0].drop, drops.get(fidelity, scores[0].drop), kept, size_bytes)


@dataclass(frozen=True)
class SensitivityRow(Plain):
    """A layer, a type of operators, or all layers that were not measured one by one.

    Attributes:
        name: Name in the graph, or the type.
        kind: What it is.
        type: Operator or class; "" when there are several.
        order: Place in the graph of the first layer it stands for.
        names: Names of the layers it stands for.
        weights: How many weights they hold.
        only: Loss when the technique is applied to nothing else; None when that was not measured (see ``problem``).
        all_but: Loss when it is applied to everything else.
        problem: Why a loss is not known.
        own: What the user calls the layer; "" when no layer of the original model is known to be it.
    """

    name: str
    kind: Literal["layer", "type", "others"]
    type: str
    order: int
    names: tuple[str, ...]
    weights: int
    only: Damage | None = None
    all_but: Damage | None = None
    problem: str = ""
    own: str = ""

    @property
    def shown(self) -> str:
        """Its name for people."""
        return self.own or self.name

"""Which operators become integer: what the outputs lose to each, and what a budget leaves in float."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.serial import Plain
from deploykit.surgery.layers.loss import loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Damage of an operator that cannot be quantized, or after which answers are not finite.
RUINED = 1e9
#: Bytes that a weight takes, by its bits; those of 4 bits have a scale for each block.
BYTES = {32: 4.0, 8: 1.0, 4: 0.625}
FLOAT, INTEGER, NARROW = BYTES


@dataclass(frozen=True)
class Operator(Plain):
    """An operator that can stay float or become integer.

    Attributes:
        name: Its node's.
        type: Its node's type.
        weights: How many it holds.
        behind: Names of those whose outputs it reads.
        damage: What the outputs lose when it alone is quantized, as a share of their variance.
        narrow: The same with weights of 4 bits and float activations; None where that was not tried.
        seconds: What it takes in float.
        problem: Why it cannot be quantized, "" where it can.
    """

    name: str
    type: str
    weights: int
    behind: tuple[str, ...] = ()
    damage: float = 0.0
    narrow: float | None = None
    seconds: float = 0.0
    problem: str = ""

    def loses(self, bits: int) -> float:
        """What the outputs lose to a number of bits; `RUINED` where it cannot have them."""
        if bits == FLOAT:
            return 0.0
        return self.damage if bits == INTEGER else RUINED if self.narrow is None else self.narrow


def damage_of(
    answers: Callable[[], Mapping[str, NDArray[Any]]], wanted: Mapping[str, NDArray[Any]]
) -> tuple[float, str]:
    """What a model loses of the wanted answers, as a share of their variance; what is wrong where that is `RUINED`.

    Args:
        answers: Makes the model and gives what it answers.
        wanted: What the model in float answers.
    """
    try:
        lost = loss(wanted, answers())
    except MemoryError:
        raise
    except Exception as error:  # whatever quantizers stumble over stays float
        traceback.print_exc()  # into the log of the task
        return RUINED, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return (lost, "") if lost < RUINED else (RUINED, "its answers are not finite then")


def taken(found: Iterable[Operator], bits: Mapping[str, int]) -> float:
    """Bytes that the weights of operators take; those that are not named are float."""
    return sum(BYTES[bits.get(o.name, FLOAT)] * o.weights for o in found)


def by_size(found: Sequence[Operator], free: Sequence[Operator], goal: float) -> dict[str, int]:
    """How many bits the operators get so that the weights of all take no more bytes than that, with the least damage.

    Operators without weights save nothing: they become integer where all that they read is, as long as none of them
    costs more than the costliest of the others.

    Args:
        found: All operators, measured.
        free: Those of them that may be quantized.
        goal: Bytes.

    Returns:
        Names of operators that are not float, in the order of the graph, with their bits; as few bytes as can be where
        the goal cannot be met.
    """
    able = [o for o in free if o.weights]
    bits = dict.fromkeys((o.name for o in able), FLOAT)
    while taken(found, bits) > goal:
        steps = [
            (
                (o.loses(fewer) - o.loses(bits[o.name])) / (o.weights * (BYTES[bits[o.name]] - BYTES[fewer])),
                o.name,
                fewer,
            )
            for o in able
            for fewer in BYTES
            if fewer < bits[o.name] and o.loses(fewer) < RUINED
        ]
        if not steps:
            break
        _, name, bits[name] = min(steps)
    for operator in sorted(able, key=lambda o: (-o.loses(bits[o.name]), o.name)):
        for more in BYTES:  # what the last ones have made unnecessary
            now = bits[operator.name]
            better = more > now and operator.loses(more) < operator.loses(now)
            if better and taken(found, {**bits, operator.name: more}) <= goal:
                bits[operator.name] = more
                break
    worst = max((o.loses(bits[o.name]) for o in able), default=0.0)
    for operator in free:
        follows = operator.behind and all(bits.get(name) == INTEGER for name in operator.behind)
        if not operator.weights and follows and operator.damage <= worst:
            bits[operator.name] = INTEGER
    return {o.name: bits[o.name] for o in free if bits.get(o.name, FLOAT) != FLOAT}


def by_time(found: Sequence[Operator], goal: float, share: Callable[[Sequence[Operator]], float]) -> list[Operator]:
    """The operators to quantize so that a model is as fast as that, those first that cost least for their time.

    The model is timed for as few of its choices as finding the place takes.

    Args:
        found: The operators that may be quantized, measured.
        goal: Share of the float model's time.
        share: What share of it the model takes with some of them quantized.

    Returns:
        They, in the order of the graph; all that can be quantized where the goal cannot be met.
    """
    if goal >= 1:
        return []
    able = sorted((o for o in found if o.damage < RUINED), key=lambda o: (o.damage / max(o.seconds, 1e-9), o.name))
    low, high = 0, len(able)  # too few, enough
    while high - low > 1:
        middle = (low + high) // 2
        if share(_ordered(found, able[:middle])) <= goal:
            high = middle
        else:
            low = middle
    return _ordered(found, able[:high])


def _ordered(found: Sequence[Operator], some: Collection[Operator]) -> list[Operator]:
    return [o for o in found if o in some]

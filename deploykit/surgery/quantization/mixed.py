"""Which operators of an ONNX graph become integer: what the outputs lose to each, and what a budget leaves in float."""

from __future__ import annotations

import copy
import json
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.serial import Plain
from deploykit.surgery.layers.loss import loss
from deploykit.surgery.layers.onnx_loss import answers
from deploykit.surgery.onnx_session import opened
from deploykit.surgery.quantization import few_bits, floating
from deploykit.surgery.quantization.moments import Batch
from deploykit.surgery.quantization.rounding import FewBits
from deploykit.surgery.quantization.write import Quantizer, parts_of
from deploykit.surgery.reconstruction.walk import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Damage of an operator that cannot be quantized, or after which answers are not finite.
RUINED = 1e9
#: Bytes that a weight takes, by its bits; those of 4 bits have a scale for each block.
BYTES = {32: 4.0, 8: 1.0, 4: 0.625}
#: How products are stored in 4 bits.
NARROW = FewBits(4, 32, True, "rtn", convolutions=False)
_FLOAT, _INTEGER, _NARROW = BYTES
#: Calls of a graph whose operators are timed.
_CALLS = 20


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
        if bits == _FLOAT:
            return 0.0
        return self.damage if bits == _INTEGER else RUINED if self.narrow is None else self.narrow


def operators(model: Any, types: Iterable[str], left: Collection[str]) -> list[Operator]:
    """The operators that compete for 8 bits, in the order of the graph.

    Args:
        model: A prepared ``ModelProto``.
        types: Types of operators to quantize.
        left: Names of nodes that stay float anyway.
    """
    parts = {p.name: p for p in parts_of(model.graph, types) if not p.follows and p.name not in left}
    makers: dict[str, tuple[str, ...]] = {}
    found = []
    for node in model.graph.node:
        behind = tuple(dict.fromkeys(name for i in node.input for name in makers.get(i, ())))
        part = parts.get(node.name)
        if part is not None:
            found.append(Operator(part.name, part.type, part.weights, behind))
        makers |= dict.fromkeys(node.output, (part.name,) if part is not None else behind)
    return found


def measured(
    model: Any,
    found: Sequence[Operator],
    quantizer: Quantizer,
    types: Sequence[str],
    left: Collection[str],
    examples: Examples,
    *,
    narrow: bool = False,
) -> list[Operator]:
    """Operators with what quantizing each of them alone costs, and what it takes in float.

    Args:
        model: A prepared ``ModelProto``.
        found: What `operators` has found.
        quantizer: Makes one of ONNX Runtime's quantizers.
        types: Types of operators to quantize.
        left: Names of nodes that stay float anyway.
        examples: Calibration inputs.
        narrow: Whether weights of 4 bits are tried as well.
    """
    wanted, times = answers(model, examples), _times(model, examples)
    names = {operator.name for operator in found}
    packable = few_bits.packable(model.graph, left, NARROW)[0] if narrow else set()
    known = []
    for number, operator in enumerate(found):
        stay = {*left, *names} - {operator.name}
        damage, problem = damage_of(partial(quantized, model, quantizer, types, stay), wanted, examples)
        few = None
        if operator.name in packable:
            few, _ = damage_of(partial(packed, model, {operator.name}), wanted, examples)
        seconds = times.get(operator.name, 0.0)
        known.append(replace(operator, damage=damage, narrow=few, seconds=seconds, problem=problem))
        examples.report(number + 1, len(found), "quantizing operators one by one")
    return known


def quantized(model: Any, quantizer: Quantizer, types: Sequence[str], left: Collection[str]) -> Any:
    """A quantized copy of a prepared ``ModelProto``; ``left`` names the nodes that stay float."""
    made = quantizer(copy.deepcopy(model), sorted(left), list(types))
    made.quantize_model()
    floating.protect(made.model.model)
    return made.model.model


def damage_of(make: Callable[[], Any], wanted: dict[str, NDArray[Any]], examples: Examples) -> tuple[float, str]:
    """What a model loses of the wanted answers, as a share of their variance; what is wrong where that is `RUINED`."""
    try:
        lost = loss(wanted, answers(make(), examples))
    except MemoryError:
        raise
    except Exception as error:  # whatever ONNX Runtime's tools stumble over stays float
        traceback.print_exc()  # into the log of the task
        return RUINED, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return (lost, "") if lost < RUINED else (RUINED, "its answers are not finite then")


def packed(model: Any, names: set[str], batches: Iterable[Batch] = (), told: dict[str, float] | None = None) -> Any:
    """A copy of a prepared ``ModelProto`` in which some products have weights of 4 bits.

    Args:
        model: The model.
        names: Names of the products.
        batches: Calibration inputs, from which rounding is learned; none where it is to the nearest values.
        told: Gets how much of the error of the nearest values is left, where rounding is learned.
    """
    made = copy.deepcopy(model)
    how = replace(NARROW, method="learned") if batches else NARROW
    found = few_bits.packed_in(made, names, how, lambda *_: None, batches)
    if told is not None:
        told |= found
    return made


def taken(found: Iterable[Operator], bits: Mapping[str, int]) -> float:
    """Bytes that the weights of operators take; those that are not named are float."""
    return sum(BYTES[bits.get(o.name, _FLOAT)] * o.weights for o in found)


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
    bits = dict.fromkeys((o.name for o in able), _FLOAT)
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
        follows = operator.behind and all(bits.get(name) == _INTEGER for name in operator.behind)
        if not operator.weights and follows and operator.damage <= worst:
            bits[operator.name] = _INTEGER
    return {o.name: bits[o.name] for o in free if bits.get(o.name, _FLOAT) != _FLOAT}


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


def _times(model: Any, examples: Examples) -> dict[str, float]:
    """Seconds of each node for one example, by its name; the graph is not optimized, so that all nodes are there."""
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        session = opened(model, profile=Path(folder) / "profile")
        feeds = {name: values[: examples.batch or 1] for name, values in examples.feeds.items()}
        for _ in range(_CALLS):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    found: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            found.setdefault(event["name"].removesuffix("_kernel_time"), []).append(event["dur"] / 1e6)
    return {name: sorted(values)[len(values) // 2] for name, values in found.items()}

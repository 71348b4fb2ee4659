"""Parts of a model that can be skipped, because what comes out has the shape of what goes in.

A *span* leads from one tensor to another. Skipping it means that everything that read its end reads its start instead;
what only served to compute the end goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias, TypeVar

from deploykit.core.layers.kinds import CONVOLUTIONS, LayerKind
from deploykit.core.model import Layer, TensorSpec
from deploykit.core.serial import Plain

_Step = TypeVar("_Step")
_Shape: TypeAlias = tuple[int | None, ...]
#: Kinds of layers that have the weights of a span.
_HEAVY = frozenset[LayerKind]({"dense", "embedding", *CONVOLUTIONS})
#: Kinds of layers that give one tensor, of which a summary has the shape.
_ONE_TENSOR = frozenset[LayerKind](
    {*_HEAVY, "normalization", "activation", "pooling", "reshape", "conversion", "arithmetic", "input"}
)
#: Layers and operators in which branches of a block may meet.
_MEETINGS = frozenset({"Add", "Mul", "Multiply"})


@dataclass(frozen=True)
class Span(Plain):
    """Part of a model that can be skipped.

    Attributes:
        name: Name of the node or layer that it is called by: of a layer its convolution or product, of a block the one
            in which its branches meet.
        type: Its operator or class.
        start: Tensor that goes in.
        end: Tensor that comes out.
        nodes: Names of the nodes or layers that go when it alone is skipped.
        weights: How many weights in kernels go with them.
    """

    name: str
    type: str
    start: str
    end: str
    nodes: tuple[str, ...]
    weights: int


def chosen(ordered: Sequence[Span], count: int) -> list[Span]:
    """The first spans of an order, without those that lie in others that go as well.

    Args:
        ordered: The spans, what is missed least first.
        count: How many to choose, at most.
    """
    found: list[Span] = []
    for span in ordered:
        if len(found) >= count:
            break
        if not any(set(span.nodes) <= set(other.nodes) for other in found):
            found = [*(other for other in found if not set(other.nodes) <= set(span.nodes)), span]
    return found


def impossible(layers: Sequence[Layer], inputs: Iterable[TensorSpec]) -> bool:
    """Whether it is known without running a model that it has no span.

    Args:
        layers: All layers in the order in which they run.
        inputs: What the model takes.
    """
    if any(spec.shape is None for spec in inputs):
        return False
    first: dict[_Shape, int] = {tuple(spec.shape or ()): 0 for spec in inputs}
    last, heavy = dict(first), 0  # how many layers with weights come before a shape is seen first, and last
    for layer in layers:
        if layer.shape is None or layer.kind not in _ONE_TENSOR or layer.type == "Split":
            return False
        if layer.type in _MEETINGS and not layer.parameters:
            return False
        heavy += layer.kind in _HEAVY
        first.setdefault(layer.shape, heavy)
        last[layer.shape] = heavy
    if any(first[shape] < last[shape] for shape in first):
        return False
    alike: dict[tuple[bool, ...], list[_Shape]] = {}
    for shape in first:
        alike.setdefault(tuple(size is None for size in shape), []).append(shape)
    others = ((one, other) for a, b in combinations(alike.values(), 2) for one in a for other in b)
    return not any(
        _may_be_equal(one, other) and min(first[one], first[other]) < max(last[one], last[other])
        for one, other in others
    )


def _may_be_equal(one: _Shape, other: _Shape) -> bool:
    """Whether shapes are the same where both are known."""
    return len(one) == len(other) and all(a == b or None in (a, b) for a, b in zip(one, other, strict=True))


def separate(found: Sequence[Span]) -> int:
    """How many spans can be skipped at most: those that lie in no other."""
    return len(chosen(sorted(found, key=lambda s: -len(s.nodes)), len(found)))


def meetings(
    steps: Iterable[tuple[_Step, Sequence[str], Sequence[str], bool]],
) -> Iterator[tuple[_Step, str, str]]:
    """Every step in which a tensor meets what was computed from it, with that tensor and what the step writes.

    Args:
        steps: In the order in which they run: the step, names of the computed tensors that it reads, names of those
            that it writes, and whether branches of a block can meet in it.
    """
    bits: dict[str, int] = {}  # bit of each tensor
    behind: dict[str, int] = {}  # bits of all tensors that a tensor was computed from
    for step, reads, writes, meets in steps:
        for name in reads:
            bits.setdefault(name, 1 << len(bits))
        for name in writes:
            behind[name] = 0
            for read in reads:
                behind[name] |= bits[read] | behind.get(read, 0)
        if meets and len(reads) == 2:
            for start, branch in (tuple(reads), tuple(reads)[::-1]):
                if behind.get(branch, 0) & bits[start]:
                    yield step, start, writes[0]

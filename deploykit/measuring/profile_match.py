"""Which node of a candidate is which layer of the float model, after each graph was fused in its own way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from deploykit.core.layers.kinds import HEAVY
from deploykit.core.result import LayerTime
from deploykit.core.serial import Plain
from deploykit.runtimes._profile import NodeTime

#: Larger graphs are matched by name, then only their heavy nodes by order: the table of the rest would be too large.
_TABLE = 1_000_000
#: Share of the names that must begin alike for the beginning to be left out.
_SHARED = 0.7
#: What executed types add to the name of an operator.
_FAMILY = re.compile(r"^(QLinear|Nhwc|Fused|Quant)|(Quantized|QuantizedLegacy|Static)$")


@dataclass(frozen=True)
class Profile:
    """Nodes of one file.

    Attributes:
        nodes: In the order of execution.
        wall_us: Microseconds of one inference without the profiler.
    """

    nodes: tuple[NodeTime, ...]
    wall_us: float


@dataclass(frozen=True)
class Comparison(Plain):
    """A candidate's layers beside those of float32 on the same runtime.

    Attributes:
        layers: In the candidate's order of execution; layers it lacks come last.
        float_ms: One inference of float32 without the profiler.
        ms: One inference of the candidate without the profiler.
        cache_bytes: Last-level cache of the machine that was measured, 0 when not known.
    """

    layers: tuple[LayerTime, ...]
    float_ms: float
    ms: float
    cache_bytes: int = 0

    @property
    def outside_ms(self) -> float:
        """The candidate's time that is spent in no node: calling the runtime, scheduling."""
        return max(0.0, self.ms - sum(layer.ms or 0.0 for layer in self.layers))


def compare(before: Profile, after: Profile) -> Comparison:
    """Match the nodes of float32 (``before``) and of a candidate (``after``).

    Names are compared first. What is left is aligned in the order of execution: a node may stand for one of the same
    kind, preferably with an output of the same size. Quantizing and dequantizing nodes stand for none: they are extra.
    """
    old, new = _calibrated(before), _calibrated(after)
    pairs = _pairs(old, new)
    prefix = _shared_prefix([node.name for node in old])
    layers = []
    for j, node in enumerate(new):
        twin = old[pairs[j]] if j in pairs else None
        shown = twin.name if twin else node.name
        layers.append(
            LayerTime(
                _without(shown, prefix), node.name, node.operator, node.kernel, node.kind,
                twin.microseconds / 1e3 if twin else None, node.microseconds / 1e3, node.precision, node.trait,
            )
        )  # fmt: skip
    matched = set(pairs.values())
    layers += [
        LayerTime(_without(n.name, prefix), n.name, n.operator, "", n.kind, n.microseconds / 1e3, None)
        for i, n in enumerate(old)
        if i not in matched
    ]
    return Comparison(tuple(layers), before.wall_us / 1e3, after.wall_us / 1e3)


def _calibrated(profile: Profile) -> list[NodeTime]:
    """Nodes without the profiler's own time.

    A profiler adds about the same to every node, several microseconds in ONNX Runtime: more than small nodes take.
    The amount is known, since without it the nodes' sum is at most the time of an inference that is not profiled; it
    is at most what the quickest nodes took. What is still too much is noise, which meets all alike.
    """
    times = sorted(node.microseconds for node in profile.nodes)
    excess = sum(times) - profile.wall_us
    if excess <= 0:
        return list(profile.nodes)
    added = min(excess / len(times), times[len(times) // 10])
    left = [max(0.0, n.microseconds - added) for n in profile.nodes]
    scale = min(1.0, profile.wall_us / (sum(left) or 1.0))
    return [replace(n, microseconds=t * scale) for n, t in zip(profile.nodes, left, strict=True)]


def _pairs(old: Sequence[NodeTime], new: Sequence[NodeTime]) -> dict[int, int]:
    """Place in ``new`` → place in ``old``."""
    pairs = _by_name(old, new)
    left_old = [i for i, n in enumerate(old) if i not in set(pairs.values()) and n.kind != "convert"]
    left_new = [j for j, n in enumerate(new) if j not in pairs and n.kind != "convert"]
    if len(left_old) * len(left_new) > _TABLE:
        left_old = [i for i in left_old if old[i].kind in HEAVY]
        left_new = [j for j in left_new if new[j].kind in HEAVY]
    if len(left_old) * len(left_new) <= _TABLE:
        pairs |= _aligned(old, new, left_old, left_new)
    return pairs


def _by_name(old: Sequence[NodeTime], new: Sequence[NodeTime]) -> dict[int, int]:
    """Nodes of one kind whose names are equal, and occur once on each side."""
    before, after = (Counter((n.kind, n.name) for n in nodes) for nodes in (old, new))
    places = {(n.kind, n.name): i for i, n in enumerate(old) if before[n.kind, n.name] == 1}
    return {
        j: places[n.kind, n.name]
        for j, n in enumerate(new)
        if n.kind != "convert" and n.name and after[n.kind, n.name] == 1 and (n.kind, n.name) in places
    }


def _aligned(
    old: Sequence[NodeTime], new: Sequence[NodeTime], left_old: list[int], left_new: list[int]
) -> dict[int, int]:
    """The best alignment that keeps both orders (Needleman and Wunsch, gaps cost nothing)."""
    rows, columns = len(left_old), len(left_new)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for a in range(rows - 1, -1, -1):
        for b in range(columns - 1, -1, -1):
            alike = _alike(old[left_old[a]], new[left_new[b]])
            best[a][b] = max(best[a + 1][b], best[a][b + 1], best[a + 1][b + 1] + alike if alike else 0)
    pairs, a, b = {}, 0, 0
    while a < rows and b < columns:
        alike = _alike(old[left_old[a]], new[left_new[b]])
        if alike and best[a][b] == best[a + 1][b + 1] + alike:
            pairs[left_new[b]] = left_old[a]
            a, b = a + 1, b + 1
        elif best[a][b] == best[a + 1][b]:
            a += 1
        else:
            b += 1
    return pairs


def _alike(old: NodeTime, new: NodeTime) -> int:
    """Confidence that one node stands for the other; 0: it does not."""
    if old.kind != new.kind or (old.kind not in HEAVY and _family(old.operator) != _family(new.operator)):
        return 0
    if not old.shape or not new.shape:
        return 2
    same = sorted(d for d in old.shape if d != 1) == sorted(d for d in new.shape if d != 1)  # layouts differ
    return (10 if old.kind in HEAVY else 3) if same else 1 if old.kind in HEAVY else 0


def _family(operator: str) -> str:
    while (shorter := _FAMILY.sub("", operator)) != operator:
        operator = shorter
    return operator


def _without(name: str, prefix: str) -> str:
    return name.replace(prefix, "") if prefix else name


def _shared_prefix(names: Sequence[str]) -> str:
    """Leading ``folder/`` parts that most names with folders share: they say nothing."""
    deep = [name.split("/")[:-1] for name in names if "/" in name]
    prefix: tuple[str, ...] = ()
    while len(deep) > 1:
        longer = Counter(tuple(parts[: len(prefix) + 1]) for parts in deep if len(parts) > len(prefix))
        common, count = longer.most_common(1)[0] if longer else ((), 0)
        if count < _SHARED * len(deep):
            break
        prefix = common
    return "".join(f"{part}/" for part in prefix)

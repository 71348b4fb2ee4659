"""Which nodes of two graphs belong together: by weights, by names, and by their place in the graph."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher
from typing import Literal

from deploykit.core.layers.kinds import CONVOLUTIONS
from deploykit.core.layers.names import own_layers, same_layers
from deploykit.loading._nodes import GraphNode

#: How two nodes were found to be one, the surest first: ``name``: their names, or those of what they compute;
#: ``weights``: the same values; ``layer``: one layer's name in two formats; ``structure``: the only ones of their kind
#: beside nodes that belong together; ``order``: as many of their kind, in order.
How = Literal["", "name", "weights", "layer", "structure", "order"]

#: Fewer values occur by chance: zeros of a bias, ones of a scale.
_TELLING = 16
#: Stretches of nodes between two known pairs that are aligned by order; longer ones are left as they are.
_LONGEST = 400
#: What converters and quantizers put behind names.
_DECORATION = re.compile(
    r"(_quant|_quantized|_QuantizeLinear(_(In|Out)put)?|_DequantizeLinear(_Output)?|_quantized_cast)$"
)
#: What executed types add to the name of an operator.
_FAMILY = re.compile(r"^(QLinear|Fused|Q(?=Gemm|Attention))|(Integer|IntegerToFloat)$")
_PRODUCTS = ("dense", *CONVOLUTIONS)


def plain(name: str) -> str:
    """A name without what converters and quantizers put behind it."""
    while (shorter := _DECORATION.sub("", name)) != name:
        name = shorter
    return name


def family(operator: str) -> str:
    """What an operator is called without the type it computes in."""
    return _FAMILY.sub("", operator.rpartition(".")[2])


def alike(old: GraphNode, new: GraphNode) -> bool:
    """Whether one node can stand for the other."""
    if family(old.operator) == family(new.operator):
        return True
    if old.kind in _PRODUCTS and new.kind in _PRODUCTS:
        return True
    return old.kind == new.kind and old.kind not in ("conversion", "arithmetic", "reshape", "other", "")


def quantizes(node: GraphNode) -> bool:
    """Whether a node turns real numbers into quantized ones, or back: it stands beside what the original has."""
    return node.kind == "conversion" and "quant" in node.operator.lower()


class Links:
    """Who computes what a node reads, and who reads what it computes.

    Args:
        nodes: The nodes of a graph.
        through: Places of nodes that are looked through.
    """

    def __init__(self, nodes: Sequence[GraphNode], through: Iterable[int] = ()) -> None:
        self._through = set(through)
        self._nodes = nodes
        self._makers = {name: i for i, node in enumerate(nodes) for name in node.outputs}
        self._readers: dict[str, list[int]] = defaultdict(list)
        for i, node in enumerate(nodes):
            for name in node.inputs:
                self._readers[name].append(i)

    def maker(self, name: str) -> int | None:
        """The node that computes a tensor; None for inputs of the graph."""
        for _ in self._nodes:
            place = self._makers.get(name)
            if place is None or place not in self._through or not self._nodes[place].inputs:
                return place
            name = self._nodes[place].inputs[0]
        return None

    def sources(self, place: int) -> list[int | None]:
        """The nodes that compute what a node reads, in order."""
        return [self.maker(name) for name in self._nodes[place].inputs]

    def readers(self, place: int) -> list[int]:
        """The nodes that read what a node computes."""
        found: list[int] = []
        waiting, seen = [place], {place}
        while waiting:
            for name in self._nodes[waiting.pop()].outputs:
                for reader in self._readers.get(name, ()):
                    if reader not in seen:
                        seen.add(reader)
                        (waiting if reader in self._through else found).append(reader)
        return found


def pair(old: Sequence[GraphNode], new: Sequence[GraphNode], *, same_format: bool) -> dict[int, tuple[int, How]]:
    """Place of a node → place of what it has become, and how that was found.

    Args:
        old: Nodes in the order in which they run.
        new: Those of the other graph.
        same_format: Whether both are of one format: other formats have layers where this one has operators.
    """
    pairs = _Pairs(old, new)
    pairs.unique(_weights, "weights")
    pairs.unique(lambda n: plain(n.name), "name")
    pairs.unique(lambda n: plain(n.outputs[0]) if n.outputs else "", "name")
    if not same_format:
        pairs.by_names_inside()
    pairs.by_layers()
    pairs.by_structure()
    pairs.by_order()
    pairs.by_structure()
    return pairs.found


def layers_of(old: Sequence[GraphNode], new: Sequence[GraphNode]) -> dict[int, list[int]]:
    """Place of a node → places of the nodes whose names are in its name: a fused one has those of all its parts."""
    places = {node.name: i for i, node in enumerate(old)}
    parts = [(j, part) for j, node in enumerate(new) for part in node.name.split(";") if part]
    own = own_layers({n.name: n.parameters for n in old}, [part for _, part in parts])
    found: dict[int, list[int]] = {}
    for (j, _), layer in zip(parts, own, strict=True):
        if layer is not None and places[layer] not in found.setdefault(j, []):
            found[j].append(places[layer])
    return {j: sorted(members) for j, members in found.items()}


def _places(nodes: Sequence[GraphNode], key: Callable[[GraphNode], str], taken: Iterable[int]) -> dict[str, list[int]]:
    gone = set(taken)
    found: dict[str, list[int]] = defaultdict(list)
    for i, node in enumerate(nodes):
        if i not in gone and (word := key(node)):
            found[word].append(i)
    return found


def _weights(node: GraphNode) -> str:
    """What is in a node's largest constant, "" for what may occur by chance, and for conversions of it."""
    largest = max(node.weights, key=lambda w: w.count, default=None)
    if largest is None or largest.count < _TELLING or len(largest.shape) < 2 or node.kind == "conversion":
        return ""
    return f"{largest.digest} {family(node.operator)}"


class _Pairs:
    """The pairs that are known so far; each way of finding more leaves them as they are.

    Args:
        old: Nodes in the order in which they run.
        new: Those of the other graph.

    Attributes:
        found: Place of an old node → place of a new one, and how that was found.
    """

    def __init__(self, old: Sequence[GraphNode], new: Sequence[GraphNode]) -> None:
        self._old, self._new = old, new
        self._taken = set[int]()
        self.found: dict[int, tuple[int, How]] = {}

    def _put(self, i: int, j: int, how: How) -> None:
        if i not in self.found and j not in self._taken:
            self.found[i] = (j, how)
            self._taken.add(j)

    def unique(self, key: Callable[[GraphNode], str], how: How) -> None:
        """Those that alone have a word in each graph; "" is none."""
        old, new = self._old, self._new
        ours, theirs = _places(old, key, self.found), _places(new, key, self._taken)
        for word, places in ours.items():
            others = theirs.get(word, [])
            if len(places) == len(others) == 1 and alike(old[places[0]], new[others[0]]):
                i, j = places[0], others[0]
                self._put(i, j, "name" if plain(old[i].name) == plain(new[j].name) else how)

    def by_names_inside(self) -> None:
        """The heaviest of the nodes whose names are in the name of one in another format."""
        old, new = self._old, self._new
        for j, members in layers_of(old, new).items():
            fitting = [i for i in members if alike(old[i], new[j]) or old[i].kind == new[j].kind]
            if len(members) == 1 and new[j].kind != "conversion":
                fitting = members
            if fitting:
                self._put(max(fitting, key=lambda i: old[i].parameters), j, "layer")

    def by_layers(self) -> None:
        """Those whose names stand for one layer."""
        old, new = self._old, self._new
        ours = [i for i in range(len(old)) if i not in self.found and not quantizes(old[i])]
        theirs = [j for j in range(len(new)) if j not in self._taken and not quantizes(new[j])]
        counts = Counter(new[j].name for j in theirs)
        theirs = [j for j in theirs if counts[new[j].name] == 1]
        same = same_layers([[old[i].name] for i in ours], [new[j].name for j in theirs])
        for j, place in zip(theirs, same, strict=True):
            if place is not None and alike(old[ours[place]], new[j]):
                self._put(ours[place], j, "layer")

    def by_structure(self) -> None:
        """Neighbors of known pairs, as far as there is only one of a family on each side."""
        old, new, found, taken = self._old, self._new, self.found, self._taken
        added = {j for j, node in enumerate(new) if j not in taken and quantizes(node)}
        ours, theirs = Links(old), Links(new, added)
        waiting = [(i, j) for i, (j, _) in found.items()]
        while waiting:
            i, j = waiting.pop()
            for near, far in (
                (ours.readers(i), theirs.readers(j)),
                ([s for s in ours.sources(i) if s is not None], [s for s in theirs.sources(j) if s is not None]),
            ):
                free = [n for n in dict.fromkeys(near) if n not in found]
                left = [n for n in dict.fromkeys(far) if n not in taken]
                for n in free:
                    fitting = [m for m in left if family(old[n].operator) == family(new[m].operator)]
                    alone = sum(family(old[k].operator) == family(old[n].operator) for k in free) == 1
                    if len(fitting) == 1 and alone and fitting[0] not in taken:
                        self._put(n, fitting[0], "structure")
                        waiting.append((n, fitting[0]))

    def by_order(self) -> None:
        """Stretches between known pairs, where families come in the same order."""
        old, new = self._old, self._new
        begin, start = 0, 0
        for i, j in [*((i, self.found[i][0]) for i in sorted(self.found)), (len(old), len(new))]:
            if j < start:  # pairs that cross: the graph was put in another order
                continue
            ours = [k for k in range(begin, i) if k not in self.found and not quantizes(old[k])]
            theirs = [k for k in range(start, j) if k not in self._taken and not quantizes(new[k])]
            if ours and theirs and len(ours) + len(theirs) <= _LONGEST:
                words, others = (
                    [family(side[k].operator) for k in some] for side, some in ((old, ours), (new, theirs))
                )
                for a, b, size in SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks():
                    for step in range(size):
                        self._put(ours[a + step], theirs[b + step], "order")
            begin, start = i + 1, j + 1

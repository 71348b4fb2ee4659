"""The weights of two files side by side: zeros, spread and histograms, matched as far as names and shapes allow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deploykit.core.layers.names import same_layers, traced_twice
from deploykit.core.serial import Plain
from deploykit.loading._contract import FORMATS, Weight
from deploykit.sandbox.task import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bars of a histogram, an odd number: the middle one is around zero.
BINS = 41
#: Tensors that are compared: those with the most values; the others are counted.
_MOST = 200
#: What converters and quantizers put around names.
_DECORATION = re.compile(
    r"_(quant|quantized|weights_fused_bn|fused_bn|QuantizeLinear|DequantizeLinear)$", re.IGNORECASE
)
_SPLIT = re.compile(r"[/;:]+")

How = Literal["name", "name, other shape", "order", ""]


@dataclass(frozen=True)
class TensorFacts(Plain):
    """One weight tensor.

    Attributes:
        name: Its name in the file; text from outside.
        layer: Name of the layer or node that uses it; text from outside.
        shape: Its dimensions, in the format's order.
        stored: What the file stores, for example ``"int8"``.
        scaled: Whether quantized values could be turned into real numbers; else numbers are the whole ones stored.
        count: How many values.
        zeros: Share of values that are exactly zero; after quantization also those that were rounded to it.
        deviation: Standard deviation.
        low: Smallest value.
        high: Largest value.
        histogram: How many values each of the bars has; the bars share ``LayerWeights.edges``. Empty for whole numbers
            beside real ones, which have no bars in common.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    stored: str
    scaled: bool
    count: int
    zeros: float
    deviation: float
    low: float
    high: float
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class LayerWeights(Plain):
    """A weight tensor before and after.

    Attributes:
        layer: Name for people; text from outside.
        before: The tensor before; None when it could not be matched, or is new.
        after: The tensor after; None when it could not be matched, or is gone.
        matched: How both were found to be the same: ``"name"``; ``"name, other shape"`` (channels were removed);
            ``"order"``: the only ones, or as many ones, of their shape; "" when they were not.
        edges: Ends of the histograms' bars, in units of the weights, equally wide and the same on both sides.
    """

    layer: str
    before: TensorFacts | None
    after: TensorFacts | None
    matched: How
    edges: tuple[float, float]


def compare_weights(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: the weights of two files.

    Args:
        arguments: ``before`` and ``after``, each with ``path`` and ``format``.
        report: Called with the progress in tensors.

    Returns:
        ``rows``: plain `LayerWeights` in the order of the layers; ``left_out``: how many smaller tensors are not
        among them.
    """
    sides = [_listed(arguments[side]["path"], arguments[side]["format"]) for side in ("before", "after")]
    pairs = match(*sides)
    size = [max((sides[s][i].size for s, i in enumerate(p[:2]) if i is not None), default=0) for p in pairs]
    chosen = sorted(sorted(range(len(pairs)), key=lambda k: -size[k])[:_MOST])
    rows = []
    for done, k in enumerate(chosen):
        old, new, how = pairs[k]
        row = _facts(None if old is None else sides[0][old], None if new is None else sides[1][new], how)
        rows.append(row.to_json())
        report(done + 1, len(chosen), "tensors")
    return {"rows": rows, "left_out": len(pairs) - len(chosen)}


@dataclass(frozen=True)
class _Loaded:
    """A weight with its values in memory: some readers close their file behind them."""

    weight: Weight
    values: NDArray[Any]

    @property
    def size(self) -> int:
        return int(self.values.size)


def _listed(path: str, format_name: str) -> list[_Loaded]:
    return [_Loaded(w, w.load()) for w in FORMATS.get(format_name).weights(Path(path))]


def match(before: Sequence[_Loaded], after: Sequence[_Loaded]) -> list[tuple[int | None, int | None, How]]:
    """Pairs of places, those of ``before`` in order, then what is new.

    Equal names come first, of layers or of tensors; then a layer's name as a part of the other's, as converters
    prefix and join names; then as many tensors of one shape on both sides, in their order.
    """
    old, new = [x.weight for x in before], [x.weight for x in after]
    pairs: dict[int, tuple[int, How]] = {}
    taken: set[int] = set()

    def pair(i: int, j: int, how: How) -> None:
        pairs[i] = (j, how)
        taken.add(j)

    renamed = _renamed(old, new)
    for i, j in renamed.items():
        pair(i, j, _how(old[i], new[j]))
    for words in (_layer_and_rank, _tensor, *([] if renamed else [_last_part])):
        ours = Counter(words(w) for i, w in enumerate(old) if i not in pairs)
        theirs = Counter(words(w) for j, w in enumerate(new) if j not in taken)
        places = {words(w): j for j, w in enumerate(new) if j not in taken}
        for i, w in enumerate(old):
            key = words(w)
            if i not in pairs and key and ours[key] == theirs.get(key, 0) == 1:
                pair(i, places[key], _how(w, new[places[key]]))
    for i, w in enumerate(old):
        if i in pairs or not (name := _last_part(w)):
            continue
        found = [j for j, v in enumerate(new) if j not in taken and _within(name, w, v)]
        if len(found) == 1 and sum(_last_part(v) == name for k, v in enumerate(old) if k not in pairs) == 1:
            pair(i, found[0], _how(w, new[found[0]]))
    for dims in dict.fromkeys(_dims(w) for i, w in enumerate(old) if i not in pairs):
        ours_left = [i for i, w in enumerate(old) if i not in pairs and _dims(w) == dims]
        theirs_left = [j for j, w in enumerate(new) if j not in taken and _dims(w) == dims]
        if len(ours_left) == len(theirs_left):
            for i, j in zip(ours_left, theirs_left, strict=True):
                pair(i, j, "order")
    none: How = ""
    known: list[tuple[int | None, int | None, How]] = [(i, *pairs.get(i, (None, none))) for i in range(len(old))]
    return [*known, *((None, j, none) for j in range(len(new)) if j not in taken)]


def _renamed(old: Sequence[Weight], new: Sequence[Weight]) -> dict[int, int]:
    """Pairs of places where tracing has put numbers behind all names; none when names are those they were.

    Only all names together decide: ``dense_1`` is also another layer's own name.
    """
    ours, theirs = (_by_layer(side) for side in (old, new))
    known, names = [[layer] for layer in ours], list(theirs)
    if not traced_twice(known, names):
        return {}
    found = {}
    for name, place in zip(names, same_layers(known, names), strict=True):
        same = ours[known[place][0]] if place is not None else []
        for i in same:
            alike = [j for j in theirs[name] if len(_dims(new[j])) == len(_dims(old[i]))]
            if len(alike) == 1 == sum(len(_dims(old[k])) == len(_dims(old[i])) for k in same):
                found[i] = alike[0]
    return found


def _by_layer(side: Sequence[Weight]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, weight in enumerate(side):
        found.setdefault(_plain(weight.layer), []).append(place)
    return found


def _how(old: Weight, new: Weight) -> How:
    return "name" if _dims(old) == _dims(new) else "name, other shape"


def _dims(weight: Weight) -> tuple[int, ...]:
    """Dimensions without order: formats differ in it, and in dimensions of one."""
    return tuple(sorted(d for d in weight.shape if d != 1))


def _layer_and_rank(weight: Weight) -> str:
    return f"{_plain(weight.layer)} {len(_dims(weight))}"


def _tensor(weight: Weight) -> str:
    return _plain(weight.name)


def _last_part(weight: Weight) -> str:
    """The layer's own name: operators of other formats have it among the parts of theirs."""
    parts = [p for p in _plain(weight.layer).split("/") if p not in _OPERATORS]
    return parts[-1] if parts else ""


_OPERATORS = {"biasadd", "gemm", "kernel", "matmul", "relu", "relu6", "softmax"}


def _within(name: str, old: Weight, new: Weight) -> bool:
    """Whether a layer's name is a part of another's; a model that was traced twice has ``_1`` behind its names."""
    parts = {_plain(p) for p in _SPLIT.split(f"{new.layer}/{new.name}") if p}
    if name in parts:
        return len(_dims(old)) == len(_dims(new))
    return f"{name}_1" in parts and _dims(old) == _dims(new)


def _plain(name: str) -> str:
    shorter = _DECORATION.sub("", name.partition(":")[0] if ";" not in name else name)
    while shorter != name:
        name, shorter = shorter, _DECORATION.sub("", shorter)
    return name.lower()


def _facts(before: _Loaded | None, after: _Loaded | None, how: How) -> LayerWeights:
    import numpy as np

    sides = [x for x in (before, after) if x is not None]
    drawn = [x for x in sides if x.weight.scaled] or sides
    reach = max(float(abs(x.values[np.isfinite(x.values)]).max(initial=0.0)) for x in drawn) or 1.0
    edges = np.linspace(-reach, reach, BINS + 1)
    return LayerWeights(
        sides[0].weight.layer,
        _one(before, edges if any(before is x for x in drawn) else None) if before else None,
        _one(after, edges if any(after is x for x in drawn) else None) if after else None,
        how,
        (-reach, reach),
    )


def _one(loaded: _Loaded, edges: NDArray[Any] | None) -> TensorFacts:
    import numpy as np

    values, weight = loaded.values, loaded.weight
    finite = values[np.isfinite(values)]
    counts = [] if edges is None else np.histogram(finite, edges)[0].tolist()
    some = finite if finite.size else np.zeros(1, np.float32)
    return TensorFacts(
        weight.name, weight.layer, weight.shape, weight.stored, weight.scaled, int(values.size),
        float((values == 0).mean()) if values.size else 0.0, float(some.std(dtype=np.float64)), float(some.min()),
        float(some.max()), tuple(counts),
    )  # fmt: skip

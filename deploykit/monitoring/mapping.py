"""From measured numbers to features in [0, 1], and to a distance from the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.monitoring.answers import MOST_ANSWERS, class_numbers, undecided
from deploykit.monitoring.head import MOST_PAIRS, Head, Sketch, has_scale
from deploykit.monitoring.readings import Read, ranks
from deploykit.monitoring.stable import bell, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Beyond so many times the reference's middle half a number is as far as any.
_FAR = 1e4


@dataclass(frozen=True)
class Measured:
    """Numbers of some requests before they are ranked.

    Attributes:
        inputs: For each input, shape (requests, numbers).
        output: The scored output.
        chances: Probabilities, shape (requests, positions, classes); None where there are none.
        projected: The embedding's projections, shape (requests, features); None without.
        textures: For each input that is a tensor, shape (requests, 2); None for others.
    """

    inputs: Sequence[NDArray[Any]]
    output: NDArray[Any] | None
    chances: NDArray[Any] | None
    projected: NDArray[Any] | None
    textures: Sequence[NDArray[Any] | None]


def kept(sketch: Sketch) -> NDArray[Any]:
    """Which numbers of the embedding are used: evenly spaced ones."""
    import numpy as np

    return np.arange(sketch.kept) * sketch.width // max(sketch.kept, 1)


def projections(sketch: Sketch, scales: NDArray[Any]) -> NDArray[Any]:
    """Random directions for numbers whose deviations are stored as powers, shape (numbers used, features), float32."""
    import numpy as np

    deviations = sketch.scale * 2.0 ** ((scales.astype(np.float64) - 128) / 8)
    drawn = bell(sketch.seed, sketch.kept, sketch.features)
    return (drawn / (deviations[:, None] * sketch.bandwidth)).astype(np.float32)


def phases(sketch: Sketch) -> NDArray[Any]:
    """Of the random Fourier features, shape (features,), float32."""
    import numpy as np

    return (2 * np.pi * uniform(sketch.seed ^ 0xB5, sketch.features)).astype(np.float32)


def mapped(head: Head, arrays: Mapping[str, NDArray[Any]], turns: NDArray[Any], raw: Measured) -> NDArray[Any]:
    """Features, shape (requests, K), float32, in the order of `deploykit.monitoring.head.features_of`.

    Args:
        head: What is watched.
        arrays: The profile's.
        turns: `phases`.
        raw: What was measured.
    """
    import numpy as np

    groups: list[NDArray[Any]] = []
    knots, at, listed = arrays["knots"], 0, 0
    for read, values in zip(head.inputs, raw.inputs, strict=True):
        groups += _both(ranks(values, knots[at : at + values.shape[1]]), scale=has_scale(read))
        at += values.shape[1]
        if read.columns:
            groups.append(np.isnan(values))
        if any(read.categories):
            places = [place for place, count in enumerate(read.categories) if count]
            groups.append(_unseen(values[:, places], arrays["categories"][listed : listed + len(places)]))
            listed += len(places)
    answered = head.answered
    if raw.chances is not None:
        best = raw.chances.max(axis=2)
        sure = np.stack([best.mean(axis=1), undecided(raw.chances)], axis=1)
        groups += _both(ranks(sure, knots[at : at + 2]))
        if answered.kind == "several":
            groups.append(_present(answered.group_of, answered.groups, raw.chances > answered.threshold))
        else:
            groups.append(_counted(answered.group_of[raw.chances.argmax(axis=2)], answered.groups))
    elif raw.output is not None and answered.kind == "classes":
        groups.append(_counted(class_numbers(answered, raw.output), answered.groups))
    elif raw.output is not None:
        values = raw.output.reshape(len(raw.output), -1)[:, :MOST_ANSWERS].astype(np.float32)
        groups += _both(ranks(values, knots[at : at + values.shape[1]]))
    if raw.projected is not None:
        groups.append((1 + np.cos(raw.projected + turns)) * np.float32(0.5))
    # A number that is missing says nothing, and must not end up in sums that are kept.
    found = np.concatenate(groups, axis=1, dtype=np.float32)
    return found if np.isfinite(found.sum()) else np.nan_to_num(found, copy=False, nan=0.5)


def _both(ranked: NDArray[Any], *, scale: bool = True) -> list[NDArray[Any]]:
    return [ranked, 4 * (ranked - 0.5) ** 2] if scale else [ranked]


def _unseen(values: NDArray[Any], known: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    found: NDArray[Any] = ~((values[:, :, None] == known).any(axis=2) | np.isnan(values))
    return found


def _counted(groups: NDArray[Any], count: int) -> NDArray[Any]:
    """Share of the positions in each group, shape (requests, count)."""
    import numpy as np

    found = np.zeros((len(groups), count), np.float32)
    if groups.shape[1] == 1:
        found[np.arange(len(groups)), groups[:, 0]] = 1
        return found
    rows = np.repeat(np.arange(len(groups)), groups.shape[1])
    np.add.at(found, (rows, groups.ravel()), np.float32(1 / groups.shape[1]))
    return np.minimum(found, 1)


def _present(group_of: NDArray[Any], count: int, there: NDArray[Any]) -> NDArray[Any]:
    """Share of the positions that have a label of each group, shape (requests, count)."""
    import numpy as np

    found = [there[:, :, group_of == group].any(axis=2).mean(axis=1) for group in range(count)]
    return np.stack(found, axis=1).astype(np.float32)


def vector(head: Head, knots: NDArray[Any], raw: Measured) -> NDArray[Any]:
    """What the distance from the reference is taken of: some numbers for each of the first inputs, then projections.

    Shape (requests, numbers), float32.
    """
    import numpy as np

    parts, at = [], 0
    for read, values, texture in zip(head.inputs[:MOST_PAIRS], raw.inputs, raw.textures, strict=False):
        parts.append(_pair(read, values, knots[at : at + values.shape[1]]))
        if texture is not None:
            parts.append(texture)
        at += values.shape[1]
    if raw.projected is not None:
        parts.append(raw.projected)
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _pair(read: Read, values: NDArray[Any], knots: NDArray[Any]) -> NDArray[Any]:
    """Two numbers: a tensor's mean and contrast; length and unknown words; how far a table's columns are off."""
    import numpy as np

    if read.sort == "tensor":
        return values
    if read.worded:
        return np.stack([np.log1p(values[:, 0]), values[:, 1]], axis=1)
    count = knots.shape[1]
    low, middle, high = knots[:, count // 4], knots[:, count // 2], knots[:, (3 * count) // 4]
    wide = np.maximum(high - low, np.maximum((knots[:, -1] - knots[:, 0]) / 8, 1e-6 * np.abs(middle) + 1e-12))
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.clip(np.nan_to_num(np.abs(values - middle) / wide, nan=0.0, posinf=_FAR), 0, _FAR)
    found: NDArray[Any] = np.log1p(np.stack([off.mean(axis=1), off.max(axis=1)], axis=1))
    return found


def triangle(packed: NDArray[Any], size: int) -> NDArray[Any]:
    """A lower triangular matrix, shape (size, size), from its numbers row by row."""
    import numpy as np

    found = np.zeros((size, size), np.float32)
    found[np.tril_indices(size)] = packed
    return found


def p_value_table(places: Sequence[int]) -> NDArray[Any]:
    """p-values by how many of the known distances are below one; see `p_values`.

    Args:
        places: How many of all held-out examples are at least as far as each known one, descending.
    """
    import numpy as np

    # Of the examples between two known ones all count: a p-value may be too large, never too small.
    counts = np.array([places[0], *(place - 1 for place in places)])
    found: NDArray[Any] = (1 + counts) / (places[0] + 1)
    return found


def p_values(unusual: NDArray[Any], known: NDArray[Any], table: NDArray[Any]) -> NDArray[Any]:
    """Share of the reference that is at least as unusual, never 0, shape (requests,).

    Args:
        unusual: Distances.
        known: Distances of some held-out examples, ascending.
        table: `p_value_table` of them.
    """
    found: NDArray[Any] = table[known.searchsorted(unusual)]
    return found

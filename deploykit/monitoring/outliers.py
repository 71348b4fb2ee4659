"""Whether a single request is unlike all that the model was measured on, and in what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.serial import Plain
from deploykit.monitoring.profile import Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHOWN = 3


@dataclass(frozen=True)
class Outlier(Plain):
    """How unusual one request is.

    Attributes:
        p_value: Share of the reference that is at least as unusual. Of requests like the reference at most 5 % have a
            p-value up to 0.05, on average over references.
        unseen: Whether it is further off than everything in the reference.
        because: What is most unusual about its inputs, in words.
    """

    p_value: float
    unseen: bool
    because: tuple[str, ...] = ()


def score_outliers(
    profile: Profile,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
    embedding: Any = None,
) -> tuple[Outlier, ...]:
    """How unusual each of some requests is.

    The score is a squared Mahalanobis distance of the embedding's projections and two numbers of each input. It is
    compared with those of examples that have not shaped it (a conformal p-value: Vovk, Gammerman and Shafer 2005).

    Args:
        profile: Of the model.
        inputs: By name as clients send them, batch first.
        outputs: By name as clients get them.
        embedding: See `Profile.observe`.

    Raises:
        DeploykitError: See `Profile.observe`.

    Example:
        >>> import numpy as np
        >>> from deploykit.monitoring.fitting import fit
        >>> from deploykit.monitoring.outliers import score_outliers
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(0, 1, (800, 3)), rng.random((800, 2))
        >>> profile = fit({"x": x}, {"y": y}, "y", "values", model="ab" * 32)
        >>> usual, odd = score_outliers(profile, {"x": np.array([[0, 0, 0], [0, 90, 0.0]])}, {"y": y[:2]})
        >>> usual.unseen, odd.unseen, odd.because
        (False, True, ('x: column 1 is 90, in the reference from -1.84 to 2.38',))
    """
    head = profile.head
    raw = profile.measure(inputs, outputs, embedding)
    found = profile.rarity(raw)
    least = 1 / (head.held_out + 1)
    return tuple(
        Outlier(float(p), bool(p <= least * (1 + 1e-9)), _because(profile, raw.inputs, place) if p <= 0.05 else ())
        for place, p in enumerate(found)
    )


def _because(profile: Profile, measured: Any, place: int) -> tuple[str, ...]:
    """Numbers of its inputs that are outside of the reference's range, farthest first."""
    import numpy as np

    said, at = [], 0
    knots = profile.arrays["knots"]
    names = [f for f in profile.features if f.part == "input"]
    by_input: dict[str, list[str]] = {}
    for feature in names:
        by_input.setdefault(feature.about, []).append(feature.name)
    for read, values in zip(profile.head.inputs, measured, strict=True):
        own = knots[at : at + values.shape[1]]
        at += values.shape[1]
        low, high, row = own[:, 0], own[:, -1], values[place]
        wide = np.maximum(high - low, 1e-12)
        with np.errstate(invalid="ignore"):
            off = np.nan_to_num(np.maximum(low - row, row - high) / wide, nan=0.0)
        for number in np.flatnonzero(off > 0):
            name = by_input[read.name][number]
            said.append(
                (
                    float(off[number]),
                    f"{name} is {row[number]:.3g}, in the reference from {low[number]:.3g} to {high[number]:.3g}",
                )
            )
    return tuple(text for _, text in sorted(said, reverse=True)[:_SHOWN])

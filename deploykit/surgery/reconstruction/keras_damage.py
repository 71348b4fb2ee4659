"""What the layers of a Keras model lose without some of what they read."""

from __future__ import annotations

from deploykit.surgery.channels import labels
from deploykit.surgery.channels.keras_axes import Traced
from deploykit.surgery.channels.labels import Ranking
from deploykit.surgery.reconstruction import damage
from deploykit.surgery.reconstruction.keras_linear import linear
from deploykit.surgery.reconstruction.keras_walk import Walk
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.walk import Examples


def orders(traced: Traced, examples: Examples) -> list[Ranking]:
    """Every group with its components in the order in which they are missed least.

    Groups that no product reads, as the heads of an attention, go by the l2 norm of their weights.

    Args:
        traced: The model.
        examples: Calibration inputs.
    """
    norms = labels.magnitudes(traced.labels, traced.made, traced.constants, 2)
    return damage.orders(traced, _readers(traced), Walk(traced.flat, examples), examples.seed, norms)


def means(traced: Traced, examples: Examples) -> dict[int, float]:
    """The mean of |activation| of each component where layers read it; see `damage.means`.

    Groups that no product reads, as the heads of an attention, have the l2 norm of their weights instead.
    """
    found = damage.means(traced, _readers(traced), Walk(traced.flat, examples))
    norms = labels.magnitudes(traced.labels, traced.made, traced.constants, 2)
    unread = [group for group in traced.groups() if found.keys().isdisjoint(group.components)]
    return found | {c: norms[c] for group in unread for c in group.components}


def _readers(traced: Traced) -> dict[int, Linear]:
    found = {number: linear(step) for number, step in enumerate(traced.flat.steps)}
    return {number: layer for number, layer in found.items() if layer is not None and not layer.is_depthwise}

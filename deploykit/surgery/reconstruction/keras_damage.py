"""What the layers of a Keras model lose without some of what they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery.channels import labels
from deploykit.surgery.channels.keras_axes import Traced
from deploykit.surgery.channels.keras_graph import Flat
from deploykit.surgery.channels.labels import Ranking
from deploykit.surgery.reconstruction import damage, taylor
from deploykit.surgery.reconstruction.keras_linear import layers
from deploykit.surgery.reconstruction.keras_walk import Walk
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.taylor import Compared
from deploykit.surgery.reconstruction.walk import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray


def orders(traced: Traced, examples: Examples) -> list[Ranking]:
    """Every group with its components in the order in which they are missed least.

    Groups that no product reads go by the l2 norm of their weights.

    Args:
        traced: The model.
        examples: Calibration inputs.
    """
    norms = labels.magnitudes(traced.labels, traced.made, traced.constants, 2)
    return damage.orders(traced, _readers(traced), Walk(traced.flat, examples), examples.seed, norms)


def means(traced: Traced, examples: Examples) -> dict[int, float]:
    """The mean of |activation| of each component where layers read it; see `damage.means`.

    Groups that no product reads have the l2 norm of their weights instead.
    """
    norms = labels.magnitudes(traced.labels, traced.made, traced.constants, 2)
    return damage.means(traced, _readers(traced), Walk(traced.flat, examples), norms)


def gradients(traced: Traced, examples: Examples, goal: Compared) -> dict[int, float]:
    """What a loss changes by without each component, to first order; see `deploykit.surgery.reconstruction.taylor`.

    Groups that no product reads have the l2 norm of their weights instead.

    Args:
        traced: The model.
        examples: Calibration inputs.
        goal: The loss.
    """

    def answer(feeds: Mapping[str, Any], gates: Mapping[str, Any]) -> list[Any]:
        keras = require("keras", "tensorflow")
        values = dict(feeds)
        for step in traced.flat.steps:
            for name, value in step.run(values).items():
                values[name] = value * keras.ops.cast(gates[name], value.dtype) if name in gates else value
        return [values[name] for name in traced.flat.outputs]

    norms = labels.magnitudes(traced.labels, traced.made, traced.constants, 2)
    return taylor.scores(traced, taylor.gates(traced, _readers(traced)), examples, answer, goal, norms)


def _readers(traced: Traced) -> dict[int, Linear]:
    return {number: layer for number, layer in layers(traced.flat).items() if not layer.is_depthwise}


def input_norms(flat: Flat, examples: Examples) -> dict[tuple[str, str], NDArray[Any]]:
    """‖x‖₂ of each input of every convolution and product over the examples, by the name and part of its step.

    Of a layer that is called several times, all calls count. See `damage.input_norms`.

    Args:
        flat: A model as steps.
        examples: Calibration inputs.

    Returns:
        Arrays of shape (groups, inputs of one output).
    """
    import numpy as np

    known = layers(flat)
    found: dict[tuple[str, str], NDArray[Any]] = {}
    for number, norms in damage.input_norms(known, Walk(flat, examples), examples.seed).items():
        step = known[number].node
        found[step.name, step.part] = np.hypot(found.get((step.name, step.part), 0.0), norms)
    return found

"""Correcting the biases of a Keras model whose weights have been rounded; see `deploykit.surgery.correction.biases`."""

from __future__ import annotations

from typing import Any

from deploykit.surgery.channels.keras_graph import Flat, Step
from deploykit.surgery.correction.biases import Corrected, along, error, share
from deploykit.surgery.reconstruction.keras_linear import bias_of, linear, projection
from deploykit.surgery.reconstruction.keras_walk import Walk
from deploykit.surgery.reconstruction.walk import BUDGET, Examples, begin_together, take_in_together


def correct(reference: Flat, model: Flat, examples: Examples) -> Corrected:
    """Add the mean error of each layer's outputs to its bias; the model is changed in place.

    Where a normalization is right behind a layer, what that gives is compared, and its shift takes the error.

    Args:
        reference: The original, whose steps have the same names in the same order.
        model: The model whose weights were changed.
        examples: Calibration inputs.
    """
    found, budget = Corrected(), BUDGET // 2
    olds = {step.output[0]: step for step in reference.steps}
    first, second = (Walk(flat, examples, budget=budget) for flat in (reference, model))
    begin_together(first, second)
    places = _places(model, found)
    pairs = {step.output[0] for step in model.steps}
    if [name for name in olds if name in pairs] != [step.output[0] for step in model.steps]:
        found.stay |= dict.fromkeys(places, "the original does not have the same layers in the same order")
        return found
    news = iter(model.steps)
    for number, old in enumerate(reference.steps):
        if old.output[0] not in pairs:  # a layer that was left out
            first.step()
            first.forget()
            continue
        new = next(news)
        take_in_together(first, second)
        first.step()
        second.step()
        if new.output[0] in places:
            label, variable, axis = places[new.output[0]]
            wanted, now = first.values[old.output[0]], second.values[new.output[0]]
            mean = error(wanted, now, axis)
            if mean is None or mean.shape != tuple(variable.shape):
                found.stay[label] = "what it gives has another shape in the original"
            else:
                variable.assign(variable + mean)
                second.values[new.output[0]] = (now + along(mean, axis, now.ndim)).astype(now.dtype)
                found.shifts[label] = share(mean, wanted)
        first.forget()
        second.forget()
        examples.report(number + 1, len(reference.steps), "correcting biases")
    return found


def _places(model: Flat, found: Corrected) -> dict[str, tuple[str, Any, int]]:
    """Where errors can be added: tensor that is compared → layer, variable, axis of channels."""
    readers: dict[str, list[Step]] = {}
    for step in model.steps:
        for name in step.input:
            readers.setdefault(name, []).append(step)
    calls, places = model.calls(), dict[str, tuple[str, Any, int]]()
    for step in model.steps:
        layer = linear(step) or projection(step)
        if layer is None:
            continue
        behind = readers.get(step.output[0], [])
        norm = behind[0] if len(behind) == 1 and behind[0].kind == "BatchNormalization" else None
        own = None if step.part == "depthwise" else bias_of(step)
        if calls[step.name] > 1 or (norm is not None and calls[norm.name] > 1):
            found.stay[step.name] = "it is called several times"
        elif norm is not None and norm.op.center:
            places[norm.output[0]] = (step.name, norm.op.beta, norm.op.axis)
        elif own is not None:
            places[step.output[0]] = (step.name, own, layer.channels)
        else:
            found.stay[step.name] = "it has no bias"
    return places

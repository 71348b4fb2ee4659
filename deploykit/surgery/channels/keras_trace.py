"""Labeling the channels of a Keras model, step by step; see `deploykit.surgery.channels.labels`."""

from __future__ import annotations

from typing import Any

from deploykit.surgery.channels.keras_axes import Traced
from deploykit.surgery.channels.keras_graph import Step
from deploykit.surgery.channels.keras_rules import RULES


def trace(model: Any) -> Traced:
    """A functional or Sequential Keras model with labels on every axis."""
    traced = Traced(model)
    for step in traced.flat.steps:
        _visit(traced, step)
    for name in traced.flat.outputs:
        for axis in traced.axes[name]:
            traced.labels.freeze(axis)
    for names in traced.flat.fed.values():  # an input layer of a nested model states one shape for all of its calls
        for name in names[1:]:
            for first, other in zip(traced.axes[names[0]], traced.axes[name], strict=True):
                if first is not None or other is not None:
                    traced.labels.join(first, other)
    return traced


def _visit(traced: Traced, step: Step) -> None:
    """Label what a step writes; masks of padded steps have no channels."""
    for name in step.output:
        traced.axes[name] = traced.still(name)
    rule = RULES.get(step.kind)
    axes = None if rule is None else rule(traced, step)
    shape = traced.shapes[step.output[0]]
    if axes is None or len(axes) != len(shape) or any(
        size is not None and axis is not None and len(axis) != size for size, axis in zip(shape, axes, strict=True)
    ):  # fmt: skip
        traced.freeze(step)  # a layer without a rule, or used in a way its rule does not know
        return
    traced.axes[step.output[0]] = axes

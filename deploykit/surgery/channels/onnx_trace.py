"""Labeling the channels of an ONNX graph, node by node; see `deploykit.surgery.channels.labels`."""

from __future__ import annotations

from typing import Any

from deploykit.loading._onnx.parts import STANDARD
from deploykit.surgery.channels.onnx_axes import Traced
from deploykit.surgery.channels.onnx_rules import RULES


def trace(model: Any) -> Traced:
    """The graph of a ``ModelProto`` with labels on every axis."""
    traced = Traced(model)
    for node in traced.model.graph.node:
        _visit(traced, node)
    for value in traced.model.graph.output:
        for axis in traced.axes.get(value.name, []):
            traced.labels.freeze(axis)
    return traced


def _visit(traced: Traced, node: Any) -> None:
    rule = RULES.get(node.op_type) if node.domain in STANDARD else None
    if rule is None or any(name and name not in traced.axes for name in node.input):
        traced.freeze(node)
        return
    rule(traced, node)
    for name in node.output:
        shape, axes = traced.shapes.get(name), traced.axes.get(name)
        if not name or shape is None:
            continue
        if axes is None or len(axes) != len(shape) or any(
            size is not None and axis is not None and len(axis) != size for size, axis in zip(shape, axes, strict=True)
        ):  # fmt: skip
            traced.freeze(node)  # an operator that is used in a way its rule does not know
            return

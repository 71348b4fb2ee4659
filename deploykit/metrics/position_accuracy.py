"""Accuracy of one class a position."""

from __future__ import annotations

from deploykit.metrics._positions import Positions


class PositionAccuracy(Positions):
    """Share of positions (pixels of a mask, tokens) whose class is the label."""

    name = "position_accuracy"
    label = "position accuracy"
    why = "each position has one class"
    help = "Share of positions (pixels of a mask, tokens) whose highest score is the label."
    priority = 3


ADAPTER = PositionAccuracy()

"""Agreement with the original model at each position, for data without labels."""

from __future__ import annotations

from deploykit.metrics._positions import Positions


class PositionAgreement(Positions):
    """Share of positions with the same answer as the original model's."""

    name = "position_agreement"
    label = "position agreement"
    why = "there are no labels, and answers can be compared with the original's"
    help = "Share of positions (pixels, tokens) with the same answer as the original model; needs no labels."
    truth = "original"
    priority = 1


ADAPTER = PositionAgreement()

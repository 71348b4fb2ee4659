"""Dice coefficient of masks."""

from __future__ import annotations

from deploykit.metrics._masks import Overlap


class Dice(Overlap):
    """Twice the intersection by both sizes of each class over all examples, averaged over the classes that occur."""

    name = "dice"
    label = "Dice"
    figure = "Dice"
    help = "Dice coefficient (F1) of each class's positions in all examples, averaged over the classes that occur."
    reference = "sklearn.metrics.f1_score (macro over all positions)"


ADAPTER = Dice()

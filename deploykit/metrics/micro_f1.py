"""F1 of all classes or labels together."""

from __future__ import annotations

from deploykit.metrics._f1 import ManyF1


class MicroF1(ManyF1):
    """F1 of the hits, answers and labels of all classes, or labels, together: frequent ones count most."""

    name = "micro_f1"
    label = "micro F1"
    help = "F1 of all labels' hits together (of classes: accuracy); micro_f1:0.3 sets the threshold of labels."
    reference = "sklearn.metrics.f1_score (micro)"
    micro = True


ADAPTER = MicroF1()

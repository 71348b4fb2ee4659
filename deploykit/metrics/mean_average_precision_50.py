"""Mean average precision at IoU .50."""

from __future__ import annotations

from deploykit.metrics._boxes import AveragePrecision


class MeanAveragePrecision50(AveragePrecision):
    """Precision of boxes averaged over recall and classes, at an IoU of .50."""

    name = "mean_average_precision_50"
    label = "mean average precision at IoU .50"
    help = "Precision of boxes averaged over recall and classes, at an IoU of .50."
    priority = 0
    thresholds = 1
    beside = True
    truth = "labels"


ADAPTER = MeanAveragePrecision50()

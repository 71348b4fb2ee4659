"""Mean average precision (mAP)."""

from __future__ import annotations

from deploykit.metrics._boxes import AveragePrecision


class MeanAveragePrecision(AveragePrecision):
    """Precision of boxes averaged over recall, IoU .50 to .95 and classes, as COCO has it."""

    name = "mean_average_precision"
    label = "mean average precision (mAP)"
    help = "Precision of boxes averaged over recall, IoU .50 to .95 and classes, as COCO has it."
    priority = 3
    why = "the labels are boxes"
    thresholds = 10
    truth = "labels"


ADAPTER = MeanAveragePrecision()

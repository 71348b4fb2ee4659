"""Box agreement."""

from __future__ import annotations

from deploykit.metrics._boxes import AveragePrecision


class BoxAgreement(AveragePrecision):
    """Mean average precision against the original model's detections with a score of 0.3 or more; needs no labels."""

    name = "box_agreement"
    label = "box agreement"
    help = (
        "Mean average precision against the original model's detections with a score of 0.3 or more; needs no labels."
    )
    priority = 2
    why = "there are no labels, and boxes can be compared with the original's"
    thresholds = 10
    truth = "original"


ADAPTER = BoxAgreement()

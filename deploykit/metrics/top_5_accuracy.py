"""Top-5 accuracy."""

from __future__ import annotations

from deploykit.metrics._top_k import TopK


class Top5Accuracy(TopK):
    """Share of examples whose label is among the five highest scores."""

    name = "top_5_accuracy"
    label = "top-5 accuracy"
    help = "Share of examples whose label is among the five highest scores."
    k = 5


ADAPTER = Top5Accuracy()

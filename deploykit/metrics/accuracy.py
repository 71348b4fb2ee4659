"""Top-1 accuracy."""

from __future__ import annotations

from deploykit.metrics._top_k import TopK


class Accuracy(TopK):
    """Share of examples whose highest score is the label."""

    name = "accuracy"
    label = "accuracy"
    why = "each example has one class"
    help = "Share of examples whose highest score is the label (top-1)."
    priority = 3
    k = 1


ADAPTER = Accuracy()

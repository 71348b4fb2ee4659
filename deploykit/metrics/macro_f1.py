"""F1 as the mean over classes or labels."""

from __future__ import annotations

from deploykit.metrics._f1 import ManyF1


class MacroF1(ManyF1):
    """The mean of each class's, or label's, F1: rare ones count as much as frequent ones."""

    name = "macro_f1"
    label = "macro F1"
    help = "Mean of each class's or label's F1, absent ones left out; macro_f1:0.3 sets the threshold of labels."
    reference = "sklearn.metrics.f1_score (macro, zero_division=nan)"


ADAPTER = MacroF1()

"""ROUGE-2."""

from __future__ import annotations

from deploykit.metrics._rouge import RougeRuns


class Rouge2(RougeRuns):
    """F1 of the pairs of words that a text and its label have in common, averaged over examples."""

    name = "rouge_2"
    label = "ROUGE-2"
    help = "F1 of the pairs of words that a text has in common with its label; mean over examples."
    reference = "rouge_score, rouge2 F-measure"
    size = 2


ADAPTER = Rouge2()

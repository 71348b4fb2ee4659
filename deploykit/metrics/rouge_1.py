"""ROUGE-1."""

from __future__ import annotations

from deploykit.metrics._rouge import RougeRuns


class Rouge1(RougeRuns):
    """F1 of the words that a text and its label have in common, averaged over examples."""

    name = "rouge_1"
    label = "ROUGE-1"
    help = "F1 of the words that a text has in common with its label; mean over examples."
    reference = "rouge_score, rouge1 F-measure"
    size = 1


ADAPTER = Rouge1()

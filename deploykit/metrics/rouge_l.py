"""ROUGE-L."""

from __future__ import annotations

from deploykit.metrics import _texts
from deploykit.metrics._rouge import Rouge


class RougeL(Rouge):
    """F1 of the longest sequence of words that a text and its label have in common, averaged over examples."""

    name = "rouge_l"
    label = "ROUGE-L"
    help = "F1 of the longest sequence of words that a text has in common with its label; mean over examples."
    reference = "rouge_score, rougeL F-measure"
    beside = True

    def _shared(self, found: list[str], wanted: list[str]) -> tuple[int, int, int]:
        return _texts.common(found, wanted), len(found), len(wanted)


ADAPTER = RougeL()

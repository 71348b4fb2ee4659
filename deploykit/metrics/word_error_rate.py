"""Word error rate."""

from __future__ import annotations

from collections.abc import Sequence

from deploykit.metrics._errors import ErrorRate


class WordErrorRate(ErrorRate):
    """Word errors by words of the labels; capitals and punctuation count, runs of blanks do not."""

    name = "word_error_rate"
    label = "word error rate"
    help = "Substituted, inserted and missing words by all words of the labels; max_drop is relative."
    reference = "jiwer.wer"
    priority = 2
    why = "texts with labels are judged by their words"

    def _tokens(self, text: str) -> Sequence[str]:
        return text.split()


ADAPTER = WordErrorRate()

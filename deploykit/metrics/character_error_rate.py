"""Character error rate."""

from __future__ import annotations

from collections.abc import Sequence

from deploykit.metrics._errors import ErrorRate


class CharacterErrorRate(ErrorRate):
    """Character errors by characters of the labels, blanks between words included."""

    name = "character_error_rate"
    label = "character error rate"
    help = "Substituted, inserted and missing characters by all characters of the labels; max_drop is relative."
    reference = "jiwer.cer"

    def _tokens(self, text: str) -> Sequence[str]:
        return text.strip()


ADAPTER = CharacterErrorRate()

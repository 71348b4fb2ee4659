"""Texts as metrics take them: one for each example."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The rules of mteval's version 13a for Western languages, as sacreBLEU has them, in their order.
_13A = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def unsuitable(outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
    """Why there is not one text for each example, and one that is right; "" when there is."""
    if truth is None:
        return "needs labels"
    if outputs.dtype.kind not in "UO" or outputs.ndim != 1:
        return f"needs one text for each example; the model returns {outputs.dtype} of shape {outputs.shape[1:]}"
    if truth.dtype.kind not in "UO" or truth.shape != outputs.shape:
        return "needs one text for each example as its label"
    empty = sum(not str(t).strip() for t in truth.tolist())
    return f"is undefined: all {len(truth)} labels are empty texts" if empty == len(truth) else ""


def words_13a(text: str) -> list[str]:
    """Words and punctuation as translations are compared by."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for code, character in _ENTITIES if "&" in text else ():
        text = text.replace(code, character)
    text = f" {text} "
    for pattern, replacement in _13A:
        text = pattern.sub(replacement, text)
    return text.split()


def words_of_rouge(text: str) -> list[str]:
    """Runs of Latin letters and digits in lower case: all that Lin's ROUGE knows."""
    return re.findall(r"[a-z0-9]+", text.lower())


def ngrams(tokens: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    """How often each run of so many tokens occurs."""
    return Counter(tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1))


def edits(found: Sequence[Any], wanted: Sequence[Any]) -> int:
    """Fewest substitutions, insertions and deletions that make one of the other (Levenshtein, 1966)."""
    import numpy as np

    places: dict[Any, int] = {}
    one, other = (np.array([places.setdefault(t, len(places)) for t in side], np.int64) for side in (found, wanted))
    steps = np.arange(len(other) + 1)
    row = steps.copy()
    for count, token in enumerate(one.tolist(), 1):
        changed = np.minimum(row[1:] + 1, row[:-1] + (other != token))
        # Insertions run along the row: the smallest of what stands before plus the distance to it.
        row = np.minimum.accumulate(np.concatenate([[count], changed]) - steps) + steps
    return int(row[-1])


def common(found: Sequence[Any], wanted: Sequence[Any]) -> int:
    """Length of the longest subsequence of both."""
    import numpy as np

    places: dict[Any, int] = {}
    one, other = (np.array([places.setdefault(t, len(places)) for t in side], np.int64) for side in (found, wanted))
    row = np.zeros(len(other) + 1, np.int64)
    for token in one.tolist():
        longer = np.where(other == token, row[:-1] + 1, row[1:])
        row = np.maximum.accumulate(np.concatenate([[0], longer]))
    return int(row[-1])

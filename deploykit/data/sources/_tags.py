"""Words with a tag each, and texts with several labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What a word without a label has.
_IGNORED = -1


def spoken(values: Sequence[Any], words: bool) -> list[str]:
    """Texts; words are joined by blanks, and what is missing is empty."""
    if words:
        return [" ".join(str(word) for word in row) if row is not None else "" for row in values]
    return ["" if value is None else str(value) for value in values]


def tagged(
    rows: Sequence[tuple[Sequence[str], Sequence[Any] | None, int]], classes: Sequence[str], where: str, first: int
) -> tuple[list[str], NDArray[Any], tuple[str, ...], list[str]]:
    """Words and a tag for each.

    Args:
        rows: Words, tags (names or numbers) and the number of the row.
        classes: Class names by index; () for the tags' own in the order of the alphabet.
        where: What a row is called in messages.
        first: Number of the first row.

    Returns:
        Texts whose words are separated by single blanks; class numbers (int64) of shape (texts, most words), -1 beyond
        the words and for those without a label; class names; sentences.

    Raises:
        DatasetError: A row has another number of tags than of words, a word holds a blank, or a tag is not a class.
    """
    import numpy as np

    texts, kept, dropped = [], [], 0
    for words, tags, number in rows:
        named = f"{where} {number + first}"
        if tags is None or len(words) != len(tags):
            raise DatasetError(
                f"{named}: {len(words)} words and {0 if tags is None else len(tags)} tags.", remedy="give one for each."
            )
        pairs = [(str(word).strip(), tag) for word, tag in zip(words, tags, strict=True)]
        if odd := next((word for word, _ in pairs if len(word.split()) > 1), ""):
            raise DatasetError(
                f"{named}: the word {odd!r} holds a blank.", remedy="split it, with a tag for each part."
            )
        full = [(word, tag) for word, tag in pairs if word]
        dropped += len(pairs) - len(full)
        texts.append(" ".join(word for word, _ in full))
        kept.append([tag for _, tag in full])
    names = tuple(classes) or _names(kept)
    index = {name: i for i, name in enumerate(names)}
    found = np.full((len(kept), max(map(len, kept), default=1)), _IGNORED, np.int64)
    for place, tags in enumerate(kept):
        found[place, : len(tags)] = [_number(tag, index, len(names), where) for tag in tags]
    notes = [f"{dropped:,} words are empty and were dropped with their tags."] if dropped else []
    return texts, found, names, notes


def multi_hot(values: Sequence[Any], classes: Sequence[str]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Several labels of each text as columns of 0 and 1 (int64), and what each column stands for."""
    import numpy as np

    lists = [list(value or ()) for value in values]
    names = (
        tuple(classes) or _names(lists) or tuple(map(str, range(1 + max((t for ts in lists for t in ts), default=0))))
    )
    index = {name: i for i, name in enumerate(names)}
    found = np.zeros((len(lists), len(names)), np.int64)
    for place, tags in enumerate(lists):
        for tag in tags:
            found[place, _number(tag, index, len(names), "a label")] = 1
    return found, names


def _names(rows: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """Names that are tags, in the order of the alphabet; none where tags are numbers."""
    found = {tag for tags in rows for tag in tags}
    return tuple(sorted(map(str, found))) if any(isinstance(tag, str) for tag in found) else ()


def _number(tag: Any, index: dict[str, int], count: int, where: str) -> int:
    if isinstance(tag, str):
        if tag not in index:
            raise DatasetError(
                f"{where}: the tag {tag!r} is not one of the classes {', '.join(index)}.", remedy="correct classes=."
            )
        return index[tag]
    number = int(tag)
    if number < 0:
        return _IGNORED
    if count and number >= count:
        raise DatasetError(
            f"{where}: the tag {number} has no name: there are {count} classes.", remedy="correct classes=."
        )
    return number

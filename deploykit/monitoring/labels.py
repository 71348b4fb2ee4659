"""Answers and labels as numbers that can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import OutputMeaning
from deploykit.core.errors import SettingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most numbers of one answer that are kept until its label comes.
_MOST_NUMBERS = 256


def answers_of(meaning: OutputMeaning, array: NDArray[Any]) -> list[Any] | None:
    """What a label can be compared with, for each example.

    Args:
        meaning: What the output means.
        array: The output, batch first.

    Returns:
        A class number or name, a list of these for each position, flags for each of several labels, or real numbers;
        None where an answer is too long to be kept, or cannot have a label.
    """
    import numpy as np

    kind, found = meaning.kind, array
    if kind in ("scores", "probabilities"):
        found = array.argmax(axis=meaning.class_axis) if array.ndim > 1 else array
    elif kind in ("logit", "probability"):
        found = (array > (0 if kind == "logit" else 0.5)).astype(np.int64).reshape(len(array), -1)
        found = found[:, 0] if found.shape[1] == 1 else found
    elif kind == "several":
        found = (array > meaning.threshold).astype(np.int64)
    elif kind == "embedding":
        return None
    if found.size > _MOST_NUMBERS * max(1, len(found)):
        return None
    items: list[Any] = found.tolist()
    return [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in items]


def labels_of(label: Any, answers: Sequence[Any], classes: Sequence[str]) -> list[Any]:
    """Labels in the form of the answers.

    Args:
        label: What was given: one label, or a list with one for each example.
        answers: What `answers_of` gave of the request.
        classes: Names of the classes by index.

    Raises:
        SettingError: There are more or fewer labels than examples, or a label is of another form.
    """
    items = list(label) if isinstance(label, list | tuple) else [label]
    # One example whose label is itself a list.
    if len(answers) == 1 and isinstance(answers[0], list) and not (items and isinstance(items[0], list)):
        items = [items]
    if len(items) != len(answers):
        raise SettingError(f"Expected {len(answers)} labels, one for each example of the request, got {len(items)}.")
    return [_like(item, answer, classes) for item, answer in zip(items, answers, strict=True)]


def _like(item: Any, answer: Any, classes: Sequence[str]) -> Any:
    if isinstance(answer, list):
        if not isinstance(item, list) or len(item) != len(answer):
            raise SettingError(f"Expected a label of {len(answer)} values, got {str(item)[:80]!r}.")
        return [_like(one, other, classes) for one, other in zip(item, answer, strict=True)]
    if isinstance(answer, str):
        if not isinstance(item, str):
            raise SettingError(f"Expected the name of a class as label, got {str(item)[:80]!r}.")
        return item
    if isinstance(item, str) and item in classes:
        return list(classes).index(item)
    if isinstance(item, bool) or not isinstance(item, int | float) or item != item or abs(item) == float("inf"):
        known = f": one of {', '.join(classes[:5])}{', …' if len(classes) > 5 else ''}, or an index" if classes else ""
        raise SettingError(f"Expected a class or a number as label{known}; got {str(item)[:80]!r}.")
    whole = isinstance(answer, int) and not isinstance(answer, bool)
    if whole and item != int(item):
        raise SettingError(f"Expected the index of a class as label, a whole number, got {item!r}.")
    if whole and classes and not 0 <= item < len(classes):
        raise SettingError(f"Expected the index of a class as label, 0 to {len(classes) - 1}, got {item!r}.")
    return int(item) if whole else float(item)


def outcomes(answered: Sequence[bool], copied: Sequence[bool]) -> Iterator[str]:
    """Which of two versions were right, for each example that both have seen.

    Args:
        answered: Whether the version that answered was right.
        copied: Whether the shadow was.

    Yields:
        ``"both"``, ``"neither"``, ``"better"`` (the shadow alone) or ``"worse"``.
    """
    for one, other in zip(answered, copied, strict=True):
        yield "both" if one and other else "worse" if one else "better" if other else "neither"

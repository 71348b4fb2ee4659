"""The best classes of each example, with their names: in Triton's form as text, or as JSON objects.

Source: Triton Inference Server's protocol extensions, "Classification Extension".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.wire import objects
from deploykit.core.contract import OutputMeaning
from deploykit.measuring.answers import read
from deploykit.serving.faults import InvalidInputError, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Kinds of outputs that hold a number for each class.
_SCORES = frozenset({"scores", "probabilities", "logit", "probability", "several"})


def takes(meaning: OutputMeaning) -> bool:
    """Whether an output holds scores of classes."""
    return meaning.kind in _SCORES


def check(meaning: OutputMeaning, count: Any) -> None:
    """Raise `InvalidInputError` unless an output holds scores of classes and so many of them can be named."""
    if type(count) is not int or count < 1:
        raise InvalidInputError(
            f"Output {meaning.name!r}: expected 'classification' to be a whole number, 1 or more, got {shown(count)}."
        )
    if not takes(meaning):
        raise InvalidInputError(
            f"Output {meaning.name!r}: 'classification' is for class scores, and this output is read as "
            f"{meaning.kind}; leave it out."
        )


def classified(array: NDArray[Any], meaning: OutputMeaning, count: int, names: Sequence[str] = ()) -> NDArray[Any]:
    """The best classes of each example as text, ``value:index[:name]``.

    Args:
        array: The output, batch first.
        meaning: What it is.
        count: How many classes; there are no more than the output has.
        names: Class names by index.

    Returns:
        Shape (examples, classes), best first; equal ones in their order.

    Raises:
        InvalidInputError: Examples have more than one answer each.
    """
    found, best = _best(array, meaning, count)
    known = names if len(names) == found.shape[1] else ()
    texts = [
        f"{found[row, place]!s}:{place}{f':{known[place]}' if known and known[place] else ''}"
        for row, places in enumerate(best)
        for place in places.tolist()
    ]
    return objects(texts).reshape(best.shape)


def labelled(
    array: NDArray[Any], meaning: OutputMeaning, count: int, names: Sequence[str] = ()
) -> list[list[dict[str, Any]]]:
    """The best classes of each example as objects with label, index and score; see `classified`."""
    found, best = _best(array, meaning, count)
    labels = named(names, found.shape[1])
    return [
        [{"label": labels[place], "index": place, "score": found[row, place].item()} for place in places.tolist()]
        for row, places in enumerate(best)
    ]


def named(names: Sequence[str], count: int) -> Sequence[str]:
    """Labels of so many classes: their names if these are known, else their numbers."""
    return names if len(names) == count else tuple(map(str, range(count)))


def scores(array: NDArray[Any], meaning: OutputMeaning, what: str) -> NDArray[Any]:
    """Scores in the output's dtype, shape (examples, classes).

    Args:
        array: The output, batch first.
        meaning: What it is.
        what: What they are for, for the message.

    Raises:
        InvalidInputError: Examples have more than one answer each.
    """
    found = array if meaning.kind == "several" else read(array, meaning)
    if found.ndim != 2:
        raise InvalidInputError(
            f"Output {meaning.name!r}: {what!r} is for one answer per example, and this output has shape "
            f"{('batch', *array.shape[1:])}; leave it out."
        )
    return found.astype(array.dtype, copy=False)


def _best(array: NDArray[Any], meaning: OutputMeaning, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores, and the numbers of the best classes."""
    import numpy as np

    found = scores(array, meaning, "classification")
    order = np.argsort(np.where(np.isnan(found), -np.inf, found) * -1.0, axis=1, kind="stable")
    return found, order[:, :count]

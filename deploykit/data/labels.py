"""What labels are, as far as they show it without a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.mapped import blocks, each, extremes, is_large
from deploykit.core.vocabulary import is_vocabulary, spells
from deploykit.data.rows import Rows
from deploykit.data.splits import MOST_SORTED

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
#: Whole numbers up to this are exact in float32.
_EXACT = 1 << 24
_MOST_SHOWN = 5


@dataclass(frozen=True)
class Labels:
    """Labels in the form in which they are used.

    Attributes:
        values: Class indices (int64) (batch,); class indices of positions or several 0/1 labels, int64 (batch, …);
            real numbers (batch, …); or texts (batch,) that are spelled with the class names.
        classes: Class names by index; empty when there are none.
        notes: What they were taken for, in sentences, where that is not evident.
    """

    values: NDArray[Any]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def class_names(classes: Any) -> tuple[str, ...]:
    """Class names by index, from a list of them or a dictionary between names and indices.

    Raises:
        DatasetError: A dictionary without one name for each index, or a single text.
    """
    if isinstance(classes, str):
        raise DatasetError(f"classes is the text {classes!r}.", remedy="give a list of names, one for each class.")
    if not isinstance(classes, Mapping):
        return tuple(map(str, classes))
    pairs = [(k, v) for k, v in classes.items()]
    for by_index in (pairs, [(v, k) for k, v in pairs]):
        indices = {str(index): str(name) for index, name in by_index}
        if set(indices) == set(map(str, range(len(pairs)))):
            return tuple(indices[str(i)] for i in range(len(pairs)))
    raise DatasetError(
        f"classes is a dictionary that does not number its names from 0 to {len(pairs) - 1}.",
        remedy="give a list of names in the order of the class numbers.",
    )


def understood(labels: Any, classes: tuple[str, ...], name: str, *, texts: bool = False) -> Labels:
    """Labels as class indices, several labels at once, labels of positions, or real numbers.

    What only the model can tell is left open: real numbers that are whole stay real numbers when no class names are
    given, and negative numbers of positions (-1, "ignore") stay.

    Args:
        labels: As they were given, examples along the first axis.
        classes: Class names by index; empty when they are not known.
        name: What the labels are called in messages.
        texts: Whether they are texts rather than names of classes.

    Raises:
        DatasetError: The labels cannot be used, or do not go with the class names.
    """
    import numpy as np

    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype == object:
        raise DatasetError(
            f"{name} holds bytes that are not UTF-8 text.", remedy="give class names as text, or class indices."
        )
    notes: list[str] = []
    if texts and labels.dtype.kind == "U":
        return _as_texts(labels, classes, name)
    if labels.dtype.kind in "SU":
        labels = _vectors(labels, classes, name)
    if labels.dtype.kind in "SU":
        numbers = numbers_of(labels, classes)
        if numbers is None:
            return _named(labels, classes, name)
        notes.append(f"{name}: numbers written as text were read as numbers.")
        labels = numbers
    if labels.ndim == 2 and labels.shape[1] > 1 and _zeros_and_ones(labels):
        if each(labels, lambda part: (part.sum(axis=1) == 1).all()):
            notes.append(f"{name}: one-hot rows of {labels.shape[1]} classes.")
            labels = np.concatenate([part.argmax(axis=1) for _, part in blocks(labels)])
        else:
            notes.append(f"{name}: {labels.shape[1]} labels per example, each 0 or 1.")
            labels = labels.astype("int8" if isinstance(labels, Rows) else np.int64)
    if labels.dtype.kind in "biu":
        labels = _as_int64(labels, name)
    if classes and labels.dtype.kind == "f" and labels.ndim == 1 and (labels == np.rint(labels)).all():
        labels = labels.astype(np.int64)  # class indices that some tool has stored as real numbers
    if labels.dtype.kind == "f":
        return Labels(_as_real(labels), classes, tuple(notes))
    if labels.ndim == 1:
        _check_indices(labels, classes, name)
    return Labels(labels, classes, tuple(notes))


def _check_indices(labels: NDArray[Any], classes: tuple[str, ...], name: str) -> None:
    """Raise `DatasetError` for a class index that is negative or has no name."""
    import numpy as np

    low, high = int(labels.min()), int(labels.max())
    if low < 0 and classes:
        raise DatasetError(
            f"{name} holds the negative class index {low}.",
            remedy="number classes from 0, in the order of their names; give regression targets as floats.",
        )
    if classes and high >= len(classes):
        if low >= 1 and high - low < len(classes):
            raise DatasetError(
                f"{name}: the labels range from {low} to {high}, but the {len(classes)} class names are for 0 to "
                f"{len(classes) - 1}.",
                remedy=f"number classes from 0 (y - {low}).",
            )
        found = np.unique(labels)
        if len(found) <= len(classes):
            shown = ", ".join(map(str, found[:10])) + (", …" if len(found) > 10 else "")
            raise DatasetError(
                f"{name} holds class {high}, but classes= names only {len(classes)}: the labels have gaps ({shown}).",
                remedy="number classes from 0 without gaps: numpy.unique(y, return_inverse=True)[1].",
            )
        raise DatasetError(
            f"{name} holds class {high}, but classes= names only {len(classes)}.", remedy="name every class."
        )


def gaps(labels: NDArray[Any] | None, classes: tuple[str, ...]) -> str:
    """A sentence on class indices that start above 0 or leave classes out, "" when none do."""
    import numpy as np

    if labels is None or labels.dtype.kind != "i" or labels.ndim != 1 or not len(labels):
        return ""
    found = np.unique(labels)
    low, high = int(found[0]), int(found[-1])
    if low < 0:
        return ""  # what they are only the model can tell
    if low > 0 and not classes:
        return f"labels range from {low} to {high}; no example has class 0 (classes are numbered from 0)."
    expected = len(classes) or high + 1
    if len(found) == expected or expected > 100_000:
        return ""
    lacking = np.setdiff1d(np.arange(expected), found)
    shown = ", ".join(classes[i] if classes else str(i) for i in lacking[:_MOST_SHOWN])
    more = f" and {len(lacking) - _MOST_SHOWN} more" if len(lacking) > _MOST_SHOWN else ""
    return f"no example has class {shown}{more}."


def numbers_of(labels: NDArray[Any], classes: tuple[str, ...]) -> NDArray[Any] | None:
    """Text labels as numbers when every one of them is a number and none is the name of a class."""
    import numpy as np

    names, place = np.unique(labels, return_inverse=True)
    texts = [str(n).strip() for n in names]
    if set(map(str, names)) <= set(classes):
        return None
    if not all(map(_REAL.fullmatch, texts)):
        return None
    values = np.array([int(t) for t in texts] if all(map(_WHOLE.fullmatch, texts)) else [float(t) for t in texts])
    if len(np.unique(values)) < len(set(texts)):
        same = next(
            (a, b)
            for a, u in zip(texts, values, strict=True)
            for b, v in zip(texts, values, strict=True)
            if a != b and u == v
        )
        raise DatasetError(
            f"The labels {same[0]!r} and {same[1]!r} are the same number written two ways.",
            remedy="write it one way, or list the classes with classes= (--classes) if they are names.",
        )
    return values[place].reshape(labels.shape) if np.isfinite(values).all() else None


def _vectors(labels: NDArray[Any], classes: tuple[str, ...], name: str) -> NDArray[Any]:
    """Rows of numbers that were written as text, such as ``"[0, 1, 0]"``, as rows of numbers; other text as it is.

    Raises:
        DatasetError: Digits without anything between them could be such rows, or names.
    """
    import numpy as np

    found, place = np.unique(labels, return_inverse=True)
    texts = [str(t).strip() for t in found]
    if labels.ndim != 1 or set(map(str, found)) <= set(classes):
        return labels
    if all(len(t) > 2 and set(t) <= {"0", "1"} and t.count("1") == 1 for t in texts) and len(set(map(len, texts))) == 1:
        raise DatasetError(
            f"{name}: labels such as {texts[0]!r} look like one-hot rows written as text.",
            remedy="give rows of numbers: numpy.array([list(map(int, row)) for row in y]); if they are names, give "
            "classes= (--classes).",
        )
    rows = [t.strip("[]()").replace(",", " ").split() for t in texts]
    if not all(t[:1] in "[(" and t[-1:] in ")]" for t in texts) or len(set(map(len, rows))) > 1 or not rows[0]:
        return labels
    if not all(_REAL.fullmatch(cell) for row in rows for cell in row):
        return labels
    return np.array([list(map(float, row)) for row in rows])[place]


def _named(labels: NDArray[Any], classes: tuple[str, ...], name: str) -> Labels:
    import numpy as np

    if labels.ndim != 1 and not classes:
        raise DatasetError(
            f"{name} holds text of shape {labels.shape}.",
            remedy="give one class name per example; encode several labels per example as columns of 0 and 1.",
        )
    found, place = np.unique(labels, return_inverse=True)
    text = [str(n) for n in found]
    names = classes or tuple(text)
    unknown = sorted(set(text) - set(names))
    if unknown and labels.ndim == 1 and is_vocabulary(names) and spells(names, text):
        note = f"{name}: texts, spelled with the {len(names)} tokens of classes="
        empty = sum(not t.strip() for t in labels.tolist())
        return Labels(labels, names, (f"{note}{f'; {empty} of them are empty' if empty else ''}.",))
    if unknown:
        raise DatasetError(
            f"{name} holds labels that are not in classes: {', '.join(unknown[:_MOST_SHOWN])}.",
            remedy=f"the classes are {', '.join(names[:10])}{' …' if len(names) > 10 else ''}.",
        )
    if blank := [t for t in text if not t.strip()]:
        raise DatasetError(
            f"{name} holds {int((labels == blank[0]).sum())} empty labels.", remedy="fill them, or drop the examples."
        )
    if twice := [t for t in text if names.count(t) > 1]:
        raise DatasetError(
            f"classes= lists {twice[0]!r} more than once.", remedy="give class indices instead of names."
        )
    index = {n: i for i, n in enumerate(names)}
    values = np.array([index[t] for t in text], np.int64)[place].reshape(labels.shape)
    return Labels(values, names, _alike(names, name))


def _as_texts(labels: NDArray[Any], classes: tuple[str, ...], name: str) -> Labels:
    """Texts that stay texts: spelled with the tokens of a vocabulary, if one is given."""
    if not classes:
        return Labels(labels, classes)
    if not is_vocabulary(classes):
        return _named(labels, classes, name)
    if words := misspelled(labels, classes):
        raise DatasetError(f"{name} holds {words[0]}.", remedy=words[1])
    return Labels(labels, classes, (f"{name}: texts, spelled with the {len(classes)} tokens of classes=.",))


def misspelled(labels: NDArray[Any], vocabulary: tuple[str, ...]) -> tuple[str, str] | None:
    """Why texts are not spelled with the tokens of a vocabulary, and what to do; None when they are."""
    texts = set(map(str, labels.tolist()))
    if spells(vocabulary, texts):
        return None
    lacking = sorted({c for text in texts for c in text if not spells(vocabulary, c)})
    more = f" and {len(lacking) - _MOST_SHOWN} more" if len(lacking) > _MOST_SHOWN else ""
    words = f"texts with characters that no token has: {', '.join(map(repr, lacking[:_MOST_SHOWN]))}{more}"
    for change, case in ((str.upper, "capitals"), (str.lower, "small letters")):
        if spells(vocabulary, map(change, texts)):
            return words, f"write the texts in {case}, as the tokens are."
    return words, "give the model's own vocabulary with classes= (--classes), or write the texts as its tokens are."


def _alike(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    """A sentence on class names that differ in blanks and capitals only."""
    seen: dict[str, str] = {}
    for one in names:
        other = seen.setdefault(" ".join(one.split()).casefold(), one)
        if other != one:
            return (f"{name}: {other!r} and {one!r} differ in blanks or capitals only, and are two classes.",)
    return ()


def compact(labels: NDArray[Any]) -> Any:
    """Labels of very many examples in as few bytes as hold them; labels of positions stay on the disk.

    Args:
        labels: As they were given.
    """
    import numpy as np

    if len(labels) <= MOST_SORTED and not is_large(labels):
        return labels
    kind = labels.dtype.kind
    if kind in "biu" and labels.size:
        low, high = map(int, extremes(labels))
        narrow = next((t for t in ("int8", "int16", "int32") if np.iinfo(t).min <= low and high <= np.iinfo(t).max), "")
        dtype = np.dtype(narrow or labels.dtype)
    else:
        dtype = np.dtype("float32") if kind == "f" and not _is_wide(labels) else labels.dtype
    if labels.ndim > 1 and is_large(labels):
        return Rows([labels]) if dtype == labels.dtype else Rows([labels]).astype(dtype)
    found = np.empty(labels.shape, dtype)
    for part, block in blocks(labels, MOST_SORTED):
        found[part] = block
    return found


def _as_int64(labels: Any, name: str) -> Any:
    import numpy as np

    if labels.dtype.kind == "i" and (len(labels) > MOST_SORTED or isinstance(labels, Rows)):
        return labels  # as `compact` has left them
    if labels.dtype == np.uint64 and labels.max() > np.iinfo(np.int64).max:
        raise DatasetError(f"{name} holds the class index {labels.max()}.", remedy="number classes from 0.")
    return labels.astype(np.int64)


def _as_real(labels: NDArray[Any]) -> NDArray[Any]:
    """Real numbers in float32, or in float64 where float32 would merge or lose some."""
    import numpy as np

    return labels if labels.dtype == np.float32 or _is_wide(labels) else labels.astype(np.float32)


def _is_wide(labels: Any) -> bool:
    """Whether float32 would merge or lose some of the numbers."""
    import numpy as np

    return labels.dtype.itemsize > 4 and not each(labels, lambda part: (np.abs(part) <= _EXACT).all())


def _zeros_and_ones(labels: NDArray[Any]) -> bool:
    return each(labels, lambda part: ((part == 0) | (part == 1)).all())

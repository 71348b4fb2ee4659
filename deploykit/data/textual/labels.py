"""Labels as a model of text has them: its own order of classes, and a word's label on the word's first token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.data.examples import Data
from deploykit.data.labels import misspelled
from deploykit.data.tokens.folder import said

if TYPE_CHECKING:
    from numpy.typing import NDArray

_IGNORED = -1
_SHOWN = 6
#: Where models of speech keep their tokens, name → number, and how many there are at most.
_VOCABULARY, _MOST_TOKENS = "vocab.json", 1 << 20


def in_order_of(data: Data, classes: Sequence[str]) -> tuple[Data, list[str]]:
    """The data with class names, and class numbers, in the order of a model's own, and sentences on that.

    Args:
        data: The data.
        classes: The model's names of its classes by index, () if it has none.

    Raises:
        DatasetError: The labels are names, and the model's classes are called otherwise.
    """
    import numpy as np

    own = tuple(classes)
    kinds = {split.labels.dtype.kind for split in data.splits.values() if split.labels is not None}
    if not own or kinds - set("iu") or data.classes == own:
        return data, []
    if not data.classes:
        most = max((int(s.labels.max()) for s in data.splits.values() if s.labels is not None), default=-1)
        return (data if most >= len(own) else replace(data, classes=own)), []
    place = {_folded(name): i for i, name in enumerate(own)}
    found = [place.get(_folded(name), _IGNORED) for name in data.classes]
    if _IGNORED in found or len(place) < len(own):
        unknown = [name for name, index in zip(data.classes, found, strict=True) if index == _IGNORED]
        raise DatasetError(
            f"The data call classes {_listed(unknown or data.classes)}; the model's config.json calls its classes "
            f"{_listed(own)}.",
            remedy="name the labels as the model does, or give class numbers in its order.",
        )
    order = np.array(found, np.int64)

    def numbered(labels: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if labels is None else np.where(labels >= 0, order[np.maximum(labels, 0)], labels)

    splits = {name: replace(split, labels=numbered(split.labels)) for name, split in data.splits.items()}
    changed = found != list(range(len(found))) or data.classes != own[: len(found)]
    notes = [f"classes are numbered as the model's config.json does: {_listed(own)}."] if changed else []
    return replace(data, splits=splits, classes=own), notes


def spelled(data: Data, hub: str) -> tuple[Data, list[str]]:
    """The data with the vocabulary of a model's folder, where their labels are texts without one.

    Args:
        data: The data.
        hub: The Hugging Face folder that the model lies in, "" for none.

    Raises:
        DatasetError: The texts hold characters that the vocabulary does not.
    """
    given = [split.labels for split in data.splits.values() if split.labels is not None and len(split.labels)]
    if data.classes or not hub or not given or any(part.dtype.kind != "U" for part in given):
        return data, []
    found = said(Path(hub), _VOCABULARY)
    places = {place: name for name, place in found.items() if type(place) is int and 0 <= place < _MOST_TOKENS}
    if not places or len(places) < len(found):
        return data, []
    tokens = tuple(places.get(place, "") for place in range(max(places) + 1))
    for part in given:
        if words := misspelled(part, tokens):
            raise DatasetError(
                f"The labels are {words[0]} ({_VOCABULARY} in the model's folder has {len(tokens)}).", remedy=words[1]
            )
    return replace(data, classes=tokens), [f"texts are spelled with the {len(tokens)} tokens of {_VOCABULARY}."]


def aligned(data: Data) -> tuple[Data, list[str]]:
    """The data with labels of words on the first token of each word, and sentences on that.

    Labels are those of words where each text has as many as it has words: class numbers of shape (texts, most words),
    filled up with -1.
    """
    import numpy as np

    name = next((n for n, step in data.preprocess.items() if step.tokenizer is not None), "")
    if not name or not all(_of_words(split.inputs[name], split.labels) for split in data.splits.values()):
        return data, []
    tokenizer = data.preprocess[name].tokenizer
    assert tokenizer is not None
    splits, lost, count = {}, 0, 0
    for part, split in data.splits.items():
        assert split.labels is not None
        if not len(split):
            splits[part] = replace(split, labels=np.zeros((0, tokenizer.length), np.int64))
            continue
        words = tokenizer.words(split.inputs[name])
        labels = np.where(words >= 0, np.take_along_axis(split.labels, np.maximum(words, 0), axis=1), _IGNORED)
        splits[part] = replace(split, labels=labels)
        count += int((split.labels >= 0).sum())
        lost += int((split.labels >= 0).sum() - (labels >= 0).sum())
    notes = ["the label of a word stands on its first token; its other tokens have none."]
    if lost:
        notes.append(f"{lost:,} of {count:,} words have no token of their own or are cut off, and are not scored.")
    return replace(data, splits=splits), notes


def _of_words(texts: NDArray[Any], labels: NDArray[Any] | None) -> bool:
    """Whether labels are those of the words of texts."""
    import numpy as np

    if labels is None or labels.dtype.kind not in "iu" or labels.ndim != 2 or texts.ndim != 1:
        return False
    counts = np.array([len(str(text).split()) for text in texts.tolist()], np.int64)
    most = labels.shape[1]
    beyond = np.arange(most)[None] >= counts[:, None]
    return bool((counts <= most).all() and (labels[beyond] == _IGNORED).all() and counts.size)


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")

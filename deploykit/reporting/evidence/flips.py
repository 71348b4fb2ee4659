"""Which examples get another answer from a candidate, and how sure both were of theirs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from deploykit.core.contract import OutputMeaning
from deploykit.core.errors import SettingError, unknown_name
from deploykit.core.serial import Plain
from deploykit.measuring.answers import NOT_A_NUMBER, answers, are_classes, shares

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: Answers that are listed for each example.
TOP = 5
#: Examples that are listed when outputs are numbers, not classes.
LARGEST = 300

Group = Literal["now wrong", "now right", "both wrong", "changed", "largest error"]


@dataclass(frozen=True)
class Guess(Plain):
    """One of the likeliest answers.

    Attributes:
        index: Index of the class; −1 when scores are not finite numbers.
        name: Its name; text from outside.
        confidence: Its share, 0 to 1; 0 when scores are not finite.
    """

    index: int
    name: str
    confidence: float


@dataclass(frozen=True)
class FlippedBox(Plain):
    """A box of an example in which a detector finds other boxes, or a row of pixels that get another class.

    Attributes:
        corners: Left, top, right and bottom as shares of the image.
        name: Name of its class; text from outside.
        state: ``"kept"``: both find it; ``"lost"``: only the other candidate does; ``"gained"``: only this one does;
            ``"missed"``: neither does; ``"new"``: this candidate finds it where there is none.
    """

    corners: tuple[float, float, float, float]
    name: str
    state: Literal["kept", "lost", "gained", "missed", "new"]


@dataclass(frozen=True)
class Flip(Plain):
    """An example with another answer.

    Attributes:
        example: Its index in the split.
        group: ``"now wrong"``, ``"now right"``, ``"both wrong"`` (and different); ``"changed"`` without labels;
            ``"largest error"`` when outputs are numbers.
        label: The right answer in words; "" without labels.
        before: Answer of the other candidate (the original model) in words.
        after: Answer of this candidate in words.
        confidence_before: Confidence of the former in its answer, 0 to 1; None when outputs are numbers.
        confidence_after: Confidence of this candidate in its own answer.
        lost: Confidence in the former answer that is lost, 0 to 1. When outputs are numbers: growth of the error, in
            units of the label; without labels the mean difference of both outputs. When they are classes of positions:
            the share of positions that are wrong now and were not, less those that were. When they are boxes: how many
            are missed or wrong now and were not, less those that were.
        top_before: The likeliest answers before, at most five, likeliest first.
        top_after: The likeliest answers now.
        boxes: When outputs are boxes or masks: what of them changed, to be drawn.
    """

    example: int
    group: Group
    label: str
    before: str
    after: str
    confidence_before: float | None
    confidence_after: float | None
    lost: float
    top_before: tuple[Guess, ...] = ()
    top_after: tuple[Guess, ...] = ()
    boxes: tuple[FlippedBox, ...] = ()


@dataclass(frozen=True)
class Flips(Plain):
    """Examples that get another answer, those with the most lost confidence first. See ``Choice.flips``.

    Attributes:
        rows: The examples.
        examples: How many were looked at.
        split: Of which split.
        classes: Whether answers are classes; else rows are the examples whose error grew most, or whose outputs
            differ most where right answers are not known.
        labelled: Whether right answers are known.
        scores: Where confidences come from, in words; "" when outputs are numbers.
        against: What the candidate is compared with, in words.
        derived: Whether confidences are computed from outputs that are not probabilities.
        boxes: Whether outputs are boxes: rows are the images in which other boxes are lost or wrong.
    """

    rows: tuple[Flip, ...]
    examples: int
    split: str
    classes: bool
    labelled: bool
    scores: str = ""
    against: str = "the original model"
    derived: bool = False
    boxes: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many rows each group has, groups that can occur only."""
        names = ("now wrong", "now right", "both wrong") if self.labelled else ("changed",)
        if not self.classes and not self.boxes:
            names = ("largest error",)
        return {name: sum(r.group == name for r in self.rows) for name in names}

    def group(self, name: str) -> list[Flip]:
        """Rows of one group.

        Raises:
            SettingError: An unknown group.
        """
        if name not in get_args(Group):
            raise unknown_name("group of flips", name, list(get_args(Group)))
        return [r for r in self.rows if r.group == name]

    def summary(self) -> str:
        """The counts in a sentence."""
        if not self.classes and not self.boxes:
            what = "whose error grew most" if self.labelled else "whose outputs differ most"
            return f"The {len(self.rows)} example{'s' * (len(self.rows) != 1)} of {self.examples:,} {what}."
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        if self.boxes:
            return f"{len(self.rows):,} of {self.examples:,} images get other boxes than from {self.against}: {counts}."
        return f"{len(self.rows):,} of {self.examples:,} answers differ from those of {self.against}: {counts}."

    def records(self) -> list[dict[str, Any]]:
        """One flat record for each example; confidences are shares."""
        names = ("example", "group", "label", "before", "after", "confidence_before", "confidence_after", "lost")
        return [{name: getattr(row, name) for name in names} for row in self.rows]

    def to_frame(self) -> pd.DataFrame:
        """The rows as a data frame; its index is the example's place in the split."""
        import pandas as pd

        columns = ("group", "label", "before", "after", "confidence_before", "confidence_after", "lost")
        frame = pd.DataFrame.from_records(self.records(), columns=["example", *columns])
        return frame.set_index("example")

    def __str__(self) -> str:
        return self.summary()


def find(
    after: NDArray[Any],
    before: NDArray[Any],
    labels: NDArray[Any] | None,
    names: Sequence[str] = (),
    *,
    meaning: OutputMeaning,
    split: str = "evaluation",
    against: str = "the original model",
) -> Flips:
    """Compare the outputs of two candidates, example by example.

    Examples whose scores are not finite have an answer of their own, "not a number", which is never right.

    Args:
        after: Scored output of the candidate as metrics read it, shape (examples, classes) or (examples, …).
        before: The same of what it is compared with.
        labels: Class indices (examples,) or targets (examples, …); None when there are none.
        names: Class names by index.
        meaning: What the output is.
        split: Of which split, for the words.
        against: What ``before`` belongs to, in words.

    Raises:
        SettingError: Outputs or labels do not belong together.
    """
    if after.shape != before.shape or (labels is not None and len(labels) != len(after)):
        raise SettingError(
            f"Outputs have shapes {after.shape} and {before.shape}, labels {None if labels is None else labels.shape}.",
            remedy="compare candidates of one model on the same data.",
        )
    if meaning.kind == "text":
        changed = _texts(after.tolist(), before.tolist(), None if labels is None else labels.tolist())
        return Flips(tuple(changed), len(after), split, classes=True, labelled=labels is not None, against=against)
    if not are_classes(meaning, before.shape):
        return _errors(after, before, labels, split, against)
    known = {
        "probabilities": "probabilities", "probability": "probabilities", "classes": "class numbers, taken as sure",
    }  # fmt: skip
    scores = known.get(meaning.kind, "softmax of the outputs, which are not probabilities")
    old, new = _same_width(shares(before, meaning), shares(after, meaning))
    rows = _flips(old, new, answers(before), answers(after), labels, names)
    return Flips(tuple(rows), len(after), split, classes=True, labelled=labels is not None, scores=scores,
                 against=against, derived=meaning.kind not in known)  # fmt: skip


def _texts(after: list[str], before: list[str], labels: list[str] | None) -> list[Flip]:
    """Texts that differ, those that changed most first: words that were added and removed, by all words."""
    rows = []
    for place, (now, was) in enumerate(zip(after, before, strict=True)):
        if now == was:
            continue
        label = None if labels is None else str(labels[place])
        group: Group = "changed" if label is None else (
            "now wrong" if was == label else "now right" if now == label else "both wrong"
        )  # fmt: skip
        old, new = Counter(was.split()), Counter(now.split())
        lost = ((old - new).total() + (new - old).total()) / max(1, old.total() + new.total())
        rows.append(Flip(place, group, label or "", was, now, None, None, lost))
    return sorted(rows, key=lambda row: -row.lost)


def _same_width(*found: NDArray[Any]) -> list[NDArray[Any]]:
    """With as many columns: class numbers show no more classes than occur."""
    import numpy as np

    width = max(one.shape[1] for one in found)
    return [np.pad(one, ((0, 0), (0, width - one.shape[1]))) for one in found]


def _flips(
    old: NDArray[Any], new: NDArray[Any], first: NDArray[Any], now: NDArray[Any], labels: NDArray[Any] | None,
    names: Sequence[str],
) -> list[Flip]:  # fmt: skip
    import numpy as np

    places = np.flatnonzero(first != now)
    lost = np.nan_to_num(old[places, first[places]]) - np.nan_to_num(new[places, first[places]])
    lost[first[places] < 0] = 0.0  # there was no confidence
    order = np.argsort(-lost, kind="stable")
    rows = []
    for i, less in zip(places[order].tolist(), lost[order].tolist(), strict=True):
        before, after = int(first[i]), int(now[i])
        rows.append(
            Flip(
                i, _group(before, after, None if labels is None else int(labels[i])),
                "" if labels is None else _name(names, int(labels[i])), _name(names, before), _name(names, after),
                _sure(old[i, before]), _sure(new[i, after]), less,
                _best(old[i], names), _best(new[i], names),
            )
        )  # fmt: skip
    return rows


def _sure(share: float) -> float:
    return 0.0 if math.isnan(share) else float(share)


def _group(before: int, after: int, label: int | None) -> Group:
    if label is None:
        return "changed"
    if label < 0:
        return "both wrong"
    return "now wrong" if before == label else "now right" if after == label else "both wrong"


def tops(
    after: NDArray[Any], before: NDArray[Any], meaning: OutputMeaning, names: Sequence[str] = ()
) -> list[tuple[Guess, ...]] | None:
    """The likeliest answers to one example before and after, likeliest first; None when answers are numbers.

    Args:
        after: Scored output of the candidate for the example as metrics read it, shape (1, classes).
        before: The same of what it is compared with.
        meaning: What the output is.
        names: Class names by index.
    """
    if not are_classes(meaning, after.shape):
        return None
    return [_best(shares(scores, meaning)[0], names) for scores in (before, after)]


def _best(row: NDArray[Any], names: Sequence[str]) -> tuple[Guess, ...]:
    """The likeliest answers of one example."""
    import numpy as np

    if np.isnan(row).any():
        return (Guess(NOT_A_NUMBER, _name(names, NOT_A_NUMBER), 0.0),)
    places = np.argsort(-row, kind="stable")[:TOP]
    return tuple(Guess(int(i), _name(names, int(i)), float(row[i])) for i in places)


def _name(names: Sequence[str], index: int) -> str:
    if index < 0:
        return "not a number"
    return names[index] if index < len(names) else str(index)


def _errors(after: NDArray[Any], before: NDArray[Any], labels: NDArray[Any] | None, split: str, against: str) -> Flips:
    """The examples whose error grew most; without usable labels, those whose outputs differ most."""
    import numpy as np

    count = len(after)
    old, new = (np.asarray(a, np.float64).reshape(count, -1) for a in (before, after))
    truth = None if labels is None else np.asarray(labels, np.float64).reshape(count, -1)
    if truth is not None and truth.shape != old.shape:
        truth = None
    growth = abs(new - old).mean(axis=1)
    if truth is not None:
        growth = abs(new - truth).mean(axis=1) - abs(old - truth).mean(axis=1)
    growth = np.nan_to_num(growth, nan=np.finfo(np.float64).max)
    order = np.argsort(-growth, kind="stable")[:LARGEST]
    rows = tuple(
        Flip(int(i), "largest error", _numbers(truth[i]) if truth is not None else "", _numbers(old[i]),
             _numbers(new[i]), None, None, float(growth[i]))
        for i in order if growth[i] > 0
    )  # fmt: skip
    return Flips(rows, count, split, classes=False, labelled=truth is not None, against=against)


def _numbers(values: NDArray[Any]) -> str:
    """The first of an example's numbers."""
    shown = ", ".join(f"{v:.4g}" for v in values[:4]).replace("-", "−")
    return f"{shown}, …" if len(values) > 4 else shown

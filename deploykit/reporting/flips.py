"""Which examples get another answer from a candidate, and how sure both were of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from deploykit.core.errors import SettingError, unknown_name
from deploykit.core.serial import Plain

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

#: Answers that are listed for each example.
TOP = 5
#: Examples that are listed when outputs are numbers, not classes.
LARGEST = 300
#: Rows of scores whose sum is as near to 1 as this are probabilities; int8 outputs round each of them.
_ROUNDING = 0.05

Group = Literal["now wrong", "now right", "both wrong", "changed", "largest error"]


@dataclass(frozen=True)
class Guess(Plain):
    """One of the likeliest answers.

    Attributes:
        index: Index of the class.
        name: Its name; text from outside.
        confidence: Its share, 0 to 1.
    """

    index: int
    name: str
    confidence: float


@dataclass(frozen=True)
class Flip(Plain):
    """An example with another answer.

    Attributes:
        example: Its index in the split.
        group: ``"now wrong"``, ``"now right"``, ``"both wrong"`` (and different); ``"changed"`` without labels;
            ``"largest error"`` when outputs are numbers.
        label: The right answer in words; "" without labels.
        before: Answer of the other candidate (the model as given) in words.
        after: Answer of this candidate in words.
        confidence_before: Confidence of the former in its answer, 0 to 1; None when outputs are numbers.
        confidence_after: Confidence of this candidate in its own answer.
        lost: Confidence in the former answer that is lost, 0 to 1. When outputs are numbers: growth of the error, in
            units of the label; without labels the mean difference of both outputs.
        top_before: The likeliest answers before, at most five, likeliest first.
        top_after: The likeliest answers now.
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


@dataclass(frozen=True)
class Flips(Plain):
    """Examples that get another answer, those with the most lost confidence first. See ``Choice.flips``.

    Attributes:
        rows: The examples.
        examples: How many were looked at.
        split: Of which split.
        classes: Whether answers are classes; else rows are the examples whose error grew most.
        labelled: Whether right answers are known.
        scores: Where confidences come from, in words; "" when outputs are numbers.
        against: What the candidate is compared with, in words.
    """

    rows: tuple[Flip, ...]
    examples: int
    split: str
    classes: bool
    labelled: bool
    scores: str = ""
    against: str = "the model as given"

    @property
    def counts(self) -> dict[str, int]:
        """How many rows each group has, groups that can occur only."""
        names = ("now wrong", "now right", "both wrong") if self.labelled else ("changed",)
        if not self.classes:
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
        if not self.classes:
            return f"The {len(self.rows)} examples of {self.examples:,} whose error grew most."
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
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
    split: str = "evaluation",
    against: str = "the model as given",
) -> Flips:
    """Compare the outputs of two candidates, example by example.

    Args:
        after: First output of the candidate, shape (examples, classes) or (examples, …).
        before: The same of what it is compared with.
        labels: Class indices (examples,) or targets (examples, …); None when there are none.
        names: Class names by index.
        split: Of which split, for the words.
        against: What ``before`` belongs to, in words.

    Raises:
        SettingError: Outputs or labels do not belong together.
    """
    if after.shape != before.shape or (labels is not None and len(labels) != len(after)):
        raise SettingError(
            f"outputs have shapes {after.shape} and {before.shape}, labels {None if labels is None else labels.shape}.",
            remedy="compare candidates of one model on the same data.",
        )
    if not are_classes(before, labels):
        return _errors(after, before, labels, split, against)
    old, new, scores = shares(before), shares(after), "probabilities"
    if not _are_shares(before):
        scores = "softmax of the outputs, which are no probabilities"
    first, now = old.argmax(axis=1), new.argmax(axis=1)
    rows = _flips(old, new, first, now, labels, names)
    return Flips(tuple(rows), len(after), split, classes=True, labelled=labels is not None, scores=scores,
                 against=against)  # fmt: skip


def are_classes(outputs: NDArray[Any], labels: NDArray[Any] | None) -> bool:
    """Whether the highest output is the answer, as the metrics of classes see it."""
    if outputs.ndim != 2:
        return False
    if labels is None:
        return bool(outputs.shape[1] > 1)
    if labels.ndim != 1 or labels.dtype.kind != "i":
        return False
    return bool(outputs.shape[1] > 1 or int(labels.max(initial=0)) <= 1)


def shares(outputs: NDArray[Any]) -> NDArray[np.float64]:
    """Confidences from class scores, shape (examples, classes).

    A single column is the probability of class 1 of two. Probabilities stay as they are, other scores go through
    softmax; NaN counts as no confidence at all.
    """
    import numpy as np

    values = np.nan_to_num(np.asarray(outputs, np.float64), nan=0.0, posinf=1e30, neginf=-1e30)
    if values.shape[1] == 1:
        one = values.clip(0.0, 1.0)
        # A share of exactly one half is class 0, as the metric reads it, and argmax takes the first of two equals.
        return np.concatenate([1.0 - one, one], axis=1)
    if _are_shares(outputs):
        return values
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return found


def _are_shares(outputs: NDArray[Any]) -> bool:
    import numpy as np

    if outputs.shape[1] == 1:
        return True
    head = np.asarray(outputs[:1000], np.float64)
    head = head[np.isfinite(head).all(axis=1)]
    within = bool(len(head)) and head.min() >= -1e-6 and head.max() <= 1 + _ROUNDING
    return within and bool((abs(head.sum(axis=1) - 1) <= _ROUNDING).mean() > 0.95)


def _flips(
    old: NDArray[Any], new: NDArray[Any], first: NDArray[Any], now: NDArray[Any], labels: NDArray[Any] | None,
    names: Sequence[str],
) -> list[Flip]:  # fmt: skip
    import numpy as np

    places = np.flatnonzero(first != now)
    lost = old[places, first[places]] - new[places, first[places]]
    places = places[np.argsort(-lost, kind="stable")]
    rows = []
    for i in places.tolist():
        before, after = int(first[i]), int(now[i])
        rows.append(
            Flip(
                i, _group(before, after, None if labels is None else int(labels[i])),
                "" if labels is None else _name(names, int(labels[i])), _name(names, before), _name(names, after),
                float(old[i, before]), float(new[i, after]), float(old[i, before] - new[i, before]),
                best(old[i], names), best(new[i], names),
            )
        )  # fmt: skip
    return rows


def _group(before: int, after: int, label: int | None) -> Group:
    if label is None:
        return "changed"
    return "now wrong" if before == label else "now right" if after == label else "both wrong"


def best(row: NDArray[Any], names: Sequence[str]) -> tuple[Guess, ...]:
    """The likeliest answers of one example, likeliest first.

    Args:
        row: Its confidences, shape (classes,).
        names: Class names by index.
    """
    import numpy as np

    places = np.argsort(-row, kind="stable")[:TOP]
    return tuple(Guess(int(i), _name(names, int(i)), float(row[i])) for i in places)


def _name(names: Sequence[str], index: int) -> str:
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

"""What a candidate does to single classes: a mean that stays can hide one class that does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploykit.core.class_change import ClassChange
from deploykit.core.contract import OutputMeaning
from deploykit.core.errors import CandidateError, DatasetError
from deploykit.core.serial import Plain
from deploykit.measuring.answers import answers, are_classes
from deploykit.measuring.grouped import numbered, paired_binary_groups, totals
from deploykit.measuring.pooling import paired_change
from deploykit.measuring.statistics import holm, paired_binary
from deploykit.metrics._classwise import Classwise, classwise
from deploykit.metrics._collapse import is_lost
from deploykit.reporting import numbers
from deploykit.reporting.evidence import boxes

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: Times that examples are drawn for the interval of one class.
_DRAWS = 1000


@dataclass(frozen=True)
class ClassChanges(Plain):
    """All classes, the one that loses most first. See ``Choice.classes``.

    Attributes:
        rows: The classes that have examples.
        split: Of which split.
        labelled: Whether right answers are known; else a right answer is that of what the candidate is compared with,
            and classes are its answers.
        against: What the candidate is compared with, in words.
    """

    rows: tuple[ClassChange, ...]
    split: str
    labelled: bool
    against: str = "the original model"

    def __iter__(self) -> Iterator[ClassChange]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def summary(self) -> str:
        """The most important in a sentence."""
        lost = [r for r in self.rows if r.lost]
        said = f" Collapsed: {_collapsed(lost)}." if lost else ""
        worse = [r for r in self.rows if r.sure and r.change.value < 0]
        better = [r for r in self.rows if r.sure and r.change.value > 0]
        parts = [
            f"{len(rows)} of {len(self.rows)} classes {verb} ({_shown(rows)}; 95 % confidence)"
            for rows, verb in ((worse, "lose"), (better, "gain"))
            if rows
        ]
        if not parts:
            return f"No class out of {len(self.rows)} is confirmed to differ from {self.against}.{said}"
        by = f" in {self.figure}" if self.figure != "right" else ""
        return f"Compared with {self.against}, {' and '.join(parts)}{by}.{said}"

    @property
    def figure(self) -> str:
        """What is compared, see `ClassChange`; "right" without rows."""
        return self.rows[0].figure if self.rows else "right"

    def records(self) -> list[dict[str, Any]]:
        """One flat record for each class; shares, not percent."""
        return [
            {
                "class": r.name, "examples": r.examples, "before": r.before, "after": r.after,
                "change": r.change.value, "change_low": r.change.low, "change_high": r.change.high,
                "better": r.better, "worse": r.worse, "sure": r.sure, "figure": r.figure, "lost": r.lost,
            }
            for r in self.rows
        ]  # fmt: skip

    def to_frame(self) -> pd.DataFrame:
        """The classes as a data frame."""
        import pandas as pd

        return pd.DataFrame.from_records(self.records())

    def __str__(self) -> str:
        return self.summary()


def compare(
    after: NDArray[Any],
    before: NDArray[Any],
    labels: NDArray[Any] | None,
    names: Sequence[str] = (),
    *,
    meaning: OutputMeaning,
    split: str = "evaluation",
    against: str = "the original model",
    metric: str = "",
    groups: NDArray[Any] | None = None,
) -> ClassChanges:
    """Compare the outputs of two candidates class by class; scores that are not finite are never right.

    Where an example has no single answer, what is compared is the figure that the task has for each class: IoU of
    masks, F1 of entities and of several labels, recall of embeddings, or that of the metric the sweep was asked for.

    Args:
        after: Scored output of the candidate as metrics read it, shape (examples, classes), or detections.
        before: The same of what it is compared with.
        labels: Class indices (examples,); None when there are none.
        names: Class names by index.
        meaning: What the output is.
        split: Of which split, for the words.
        against: What ``before`` belongs to, in words.
        metric: Name of the metric the sweep was asked for.
        groups: What each example is a part of, as in `Split`: intervals count groups. None where examples stand for
            themselves.

    Raises:
        DatasetError: Answers are not classes, and the task has no figure for each class.
    """
    if meaning.kind == "boxes":
        found = [
            replace(r, figure="AP", lost=is_lost(r.before, r.after, r.examples))
            for r in boxes.compare(after, before, labels, names, groups)
        ]
        return ClassChanges(_judged(found), split, labels is not None, against)
    single = are_classes(meaning, before.shape) and (labels is None or labels.ndim == 1)
    shown = None if single or labels is None else classwise(metric, before, labels, meaning, tuple(names))
    if shown is not None and labels is not None:
        return _figures(shown, after, before, labels, tuple(names), split, against, groups)
    if not are_classes(meaning, before.shape) or (labels is not None and labels.ndim != 1):
        raise DatasetError(
            f"Answers are not classes: outputs have shape {before.shape[1:]}, "
            f"labels {'are missing' if labels is None else f'are {labels.dtype} {labels.shape[1:]}'}.",
            remedy="compare single classes only for models that choose among classes; see flips() for largest errors.",
        )
    import numpy as np

    old, new = answers(before), answers(after)
    truth = old if labels is None else labels
    rows = []
    for index in sorted({int(v) for v in truth if v >= 0}):
        mine = truth == index
        was, now = old[mine] == index, new[mine] == index
        count, better, worse = int(mine.sum()), int((now & ~was).sum()), int((was & ~now).sum())
        own = None if groups is None else numbered(groups[mine])
        if own is None:
            change, p_value = paired_binary(better, worse, count)
        else:
            moved = totals(now.astype(np.float64) - was, own)
            change, p_value = paired_binary_groups(moved, totals(np.ones(count), own), better, worse)
        name = names[index] if index < len(names) else str(index)
        rows.append(
            ClassChange(
                index, name, count, float(was.mean()), float(now.mean()), change, better, worse, p_value,
                lost=is_lost(float(was.mean()), float(now.mean()), count),
            )
        )  # fmt: skip
    return ClassChanges(_judged(rows), split, labels is not None, against)


def _judged(rows: Sequence[ClassChange]) -> tuple[ClassChange, ...]:
    """With what stands after the correction, the greatest loss first."""
    sure = holm([r.p_value for r in rows])
    found = [replace(r, sure=s) for r, s in zip(rows, sure, strict=True)]
    return tuple(sorted(found, key=lambda r: (r.change.value, r.index)))


def _figures(
    metric: Classwise, after: NDArray[Any], before: NDArray[Any], labels: NDArray[Any], names: tuple[str, ...],
    split: str, against: str, groups: NDArray[Any] | None,
) -> ClassChanges:  # fmt: skip
    import numpy as np

    old, new = (metric.parts(a, labels) for a in (before, after))
    ones, rows = np.ones((1, len(labels))), []
    for index in range(metric.class_count(old)):
        count = int(metric.members(old, index).sum())
        if not count or index >= metric.class_count(new):
            continue
        was, now = metric.only(old, index), metric.only(new, index)
        value = float(metric.pool(was, ones)[0])
        if math.isnan(value):
            continue
        level, change, p_value = paired_change(metric, now, was, draws=_DRAWS, groups=groups)
        if math.isnan(level):
            continue
        adds = metric.pseudo_values(now) - metric.pseudo_values(was)
        other = np.any([(now[k] != was[k]).reshape(len(labels), -1).any(axis=1) for k in now], axis=0)
        lost = is_lost(value, level, count, metric.floor(old, index))
        better, worse = int((other & (adds > 0)).sum()), int((other & (adds < 0)).sum())
        name = metric.class_name(index, names)
        rows.append(
            ClassChange(
                index, name, count, value, level, change, better, worse, p_value, figure=metric.figure, lost=lost
            )
        )  # fmt: skip
    if not rows:
        raise DatasetError(
            f"No class has a figure: {metric.label} is undefined for each alone.", remedy="see flips() instead."
        )
    return ClassChanges(_judged(rows), split, labelled=True, against=against)


def rows_of(find: Callable[[], ClassChanges]) -> Callable[[], tuple[ClassChange, ...]]:
    """A function that finds the rows, and none where answers are not classes or outputs are gone."""

    def found() -> tuple[ClassChange, ...]:
        try:
            return find().rows
        except (CandidateError, DatasetError):
            return ()

    return found


def _collapsed(rows: Sequence[ClassChange]) -> str:
    shown = [f"{r.name} ({r.figure} {r.before:.2f} → {r.after:.2f})" for r in rows[:3]]
    return "; ".join(shown) + (f"; {len(rows) - 3} more" if len(rows) > 3 else "")


def _shown(rows: Sequence[ClassChange]) -> str:
    shown = [f"{r.name} {numbers.points(r.change)} pp" for r in rows[:3]]
    return "; ".join(shown) + (f"; {len(rows) - 3} more" if len(rows) > 3 else "")

"""What a candidate does to single classes: a mean that stays can hide one class that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploykit.core.class_change import ClassChange
from deploykit.core.contract import OutputMeaning
from deploykit.core.errors import CandidateError, DatasetError
from deploykit.core.serial import Plain
from deploykit.measuring.answers import answers, are_classes
from deploykit.measuring.statistics import holm, paired_binary
from deploykit.reporting import numbers
from deploykit.reporting.evidence import boxes

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


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
        worse = [r for r in self.rows if r.sure and r.change.value < 0]
        better = [r for r in self.rows if r.sure and r.change.value > 0]
        parts = [
            f"{len(rows)} of {len(self.rows)} classes {verb} ({_shown(rows)}; 95 % confidence)"
            for rows, verb in ((worse, "lose"), (better, "gain"))
            if rows
        ]
        if not parts:
            return f"No class out of {len(self.rows)} is confirmed to differ from {self.against}."
        return f"Compared with {self.against}, {' and '.join(parts)}."

    def records(self) -> list[dict[str, Any]]:
        """One flat record for each class; shares, not percent."""
        return [
            {
                "class": r.name, "examples": r.examples, "before": r.before, "after": r.after,
                "change": r.change.value, "change_low": r.change.low, "change_high": r.change.high,
                "better": r.better, "worse": r.worse, "sure": r.sure,
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
) -> ClassChanges:
    """Compare the outputs of two candidates class by class; scores that are not finite are never right.

    Args:
        after: Scored output of the candidate as metrics read it, shape (examples, classes), or detections.
        before: The same of what it is compared with.
        labels: Class indices (examples,); None when there are none.
        names: Class names by index.
        meaning: What the output is.
        split: Of which split, for the words.
        against: What ``before`` belongs to, in words.

    Raises:
        DatasetError: Answers are not classes.
    """
    if meaning.kind == "boxes":
        return ClassChanges(
            tuple(_judged(boxes.compare(after, before, labels, names))), split, labels is not None, against
        )
    if not are_classes(meaning, before.shape) or (labels is not None and labels.ndim != 1):
        raise DatasetError(
            f"Answers are not classes: outputs have shape {before.shape[1:]}, "
            f"labels {'are missing' if labels is None else f'are {labels.dtype} {labels.shape[1:]}'}.",
            remedy="compare single classes only for models that choose among classes; see flips() for largest errors.",
        )
    old, new = answers(before), answers(after)
    truth = old if labels is None else labels
    rows = []
    for index in sorted({int(v) for v in truth if v >= 0}):
        mine = truth == index
        was, now = old[mine] == index, new[mine] == index
        count, better, worse = int(mine.sum()), int((now & ~was).sum()), int((was & ~now).sum())
        change, p_value = paired_binary(better, worse, count)
        name = names[index] if index < len(names) else str(index)
        rows.append(
            ClassChange(
                index, name, count, float(was.mean()), float(now.mean()), change, better, worse, p_value,
            )
        )  # fmt: skip
    return ClassChanges(tuple(_judged(rows)), split, labels is not None, against)


def _judged(rows: Sequence[ClassChange]) -> list[ClassChange]:
    """The rows with what stands after Holm's correction, the greatest loss first."""
    sure = holm([r.p_value for r in rows])
    found = [replace(r, sure=s) for r, s in zip(rows, sure, strict=True)]
    return sorted(found, key=lambda r: (r.change.value, r.index))


def rows_of(find: Callable[[], ClassChanges]) -> Callable[[], tuple[ClassChange, ...]]:
    """A function that finds the rows, and none where answers are not classes or outputs are gone."""

    def found() -> tuple[ClassChange, ...]:
        try:
            return find().rows
        except (CandidateError, DatasetError):
            return ()

    return found


def _shown(rows: Sequence[ClassChange]) -> str:
    shown = [f"{r.name} {numbers.points(r.change)} pp" for r in rows[:3]]
    return "; ".join(shown) + (f"; {len(rows) - 3} more" if len(rows) > 3 else "")

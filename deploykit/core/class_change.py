"""What a candidate does to one class."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.core.result import Interval
from deploykit.core.serial import Plain


@dataclass(frozen=True)
class ClassChange(Plain):
    """One class.

    Attributes:
        index: Its index.
        name: Its name; text from outside.
        examples: How many examples it has; of a detector, how many boxes.
        before: Share of them that was answered rightly; of a detector, average precision.
        after: The same now.
        change: Paired difference of both with its 95 % interval, for this class alone.
        better: Examples that are right now and were not; of a detector, boxes that are found now and were not.
        worse: Examples that were right and are not now; the same of boxes.
        p_value: McNemar's exact test; of a detector, that of the change in average precision.
        sure: Whether the difference stands after Holm's correction over all classes.
    """

    index: int
    name: str
    examples: int
    before: float
    after: float
    change: Interval
    better: int
    worse: int
    p_value: float
    sure: bool = False

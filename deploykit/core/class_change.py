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
        before: Share of them that was answered rightly, or the class's figure (see ``figure``).
        after: The same now.
        change: Paired difference of both with its 95 % interval, for this class alone.
        better: Examples that are right now and were not, or that add more to the figure; of a detector, boxes that are
            found now and were not.
        worse: Examples that were right and are not now, or that add less; the same of boxes.
        p_value: McNemar's exact test; of a figure, the t-test of what single examples add to it.
        sure: Whether the difference stands after Holm's correction over all classes.
        figure: What was compared: ``"right"``, the share that is answered rightly, or the name of a figure that the
            task has for each class (IoU, F1, AUC, recall).
        lost: Whether nothing is left of a class that was known.
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
    figure: str = "right"
    lost: bool = False

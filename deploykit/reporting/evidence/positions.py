"""Where masks and tags of tokens get another class from a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from deploykit.core.contract import OutputMeaning
from deploykit.measuring.answers import answers
from deploykit.reporting.evidence.flips import LARGEST, Flip, FlippedBox, Flips

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Positions of an example whose classes are written out, and stretches of a mask that are drawn.
_WRITTEN, _DRAWN = 16, 3000


def find(
    after: NDArray[Any],
    before: NDArray[Any],
    labels: NDArray[Any] | None,
    names: Sequence[str] = (),
    *,
    meaning: OutputMeaning,
    split: str = "evaluation",
    against: str = "the original model",
    present: NDArray[Any] | None = None,
) -> Flips:
    """The examples in which most positions are wrong that were not; without labels, in which most differ.

    Args:
        after: Scored output of the candidate as metrics read it, shape (examples, …, classes), or class numbers.
        before: The same of what it is compared with.
        labels: Class of each position, negative where there is none; None when there are no labels.
        names: Class names by index.
        meaning: What the output is.
        split: Of which split, for the words.
        against: What ``before`` belongs to, in words.
        present: Which positions hold tokens, not padding, shape (examples, positions); None: all.
    """
    import numpy as np

    del meaning
    rows = []
    for example in range(len(after)):  # one at a time: masks are large
        new, old = answers(after[example]), answers(before[example])
        truth = old if labels is None else np.asarray(labels[example])
        there = truth >= 0
        if labels is None and present is not None:
            there &= present[example]
        was, now = (old == truth) & there, (new == truth) & there
        growth = int(was.sum()) - int(now.sum())
        if growth <= 0:
            continue
        total = int(there.sum())
        said = [_written(one, there, right, total, names) for one, right in ((old, was), (new, now))]
        label = "" if labels is None else _written(truth, there, None, total, names)
        rows.append(
            Flip(example, "largest error", label, said[0], said[1], None, None, growth / total,
                 boxes=tuple(_stretches(was & ~now, "lost") + _stretches(now & ~was, "gained")))
        )  # fmt: skip
    rows.sort(key=lambda row: -row.lost)
    return Flips(tuple(rows[:LARGEST]), len(after), split, classes=False, labelled=labels is not None, against=against)


def _written(
    classes: NDArray[Any], there: NDArray[Any], right: NDArray[Any] | None, total: int, names: Sequence[str]
) -> str:
    """The classes of few positions; of many, how many are right."""
    if total <= _WRITTEN and classes.ndim == 1:
        return " ".join(names[c] if 0 <= c < len(names) else str(c) for c in classes[there].tolist())
    return f"{total:,} positions" if right is None else f"{int(right.sum()):,} of {total:,} right"


def _stretches(changed: NDArray[Any], state: Literal["lost", "gained"]) -> list[FlippedBox]:
    """The rows of pixels that a mask holds, as boxes; nothing for other than masks."""
    import numpy as np

    if changed.ndim != 2:
        return []
    height, width = changed.shape
    edges = np.diff(np.pad(changed.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    starts, ends = np.argwhere(edges > 0), np.argwhere(edges < 0)
    return [
        FlippedBox((left / width, row / height, right / width, (row + 1) / height), "", state)
        for (row, left), (_, right) in zip(starts[:_DRAWN].tolist(), ends[:_DRAWN].tolist(), strict=True)
    ]

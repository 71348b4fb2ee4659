"""What a candidate has lost altogether: a class that is never found any more, or answers that no longer differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.contract import OutputMeaning
from deploykit.metrics._classwise import classwise

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A class is lost when so much of it was right, in so many examples at least, and at most this share of that is left.
_WAS, _EXAMPLES, _LEFT = 0.2, 5, 0.05
#: Share of the original's spread over examples below which outputs are the same for all.
_SAME = 1e-3
#: Classes that are named; more are counted.
_NAMED = 3
#: Classes that are looked at, one after the other.
_MOST = 1000


def collapses(
    metric: str,
    after: NDArray[Any],
    before: NDArray[Any],
    labels: NDArray[Any] | None,
    meaning: OutputMeaning,
    names: tuple[str, ...],
) -> tuple[str, ...]:
    """What is lost altogether, in sentences; () when nothing is.

    Args:
        metric: Name of the metric the sweep was asked for.
        after: Scored output of the candidate as metrics take it.
        before: The original's.
        labels: As the contract has recoded them; None: a right answer is the original's.
        meaning: What the output is.
        names: Class names by index.
    """
    if dead := _dead(after, before, meaning):
        return (dead,)
    lost = [
        f"{name} ({figure} {was:.2f} → {now:.2f})"
        for name, figure, was, now, count, floor in _figures(metric, after, before, labels, meaning, names)
        if is_lost(was, now, count, floor)
    ]
    if not lost:
        return ()
    more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    return (f"Collapsed: class{'es' * (len(lost) > 1)} {', '.join(lost[:_NAMED])}{more}.",)


def is_lost(was: float, now: float, count: int, floor: float = 0.0) -> bool:
    """Whether a class that was known is not any more.

    Args:
        was: Its figure before, 1 is best.
        now: Its figure now.
        count: Examples that have it.
        floor: The figure of outputs that know nothing of it.
    """
    known = was - floor
    return count >= _EXAMPLES and known >= _WAS * (1 - floor) and now - floor <= _LEFT * known


def _dead(after: NDArray[Any], before: NDArray[Any], meaning: OutputMeaning) -> str:
    """Whether all examples get the same output, which they did not before."""
    import numpy as np

    count = len(after)
    if count <= _EXAMPLES or after.dtype.kind not in "fiuU":
        return ""
    if after.dtype.kind == "U":
        same = len(np.unique(after)) == 1 and len(np.unique(before)) > 1
    else:
        old, new = (a.reshape(count, -1).astype(np.float64) for a in (before, after))
        with np.errstate(invalid="ignore"):
            spread = [float(np.sqrt(np.square(a - a.mean(axis=0)).mean())) for a in (old, new)]
        same = bool(spread[0] > 0 and spread[1] <= _SAME * spread[0])
    what = "Embeddings" if meaning.kind == "embedding" else "Texts" if meaning.kind == "text" else "Outputs"
    return f"Collapsed: {what.lower()} are the same for all {count:,} examples." if same else ""


def _figures(
    metric: str,
    after: NDArray[Any],
    before: NDArray[Any],
    labels: NDArray[Any] | None,
    meaning: OutputMeaning,
    names: tuple[str, ...],
) -> list[tuple[str, str, float, float, int, float]]:
    """Name, figure's name, figure before and now, examples, and figure of chance, of each class."""
    import numpy as np

    one_each = meaning.is_classes and before.ndim == (1 if before.dtype.kind in "iu" else 2)
    found = []
    if one_each and (labels is None or labels.ndim == 1):
        old, new = (_answers(a) for a in (before, after))
        truth = old if labels is None else labels
        for index in np.unique(truth[truth >= 0])[:_MOST].tolist():
            mine = truth == index
            name = names[index] if index < len(names) else str(index)
            was, now = float((old[mine] == index).mean()), float((new[mine] == index).mean())
            found.append((name, "right", was, now, int(mine.sum()), 0.0))
        return found
    shown = classwise(metric, before, labels, meaning, names) if labels is not None else None
    if shown is None or labels is None:
        return []
    old_parts, new_parts = (shown.parts(a, labels) for a in (before, after))
    ones = np.ones((1, len(labels)))
    for index in range(min(shown.class_count(old_parts), _MOST)):
        count = int(shown.members(old_parts, index).sum())
        if not count:
            continue
        was = float(shown.pool(shown.only(old_parts, index), ones)[0])
        now = float(np.nan_to_num(shown.pool(shown.only(new_parts, index), ones)[0]))
        floor = shown.floor(old_parts, index)
        found.append((shown.class_name(index, names), shown.figure, was, now, count, floor))
    return found


def _answers(scores: NDArray[Any]) -> NDArray[Any]:
    return scores if scores.dtype.kind in "iu" else scores.argmax(axis=-1)

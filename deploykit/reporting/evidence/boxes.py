"""What a candidate does to a detector's boxes: those that it loses and those that are new, and precision by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.class_change import ClassChange
from deploykit.core.contract import OutputMeaning
from deploykit.data.boxes import CLASS, CROWD, ious
from deploykit.measuring.pooling import paired_change
from deploykit.metrics._boxes import ANSWER, SCORE, SURE, AveragePrecision, answers_of, as_boxes
from deploykit.metrics._contract import METRICS, Parts
from deploykit.reporting.evidence.flips import Flip, FlippedBox, Flips, Group

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Overlap with a box from which a detection has found it.
_FOUND = 0.5
#: Drawings for the interval of one class's change.
_DRAWS = 500


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
    """Images in which boxes are lost, found, or wrong in another way; most mistakes gained first.

    Detections count from a score of 0.3 on. A box is found by one of its class that overlaps it by half.

    Args:
        after: Detections of the candidate, shape (examples, detections, 6).
        before: The same of what it is compared with.
        labels: Boxes; None when there are none: the other's detections are taken for them.
        names: Class names by index.
        meaning: What the output is.
        split: Of which split, for the words.
        against: What ``before`` belongs to, in words.
    """
    import numpy as np

    del meaning
    truth = as_boxes(before) if labels is None else np.asarray(labels, np.float64)
    rows = []
    for example, (new, old, boxes) in enumerate(zip(after, before, truth, strict=True)):
        row = _flip(example, _sure(new), _sure(old), boxes[boxes[:, CLASS] >= 0], names, labelled=labels is not None)
        if row is not None:
            rows.append(row)
    rows.sort(key=lambda row: -row.lost)
    return Flips(tuple(rows), len(after), split, classes=False, labelled=labels is not None, against=against,
                 boxes=True)  # fmt: skip


def compare(
    after: NDArray[Any], before: NDArray[Any], labels: NDArray[Any] | None, names: Sequence[str],
    groups: NDArray[Any] | None = None,
) -> list[ClassChange]:  # fmt: skip
    """Average precision of each class that has a box, and what the candidate changes about it; see `find`.

    Intervals count ``groups``, if images are parts of such.
    """
    import numpy as np

    truth = as_boxes(before) if labels is None else np.asarray(labels, np.float64)
    metric = METRICS.get("mean_average_precision")
    assert isinstance(metric, AveragePrecision)
    new, old = metric.parts(after, truth), metric.parts(before, truth)
    held = [[_found(_sure(one), boxes)[0] for one, boxes in zip(side, truth, strict=True)] for side in (before, after)]
    rows = []
    for number in sorted({int(c) for c in np.unique(truth[..., CLASS]) if c >= 0}):
        mine, theirs = _of_class(new, number), _of_class(old, number)
        count = int(theirs["truths"].sum())
        if not count:
            continue  # only crowds
        value, change, p_value = paired_change(_OneClass(), mine, theirs, draws=_DRAWS, groups=groups)
        own = (truth[..., CLASS] == number) & (truth[..., CROWD] == 0)
        was, now = (np.stack(side)[own] for side in held)
        rows.append(
            ClassChange(
                number, names[number] if number < len(names) else str(number), count, value - change.value, value,
                change, int((now & ~was).sum()), int((was & ~now).sum()), min(p_value, 1.0),
            )
        )  # fmt: skip
    return rows


class _OneClass(AveragePrecision):
    """Average precision of the one class that parts hold."""

    name = "average_precision_of_a_class"
    label = "average precision"


def _of_class(parts: Parts, number: int) -> dict[str, Any]:
    """The parts of one class, as class 0."""
    import numpy as np

    own = parts["answer"] == number
    columns = own.any(axis=0)
    truths = parts["truths"][:, number : number + 1] if number < parts["truths"].shape[1] else np.zeros((len(own), 1))
    return {
        "score": parts["score"][:, columns], "answer": np.where(own, 0, -1)[:, columns],
        "match": parts["match"][:, columns], "truths": truths,
    }  # fmt: skip


def _sure(detections: NDArray[Any]) -> NDArray[np.float64]:
    """Detections that count, the surest first."""
    import numpy as np

    found = detections[(answers_of(detections[None])[0] >= 0) & (detections[:, SCORE] >= SURE)].astype(np.float64)
    ordered: NDArray[np.float64] = found[np.argsort(-found[:, SCORE], kind="stable")]
    return ordered


def _found(detections: NDArray[Any], boxes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Which boxes are found, and which detections are wrong."""
    import numpy as np

    found, wrong = np.zeros(len(boxes), bool), np.ones(len(detections), bool)
    if not len(boxes) or not len(detections):
        return found, wrong
    crowd = boxes[:, CROWD] > 0
    overlap = ious(detections[:, :4], boxes[:, :4], crowd)
    overlap = np.where(detections[:, ANSWER, None] == boxes[None, :, CLASS], overlap, 0.0)
    for place, row in enumerate(overlap):
        able = np.where(found | crowd, 0.0, row)
        best = int(able.argmax())
        if able[best] >= _FOUND:
            found[best], wrong[place] = True, False
        elif (row[crowd] >= _FOUND).any():
            wrong[place] = False
    return found, wrong


def _flip(
    example: int, new: NDArray[Any], old: NDArray[Any], boxes: NDArray[Any], names: Sequence[str], *, labelled: bool
) -> Flip | None:
    import numpy as np

    def name(number: float) -> str:
        return names[int(number)] if int(number) < len(names) else str(int(number))

    was, wrong_before = _found(old, boxes)
    now, wrong_now = _found(new, boxes)
    counted = boxes[:, CROWD] == 0
    fresh = wrong_now.copy()
    if wrong_now.any() and wrong_before.any():
        stale = np.hstack([old[wrong_before][:, [0, 1, 2, 3, ANSWER]], np.zeros((int(wrong_before.sum()), 1))])
        fresh[wrong_now] = _found(new[wrong_now], stale)[1]
    if not (was != now)[counted].any() and not fresh.any() and wrong_now.sum() == wrong_before.sum():
        return None
    missed_before, missed_now = int((~was & counted).sum()), int((~now & counted).sum())
    more = missed_now + int(wrong_now.sum()) - missed_before - int(wrong_before.sum())
    group: Group = "changed" if not labelled else "now wrong" if more > 0 else "now right" if more < 0 else "both wrong"
    states = {(True, True): "kept", (True, False): "lost", (False, True): "gained", (False, False): "missed"}
    drawn = [
        FlippedBox(tuple(box[:4].tolist()), name(box[CLASS]), states[bool(a), bool(b)])  # type: ignore[arg-type]  # four numbers, and one of the states
        for box, a, b in zip(boxes[counted], was[counted], now[counted], strict=True)
    ]
    drawn += [FlippedBox(tuple(box[:4].tolist()), name(box[ANSWER]), "new") for box in new[fresh]]
    kinds = Counter(name(box[CLASS]) for box in boxes[counted])
    label = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "no box"

    def words(found: NDArray[Any], wrong: NDArray[Any]) -> str:
        total = int(counted.sum())
        said = f"{int(found[counted].sum())} of {total} found"
        return said + (f", {int(wrong.sum())} wrong" if wrong.any() else "")

    return Flip(
        example, group, label if labelled else "", words(was, wrong_before), words(now, wrong_now), None, None,
        float(more if labelled else int((was & ~now).sum()) + int(fresh.sum())), boxes=tuple(drawn),
    )  # fmt: skip

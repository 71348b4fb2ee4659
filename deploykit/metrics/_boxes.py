"""Average precision of boxes by COCO's rules, for any weighting of the images.

Source: pycocotools 2.0, ``COCOeval`` with all areas: a class's detections of an image are taken by falling score, at
most 100, and each takes the free box with the largest intersection over union; what only meets a crowd is left out.
Precision is read at 101 recalls, averaged over them, over the thresholds .50, .55, … .95 and over the classes that have
a box.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.data.boxes import CLASS, COLUMNS, CROWD, are_boxes, ious
from deploykit.metrics._by_class import ByClass
from deploykit.metrics._contract import Parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Columns of a detection after its corners: score and class.
SCORE, ANSWER = 4, 5
#: Detections of a class that count in one image.
_MOST = 100
_RECALLS = 101
#: What a detection is at a threshold: it has a box of its own, has none, or only meets a crowd.
_RIGHT, _WRONG, _SKIPPED = 1, 0, -1
#: Numbers of a block of overlaps that are held at a time.
_HELD = 2_000_000
#: A detection of the original counts as a box from this score on, where there are no labels.
SURE = 0.3


class AveragePrecision(ByClass):
    """Precision averaged over recalls, thresholds and classes.

    Attributes:
        thresholds: How many of .50, .55, … .95 are averaged over.
    """

    kinds = frozenset({"boxes"})
    figure = "AP"
    thresholds: ClassVar[int] = 10

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs detections, and boxes as labels."""
        if outputs.ndim != 3 or outputs.shape[2] != COLUMNS or outputs.dtype.kind != "f":
            return "needs detections: corners, score and class of each"
        if self.truth == "labels" and not are_boxes(truth):
            return "needs boxes as labels, as dk.Dataset.from_coco gives them"
        return ""

    def parts(self, outputs: NDArray[Any], truth: NDArray[Any]) -> Parts:
        """What each image contributes.

        Returns:
            ``score`` and ``answer`` (class, −1 for none) of each detection, shape (examples, detections); ``match``,
            whether it is right, shape (examples, detections, thresholds); ``truths``, boxes of each class, shape
            (examples, classes).
        """
        import numpy as np

        boxes = as_boxes(truth) if self.truth == "original" else truth.astype(np.float64)
        there = boxes[..., CLASS] >= 0
        answer = answers_of(outputs)
        count = 1 + int(max(boxes[..., CLASS].max(initial=0), answer.max(initial=0)))
        truths = np.zeros((len(boxes), count))
        image, row = np.nonzero(there & (boxes[..., CROWD] == 0))
        np.add.at(truths, (image, boxes[image, row, CLASS].astype(np.int64)), 1.0)
        match = matched(outputs, answer, boxes, 0.5 + 0.05 * np.arange(self.thresholds))
        return {"score": outputs[..., SCORE], "answer": answer, "match": match, "truths": truths}

    def class_count(self, parts: Parts) -> int:
        """Up to the highest that is labeled or answered."""
        return int(parts["truths"].shape[1])

    def only(self, parts: Parts, index: int) -> Parts:
        """Its boxes and detections, as class 0."""
        import numpy as np

        answer = np.where(parts["answer"] == index, 0, -1)
        return {**parts, "answer": answer, "truths": parts["truths"][:, index : index + 1]}

    def members(self, parts: Parts, index: int) -> NDArray[np.bool_]:
        """The images with a box of it."""
        found: NDArray[np.bool_] = parts["truths"][:, index] > 0
        return found

    def by_class(self, parts: Parts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average precision of each class, shape (rows, classes); NaN for a class without a box."""
        import numpy as np

        image, slot = np.nonzero(parts["answer"] >= 0)
        answer, match = parts["answer"][image, slot], parts["match"][image, slot]
        order = np.lexsort((-parts["score"][image, slot].astype(np.float64), answer))  # stable: by image where equal
        image, answer, match = image[order], answer[order], match[order]
        boxes = weights @ parts["truths"]
        found = np.full(boxes.shape, np.nan)
        starts = np.searchsorted(answer, np.arange(boxes.shape[1] + 1))
        for number in range(boxes.shape[1]):
            if not boxes[:, number].any():
                continue
            own = slice(starts[number], starts[number + 1])
            found[:, number] = _precision(match[own], weights[:, image[own]], boxes[:, number])
        return found


def _precision(match: NDArray[Any], weights: NDArray[Any], boxes: NDArray[Any]) -> NDArray[Any]:
    """Average precision of one class.

    Args:
        match: Of its detections by falling score, shape (detections, thresholds).
        weights: Of their images, shape (rows, detections).
        boxes: How many boxes there are, shape (rows,).
    """
    import numpy as np

    recalls = np.linspace(0.0, 1.0, _RECALLS)
    total = np.zeros(len(boxes))
    whole = None if (match == _SKIPPED).any() else np.cumsum(weights, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        for column in match.T:
            # Only where a detection is right does recall grow, and precision is highest there.
            right = np.flatnonzero(column == _RIGHT)
            if not len(right):
                continue
            hits = np.cumsum(weights[:, right], axis=1)
            counted = whole if whole is not None else np.cumsum(weights * (column >= 0), axis=1)
            precision = hits / (counted[:, right] + np.spacing(1))
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            recall = np.where(boxes[:, None] > 0, hits / boxes[:, None], 0.0)
            near = (recall * (_RECALLS - 1) + 0.5).astype(np.int32)  # a search takes five times as long
            reached = near + (recalls[near] <= recall)
            total += (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1)
        return np.where(boxes > 0, total / (_RECALLS * match.shape[1]), np.nan)


def answers_of(outputs: NDArray[Any]) -> NDArray[np.int64]:
    """Classes of detections, −1 for none and for those that are not numbers or beyond the hundred of a class."""
    import numpy as np

    usable = np.isfinite(outputs).all(axis=-1) & (outputs[..., ANSWER] >= 0)
    found: NDArray[np.int64] = np.where(usable, outputs[..., ANSWER], -1).astype(np.int64)
    if outputs.shape[1] > _MOST:
        for row, scores in zip(found, outputs[..., SCORE], strict=True):
            for number in np.unique(row[row >= 0]):
                own = np.flatnonzero(row == number)
                row[own[np.argsort(-scores[own], kind="stable")[_MOST:]]] = -1
    return found


def as_boxes(detections: NDArray[Any]) -> NDArray[np.float64]:
    """Detections that are sure enough as the boxes to be found, in the form of labels."""
    import numpy as np

    found = np.zeros(detections.shape)
    sure = (answers_of(detections) >= 0) & (detections[..., SCORE] >= SURE)
    found[..., :4] = np.where(sure[..., None], detections[..., :4], 0.0)
    found[..., CLASS] = np.where(sure, detections[..., ANSWER], -1.0)
    return found


def matched(
    outputs: NDArray[Any], answer: NDArray[Any], boxes: NDArray[Any], thresholds: NDArray[Any]
) -> NDArray[np.int8]:
    """Whether each detection is right at each threshold, shape (examples, detections, thresholds).

    Args:
        outputs: Detections, shape (examples, detections, 6).
        answer: Their classes, shape (examples, detections); −1 for none.
        boxes: Labels, shape (examples, boxes, 6).
        thresholds: Of intersection over union.
    """
    import numpy as np

    found = np.full((*answer.shape, len(thresholds)), _WRONG, np.int8)
    count = 1 + int(max(boxes[..., CLASS].max(initial=0), answer.max(initial=0)))
    image, slot = np.nonzero(answer >= 0)
    key = image * count + answer[image, slot]
    order = np.lexsort((slot, -outputs[image, slot, SCORE].astype(np.float64), key))
    image, slot, key = image[order], slot[order], key[order]
    owner, row = np.nonzero(boxes[..., CLASS] >= 0)
    other = owner * count + boxes[owner, row, CLASS].astype(np.int64)
    order = np.lexsort((row, boxes[owner, row, CROWD], other))
    owner, row, other = owner[order], row[order], other[order]
    both = np.intersect1d(key, other)
    if not len(both):
        return found
    first, last = (np.searchsorted(key, both, side=side) for side in ("left", "right"))
    start, end = (np.searchsorted(other, both, side=side) for side in ("left", "right"))
    by_size = np.argsort(last - first, kind="stable")
    thresholds = np.minimum(thresholds, 1 - 1e-10)
    done = 0
    while done < len(both):
        step = max(1, _HELD // max(1, int((last - first)[by_size[done:]].max() * (end - start).max())))
        group = by_size[done : done + step]
        done += step
        ours = first[group, None] + np.arange((last - first)[group].max())
        theirs = start[group, None] + np.arange((end - start)[group].max())
        here, real = ours < last[group, None], theirs < end[group, None]
        ours, theirs = np.where(here, ours, 0), np.where(real, theirs, 0)
        truth = boxes[owner[theirs], row[theirs]]
        crowd = truth[..., CROWD] > 0
        overlap = ious(outputs[image[ours], slot[ours], :4], truth[..., :4], crowd)
        overlap = np.where(real[:, None, :], overlap, -1.0)
        verdict = _taken(overlap, crowd, here, thresholds)
        found[image[ours][here], slot[ours][here]] = verdict[here]
    return found


def _taken(
    overlap: NDArray[Any], crowd: NDArray[Any], here: NDArray[Any], thresholds: NDArray[Any]
) -> NDArray[np.int8]:
    """Let detections take boxes, those of many images and classes at once.

    Args:
        overlap: Shape (groups, detections, boxes); −1 for boxes that are not there.
        crowd: Which boxes are crowds, shape (groups, boxes).
        here: Which detections are there, shape (groups, detections).
        thresholds: Of intersection over union.

    Returns:
        Shape (groups, detections, thresholds).
    """
    import numpy as np

    groups, detections, count = overlap.shape
    found = np.full((groups, detections, len(thresholds)), _WRONG, np.int8)
    free = np.repeat(~crowd[:, None, :], len(thresholds), axis=1)
    for place in range(detections):
        row = overlap[:, place, None, :]
        meets = (row >= thresholds[:, None]) & here[:, place, None, None]
        able = np.where(meets & free, row, -1.0)
        best = count - 1 - able[..., ::-1].argmax(axis=-1)  # of equal ones the last, as pycocotools takes it
        right = np.take_along_axis(able, best[..., None], axis=-1)[..., 0] >= 0
        group, column = np.nonzero(right)
        free[group, column, best[group, column]] = False
        only = ~right & (meets & crowd[:, None, :]).any(axis=-1)
        found[:, place] = np.where(right, _RIGHT, np.where(only, _SKIPPED, _WRONG))
    return found

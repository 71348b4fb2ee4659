"""A detector's outputs as one array of detections for each example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.detection import Detection
from deploykit.data.boxes import COLUMNS, ious

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Detections of an image that non-maximum suppression looks at, those with the highest scores.
_MOST_BEFORE = 3000


def decoded(outputs: Mapping[str, NDArray[Any]], detection: Detection) -> NDArray[np.float32]:
    """Detections of each example, the surest first.

    Args:
        outputs: By name, batch first.
        detection: How they are read.

    Returns:
        Shape (examples, detections, 6): left, top, right, bottom as shares of the image, score and class; class −1
        where an example has fewer. NaN throughout for an example whose outputs hold NaN.
    """
    import numpy as np

    corners, scores, classes = _columns(outputs, detection)
    count = len(corners)
    found = np.zeros((count, detection.most, COLUMNS), np.float32)
    found[..., 5] = -1
    for image in range(count):
        rows = _rows(corners[image], scores[image], None if classes is None else classes[image], detection)
        if rows is None:
            found[image] = np.nan
        else:
            found[image, : len(rows)] = rows
    return found


def _columns(
    outputs: Mapping[str, NDArray[Any]], detection: Detection
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Corners (examples, boxes, 4), scores (examples, boxes) or (examples, boxes, classes), and classes if apart."""
    import numpy as np

    whole = outputs[detection.boxes]
    if detection.layout == "parts":
        boxes = whole.reshape(len(whole), -1, 4)
        scores = outputs[detection.scores]
        scores = scores.reshape(len(scores), boxes.shape[1], -1)
        classes = None
        if detection.classes:
            classes = outputs[detection.classes].reshape(len(scores), -1)
        if scores.shape[2] == 1 and detection.background == "none":
            scores = scores[..., 0]
        if detection.count:
            counted = outputs[detection.count].reshape(len(scores), -1)[:, :1]
            there = np.arange(boxes.shape[1]) < np.nan_to_num(counted)
            scores = np.where(there if scores.ndim == 2 else there[..., None], scores, 0)
    elif detection.layout == "rows":
        boxes, scores = whole[..., :4], whole[..., detection.score_column]
        classes = whole[..., 9 - detection.score_column]
    else:
        columns = np.moveaxis(whole, detection.axis, -1)
        boxes, classes = columns[..., :4], None
        scores = _probabilities(columns[..., 5 if detection.objectness else 4 :], detection)
        if detection.objectness:
            scores = scores * _probabilities(columns[..., 4:5], detection)
    if detection.layout != "heads":
        scores = _probabilities(scores, detection)
    if scores.ndim == 3 and detection.background != "none":
        scores = scores[..., 1:] if detection.background == "first" else scores[..., :-1]
    return as_corners(boxes, detection), scores, classes


def _probabilities(scores: NDArray[Any], detection: Detection) -> NDArray[Any]:
    import numpy as np

    if detection.activation == "none":
        return scores if scores.dtype.kind == "f" else scores.astype(np.float64)
    values = scores.astype(np.float64)
    if detection.activation == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(values / 2)))
    raised = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def as_corners(boxes: NDArray[Any], detection: Detection) -> NDArray[np.float64]:
    """Left, top, right and bottom as shares of the image, shape (…, 4)."""
    import numpy as np

    values = boxes.astype(np.float64)
    if detection.format == "yxyx":
        values = values[..., [1, 0, 3, 2]]
    elif detection.format != "xyxy":
        first, size = values[..., :2], values[..., 2:]
        first = first - size / 2 if detection.format == "cxcywh" else first
        values = np.concatenate([first, first + size], axis=-1)
    if detection.normalized:
        return values
    height, width = detection.size
    return values / np.array([width, height, width, height], np.float64)


def _rows(
    corners: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any] | None, detection: Detection
) -> NDArray[Any] | None:
    """Detections of one image, shape (detections, 6); None when they are not numbers."""
    import numpy as np

    least = max(detection.score, np.finfo(np.float32).tiny)
    if np.isnan(scores).any():
        return None
    if scores.ndim == 2:
        box, number = np.nonzero(scores >= least)
        score, answer = scores[box, number], number.astype(np.float64)
    else:
        box = np.flatnonzero(scores >= least)
        score = scores[box]
        answer = np.zeros(len(box)) if classes is None else np.rint(classes[box].astype(np.float64))
    if classes is not None:
        answer = answer - detection.first_class
    own = corners[box]
    if np.isnan(own).any() or np.isnan(answer).any():
        return None
    limited = np.clip(own, 0.0, 1.0)
    usable = (answer >= 0) & (limited[:, 2:] > limited[:, :2]).all(axis=1)
    order = np.flatnonzero(usable)
    order = order[np.argsort(-score[order], kind="stable")]
    if detection.nms == "outside":
        order = order[:_MOST_BEFORE]
        order = order[suppressed(own[order], answer[order], detection.iou, detection.most)]
    order = order[: detection.most]
    return np.column_stack([limited[order], score[order], answer[order]])


def suppressed(corners: NDArray[Any], classes: NDArray[Any], iou: float, most: int) -> NDArray[np.int64]:
    """Non-maximum suppression within classes: places of the boxes that stay.

    Args:
        corners: Left, top, right, bottom by falling score, shape (boxes, 4).
        classes: Of the boxes.
        iou: A box that overlaps a surer one of its class by more is dropped.
        most: No more than so many stay.
    """
    import numpy as np

    left = np.arange(len(corners))
    kept: list[int] = []
    while len(left) and len(kept) < most:
        first, left = left[0], left[1:]
        kept.append(int(first))
        rivals = classes[left] == classes[first]
        overlap = ious(corners[first : first + 1], corners[left[rivals]])[0]
        drop = np.zeros(len(left), bool)
        drop[rivals] = overlap > iou
        left = left[~drop]
    return np.array(kept, np.int64)

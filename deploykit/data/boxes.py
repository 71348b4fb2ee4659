"""Labels that are boxes: a padded array of so many boxes per image, and what is computed with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Columns of a label: left, top, right, bottom (shares of the image's width and height), class, crowd (0 or 1).
COLUMNS = 6
CLASS, CROWD = 4, 5
#: Class of the rows that fill an image's boxes up to the number of the image with the most.
PADDING = -1
#: How far a corner may lie outside the image: rounding of what was clipped.
_OUTSIDE = 1e-3


def padded(boxes: Sequence[NDArray[Any]], most: int = 0) -> NDArray[np.float32]:
    """Boxes of images as one array.

    Args:
        boxes: For each image its boxes, shape (boxes, 6): left, top, right, bottom as shares of the image's width and
            height, class, and 1 for a region that holds a crowd, else 0.
        most: Rows per image; 0 for those of the image with the most boxes.

    Returns:
        Shape (images, boxes, 6), float32; rows that hold no box have class −1.
    """
    import numpy as np

    most = max(most, 1, *(len(one) for one in boxes)) if boxes else max(most, 1)
    found = np.zeros((len(boxes), most, COLUMNS), np.float32)
    found[..., CLASS] = PADDING
    for row, one in zip(found, boxes, strict=True):
        row[: len(one)] = one
    return found


def are_boxes(labels: NDArray[Any] | None) -> bool:
    """Whether labels have the form that `padded` gives: real numbers of any other meaning do not look like that."""
    import numpy as np

    if labels is None or labels.ndim != 3 or labels.shape[2] != COLUMNS or labels.dtype.kind != "f":
        return False
    corners, classes, crowd = labels[..., :4], labels[..., CLASS], labels[..., CROWD]
    there = classes >= 0
    return bool(
        (classes == np.rint(classes)).all()
        and (classes >= PADDING).all()
        and ((crowd == 0) | (crowd == 1)).all()
        and (corners[~there] == 0).all()
        and (corners >= -_OUTSIDE).all()
        and (corners <= 1 + _OUTSIDE).all()
        and (corners[..., 2:] > corners[..., :2])[there].all()
    )


def ious(ours: NDArray[Any], theirs: NDArray[Any], crowd: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Intersection over union of boxes, each with each.

    Args:
        ours: Left, top, right, bottom; shape (…, boxes, 4).
        theirs: The same; shape (…, others, 4).
        crowd: Which of ``theirs`` are crowds, shape (…, others): there the area of ``ours`` stands for the union.

    Returns:
        Shape (…, boxes, others).
    """
    import numpy as np

    a, b = ours.astype(np.float64)[..., :, None, :], theirs.astype(np.float64)[..., None, :, :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.where((sides > 0).all(axis=-1), sides[..., 0] * sides[..., 1], 0.0)
    own, other = ((v[..., 2] - v[..., 0]) * (v[..., 3] - v[..., 1]) for v in (a, b))
    union = own + other - shared
    if crowd is not None:
        union = np.where(crowd[..., None, :], own, union)
    found: NDArray[np.float64] = shared / np.maximum(union, np.finfo(np.float64).tiny)
    return found

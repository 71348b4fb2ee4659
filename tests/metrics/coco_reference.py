"""Average precision as pycocotools computes it, and boxes to compare it on."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def coco_precision(detections: NDArray[Any], labels: NDArray[Any]) -> tuple[float, float]:
    """mAP over IoU .50 to .95, and at .50; corners are taken as shares of images of 1 x 1 million pixels."""
    images, truth, found = [], [], []
    for image, (answers, boxes) in enumerate(
        zip(detections.astype(np.float64), labels.astype(np.float64), strict=True)
    ):
        images.append({"id": image + 1})
        for x1, y1, x2, y2, number, crowd in boxes[boxes[:, 4] >= 0]:
            box = [x1, y1, x2 - x1, y2 - y1]
            truth.append({"id": len(truth) + 1, "image_id": image + 1, "category_id": int(number) + 1, "bbox": box,
                          "area": box[2] * box[3], "iscrowd": int(crowd)})  # fmt: skip
        for x1, y1, x2, y2, score, number in answers[answers[:, 5] >= 0]:
            found.append({"image_id": image + 1, "category_id": int(number) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1],
                          "score": score})  # fmt: skip
    count = int(max(labels[..., 4].max(), detections[..., 5].max())) + 1
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "annotations": truth, "categories": [{"id": i + 1} for i in range(count)]}
        coco.createIndex()
        if not found:
            return 0.0, 0.0
        judge = COCOeval(coco, coco.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[0]), float(judge.stats[1])


def random_boxes(
    images: int, classes: int, seed: int, *, crowds: float = 0.0, noise: float = 0.1, ties: bool = False
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Detections, some of them right, and labels; some images have neither."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((images, 8, 6), np.float32)
    labels[..., 4] = -1
    detections = np.zeros((images, 24, 6), np.float32)
    detections[..., 5] = -1
    for image in range(images):
        corners = rng.random((rng.integers(0, 9), 2)) * 0.6
        boxes = np.hstack([corners, corners + 0.1 + 0.3 * rng.random(corners.shape)])
        numbers = rng.integers(0, classes, len(boxes))
        labels[image, : len(boxes)] = np.column_stack([boxes, numbers, rng.random(len(boxes)) < crowds])
        chosen = rng.integers(0, max(1, len(boxes)), rng.integers(0, 25) if len(boxes) else 0)
        moved = boxes[chosen] + noise * rng.normal(size=(len(chosen), 4)) * rng.random((len(chosen), 1))
        moved = np.hstack([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:]) + 1e-3])
        other = np.where(rng.random(len(chosen)) < 0.15, rng.integers(0, classes, len(chosen)), numbers[chosen])
        scores = rng.random(len(chosen))
        scores = np.round(scores, 1) if ties else scores
        detections[image, : len(chosen)] = np.column_stack([moved, scores, other])
    return detections, labels

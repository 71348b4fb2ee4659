"""Mean average precision is what pycocotools computes, for any weighting of the images."""

import numpy as np
import pytest

from deploykit.metrics._boxes import as_boxes
from deploykit.metrics._contract import METRICS
from tests.metrics.coco_reference import coco_precision, random_boxes

WHOLE, HALF = METRICS.get("mean_average_precision"), METRICS.get("mean_average_precision_50")


def both(detections, labels):
    return WHOLE.overall(detections, labels), HALF.overall(detections, labels)


@pytest.mark.parametrize(
    "form", [{}, {"crowds": 0.3}, {"ties": True}, {"noise": 0.02, "crowds": 0.1}, {"noise": 0.6}], ids=str
)
def test_random_boxes(form):
    for seed in range(4):
        detections, labels = random_boxes(10, 1 + 2 * seed, seed, **form)
        assert both(detections, labels) == pytest.approx(coco_precision(detections, labels), abs=1e-9)


def test_more_than_a_hundred_detections_of_a_class():
    detections, labels = random_boxes(6, 1, 3)
    many = np.concatenate([detections, *[detections * (1, 1, 1, 1, 0.9, 1)] * 9], axis=1)
    assert (many[..., 5] >= 0).sum(axis=1).max() > 100
    assert both(many, labels) == pytest.approx(coco_precision(many, labels), abs=1e-9)


def test_edges():
    detections, labels = random_boxes(8, 3, 1)
    right = labels[..., [0, 1, 2, 3, 4, 4]].copy()
    right[..., 4] = np.where(labels[..., 4] >= 0, 0.9, 0)
    assert both(right, labels) == (pytest.approx(1.0), pytest.approx(1.0))
    none = np.zeros_like(detections)
    none[..., 5] = -1
    assert both(none, labels) == (0, 0)
    assert np.isnan(WHOLE.overall(detections, labels * 0 - (0, 0, 0, 0, 1, 0)))
    other = detections.copy()
    other[..., 5] = np.where(other[..., 5] >= 0, other[..., 5] + 3, -1)  # classes that no label has
    assert both(other, labels) == (0, 0)


def test_a_weight_is_a_copy_of_the_image():
    detections, labels = random_boxes(12, 4, 5, crowds=0.2)
    weights = np.random.default_rng(0).integers(0, 3, (4, 12))
    found = WHOLE.pool(WHOLE.parts(detections, labels), weights.astype(float))
    for row, value in zip(weights, found, strict=True):
        again = np.repeat(np.arange(12), row)
        assert value == pytest.approx(coco_precision(detections[again], labels[again])[0], abs=1e-9)


def test_a_class_that_is_never_found_has_no_precision():
    detections, labels = random_boxes(12, 3, 2)
    detections[detections[..., 5] == 1] = (0, 0, 0, 0, 0, -1)
    found = WHOLE.by_class(WHOLE.parts(detections, labels), np.ones((1, 12)))[0]
    assert found[1] == 0
    assert (found[[0, 2]] > 0).all()


def test_agreement_takes_the_originals_sure_detections_for_the_truth():
    detections, _ = random_boxes(12, 3, 2)
    other, _ = random_boxes(12, 3, 2, noise=0.12)
    agreement = METRICS.get("box_agreement")
    assert agreement.overall(detections, detections) == pytest.approx(1.0)
    sure = as_boxes(detections)
    assert ((sure[..., 4] >= 0) == ((detections[..., 5] >= 0) & (detections[..., 4] >= 0.3))).all()
    assert agreement.overall(other, detections) == pytest.approx(coco_precision(other, sure)[0], abs=1e-9)


def test_what_is_no_box_is_refused():
    detections, labels = random_boxes(4, 2, 0)
    assert WHOLE.unsuitable(detections, labels) == ""
    assert "boxes as labels" in WHOLE.unsuitable(detections, labels[:, 0, 4])
    assert "detections" in WHOLE.unsuitable(detections[..., :4], labels)

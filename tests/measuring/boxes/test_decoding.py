"""Detections that are made of every layout are the same, and suppression is the textbook's."""

import numpy as np
import pytest

from deploykit.core.detection import Detection
from deploykit.measuring.boxes.decoding import decoded, suppressed

RNG = np.random.default_rng(0)
CORNERS = np.array([[[0.1, 0.2, 0.3, 0.6], [0.5, 0.5, 0.9, 0.7], [0.11, 0.2, 0.31, 0.6]]])
SCORES, CLASSES = np.array([[0.9, 0.8, 0.7]]), np.array([[2.0, 0.0, 2.0]])
EACH = np.zeros((1, 3, 3))
EACH[0, np.arange(3), CLASSES[0].astype(int)] = SCORES[0]
WANTED = [[0.1, 0.2, 0.3, 0.6, 0.9, 2], [0.5, 0.5, 0.9, 0.7, 0.8, 0], [0.11, 0.2, 0.31, 0.6, 0.7, 2]]
SIZE = (100, 200)


def forms(corners, size):
    sides = corners[..., 2:] - corners[..., :2]
    height, width = size
    pixels = np.array([width, height, width, height])
    yield "xyxy", True, corners
    yield "yxyx", True, corners[..., [1, 0, 3, 2]]
    yield "xywh", False, np.concatenate([corners[..., :2], sides], -1) * pixels
    yield "cxcywh", False, np.concatenate([corners[..., :2] + sides / 2, sides], -1) * pixels
    yield "yxyx", False, (corners * pixels)[..., [1, 0, 3, 2]]


@pytest.mark.parametrize("place", range(5))
def test_every_form_of_a_box(place):
    form, normalized, boxes = list(forms(CORNERS, SIZE))[place]
    said = {"format": form, "normalized": normalized, "size": SIZE, "most": 4}
    parts = Detection("parts", boxes="b", scores="s", classes="c", count="n", **said)
    given = {"b": boxes, "s": SCORES, "c": CLASSES + 1, "n": np.array([2])}
    found = decoded(given, Detection(**{**vars(parts), "first_class": 1}))
    np.testing.assert_allclose(found[0, :2], WANTED[:2], atol=1e-6)
    assert (found[0, 2:, 5] == -1).all()  # the third box does not count
    rows = np.concatenate([boxes, CLASSES[..., None], SCORES[..., None]], axis=-1)
    found = decoded({"r": rows}, Detection("rows", boxes="r", score_column=5, **said))
    np.testing.assert_allclose(found[0, :3], WANTED, atol=1e-6)
    v8 = np.concatenate([boxes, EACH], axis=-1).swapaxes(1, 2)
    found = decoded({"h": v8}, Detection("heads", boxes="h", axis=1, nms="outside", **said))
    np.testing.assert_allclose(found[0, :2], WANTED[:2], atol=1e-6)  # the third overlaps the first by more than 0.7
    assert (found[0, 2:, 5] == -1).all()
    logit = -np.log(1 / np.clip(EACH, 1e-9, 1 - 1e-9) - 1)
    v5 = np.concatenate([boxes, np.full((1, 3, 1), 20.0), logit], axis=-1)
    heads = Detection("heads", boxes="h", objectness=True, activation="sigmoid", nms="inside", **said)
    np.testing.assert_allclose(decoded({"h": v5}, heads)[0, :3], WANTED, atol=1e-6)


def test_background_and_softmax():
    odds = np.log(np.array([[[0.05, 0.9, 0.05], [0.97, 0.01, 0.02]]]))
    said = {"layout": "parts", "format": "xyxy", "boxes": "b", "scores": "s", "activation": "softmax", "score": 0.04}
    first = decoded({"b": CORNERS[:, :2], "s": odds}, Detection(**said, background="first"))[0]
    assert first[first[:, 5] >= 0][:, 4:].astype(float).round(4).tolist() == [[0.9, 0], [0.05, 1]]
    last = decoded({"b": CORNERS[:, :2], "s": odds}, Detection(**said, background="last"))[0]
    assert last[last[:, 5] >= 0][:, 4:].astype(float).round(4).tolist() == [[0.97, 0], [0.9, 1], [0.05, 0]]


def test_nan_shows_in_the_example_that_has_it():
    scores = np.repeat(SCORES, 2, axis=0)
    scores[1, 2] = np.nan
    said = Detection("parts", "xyxy", "b", "s", "c", most=4)
    found = decoded({"b": np.repeat(CORNERS, 2, axis=0), "s": scores, "c": np.repeat(CLASSES, 2, axis=0)}, said)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_suppression_drops_what_overlaps_a_surer_box_of_its_class():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        first = rng.random((60, 2)) * 0.6
        corners = np.hstack([first, first + 0.05 + 0.3 * rng.random((60, 2))])
        classes = rng.integers(0, 2, 60)
        kept = []
        for i in range(60):  # the definition, one pair at a time
            for j in kept:
                wide = np.minimum(corners[i, 2:], corners[j, 2:]) - np.maximum(corners[i, :2], corners[j, :2])
                shared = np.prod(np.maximum(wide, 0))
                areas = [np.prod(corners[k, 2:] - corners[k, :2]) for k in (i, j)]
                if classes[i] == classes[j] and shared / (sum(areas) - shared) > 0.4:
                    break
            else:
                kept.append(i)
        assert suppressed(corners, classes, 0.4, 1000).tolist() == kept
        assert suppressed(corners, classes, 0.4, 7).tolist() == kept[:7]

"""What a candidate does to a detector's boxes: planted losses and inventions are named, image by image and by class."""

import io

import numpy as np
import pytest
from PIL import Image

import deploykit as dk
from deploykit.core.contract import OutputMeaning
from deploykit.reporting.evidence import boxes, class_changes
from deploykit.reporting.evidence.pictures import COLORS, png
from deploykit.testing.detector import CLASSES, SIDE, scenes

IMAGES, LABELS = scenes(80, 4)
MEANING = OutputMeaning("boxes", "boxes", "scored", "float32")


def right(labels):
    """Detections that are all right, with room for one more."""
    found = np.zeros((len(labels), labels.shape[1] + 1, 6), np.float32)
    found[..., 5] = -1
    there = labels[..., 4] >= 0
    found[:, :-1][there] = labels[there][:, [0, 1, 2, 3, 4, 4]]
    rng = np.random.default_rng(0)
    found[..., 4] = np.where(found[..., 5] >= 0, 0.5 + 0.5 * rng.random(found.shape[:2]), 0)
    return found


BEFORE = right(LABELS)


def states(row):
    return sorted(box.state for box in row.boxes)


def test_lost_and_new_boxes():
    after = BEFORE.copy()
    full = [i for i in range(80) if (LABELS[i, :, 4] >= 0).all()]
    lost, new, both, moved = full[:4]
    after[lost, 0] = (0, 0, 0, 0, 0, -1)
    after[new, 4] = (0.4, 0.4, 0.6, 0.6, 0.9, 1)
    after[both, 1, 5] = (after[both, 1, 5] + 1) % 3
    after[moved, 0, :4] += 0.001
    after[full[4], 2, 4] = 0.2  # not sure any more
    found = boxes.find(after, BEFORE, LABELS, CLASSES, meaning=MEANING)
    assert {row.example for row in found.rows} == {lost, new, both, full[4]}
    rows = {row.example: row for row in found.rows}
    assert states(rows[lost]) == ["kept", "kept", "kept", "lost"]
    assert states(rows[new]) == ["kept", "kept", "kept", "kept", "new"]
    assert states(rows[both]) == ["kept", "kept", "kept", "lost", "new"]
    assert (rows[both].before, rows[both].after) == ("4 of 4 found", "3 of 4 found, 1 wrong")
    assert found.rows[0].example == both
    assert found.counts == {"now wrong": 4, "now right": 0, "both wrong": 0}
    assert "4 of 80 images get other boxes than from the original model: 4 now wrong" in found.summary()
    name = CLASSES[int(LABELS[lost, 0, 4])]
    assert [box.name for box in rows[lost].boxes if box.state == "lost"] == [name]
    back = boxes.find(BEFORE, after, LABELS, CLASSES, meaning=MEANING)
    assert back.counts == {"now wrong": 0, "now right": 4, "both wrong": 0}
    without = boxes.find(after, BEFORE, None, CLASSES, meaning=MEANING)
    assert without.counts == {"changed": 4}
    assert type(found).from_json(found.to_json()) == found


@pytest.mark.parametrize("number", range(3))
def test_a_class_that_is_not_found_any_more_is_named(number):
    after = BEFORE.copy()
    after[after[..., 5] == number] = (0, 0, 0, 0, 0, -1)
    found = class_changes.compare(after, BEFORE, LABELS, CLASSES, meaning=MEANING)
    first = found.rows[0]
    count = int((LABELS[..., 4] == number).sum())
    assert (first.name, first.before, first.after, first.sure) == (CLASSES[number], pytest.approx(1), 0, True)
    assert (first.examples, first.worse, first.better) == (count, count, 0)
    assert not any(row.sure for row in found.rows[1:])
    assert f"1 of 3 classes lose ({CLASSES[number]} −100" in found.summary()


def test_boxes_are_drawn_where_they_are():
    row = boxes.find(np.roll(BEFORE, 1, axis=0), BEFORE, LABELS, CLASSES, meaning=MEANING).rows[0]
    data = dk.Dataset.from_arrays(IMAGES, LABELS, classes=CLASSES)
    lost = next(box for box in row.boxes if box.state == "lost")
    picture = png(data, 0, boxes=[lost])
    assert (picture.width, picture.height) == (SIDE, SIDE)
    pixels = np.asarray(Image.open(io.BytesIO(picture.data)).convert("RGB"))
    assert pixels.shape == (128, 128, 3)  # small images are enlarged
    color = np.array([int(COLORS["lost"][i : i + 2], 16) for i in (1, 3, 5)])
    rows, columns = np.nonzero((pixels == color).all(axis=-1))
    drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 128
    np.testing.assert_allclose(drawn, lost.corners, atol=1 / 128)

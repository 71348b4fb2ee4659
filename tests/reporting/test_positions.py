"""What is said and drawn of masks and tags that a candidate changes."""

import numpy as np
import pytest

from deploykit.core.contract import OutputMeaning
from deploykit.reporting.evidence import positions

SCORES = OutputMeaning("pixels", "scores", "scored", "float32")


def scores(classes, count=3):
    return np.eye(count, dtype=np.float32)[classes]


def test_the_rows_of_a_mask_that_changed_are_drawn():
    truth = np.zeros((3, 4, 5), np.int64)
    truth[:, 1:3, 1:4] = 2
    old, new = truth.copy(), truth.copy()
    old[1, 0, 0] = 1  # wrong before, right now
    new[1, 1, 1:3] = 1  # right before, wrong now
    new[1, 2, 3] = 0
    new[2, 3, 4] = 1
    truth[2, 3, 4] = -1  # it has no label
    found = positions.find(scores(new), scores(old), truth, meaning=SCORES)
    (row,) = found.rows
    assert row.example == 1
    assert row.lost == pytest.approx((3 - 1) / 20)
    assert (row.before, row.after, row.label) == ("19 of 20 right", "17 of 20 right", "20 positions")
    corners = [np.rint(np.multiply(box.corners, (5, 4, 5, 4))).tolist() for box in row.boxes]
    drawn = [(box.state, *where) for box, where in zip(row.boxes, corners, strict=True)]
    assert sorted(drawn) == [("gained", 0, 0, 1, 1), ("lost", 1, 1, 3, 2), ("lost", 3, 2, 4, 3)]
    assert found.summary() == "The 1 example of 3 whose error grew most."


def test_tags_of_tokens_are_written_out():
    truth = np.array([[0, 1, -1], [2, 2, 0]])
    new = np.array([[0, 2, 1], [2, 2, 0]])
    (row,) = positions.find(
        scores(new), scores(np.maximum(truth, 0)), truth, ("O", "B-PER", "I-PER"), meaning=SCORES
    ).rows
    assert (row.example, row.before, row.after, row.label) == (0, "O B-PER", "O I-PER", "O B-PER")
    assert row.lost == pytest.approx(0.5)
    assert row.boxes == ()


def test_without_labels_any_change_counts():
    old = np.zeros((2, 4, 4), np.int64)
    new = old.copy()
    new[0, 0, 0] = 1
    found = positions.find(scores(new), scores(old), None, meaning=SCORES)
    assert [row.example for row in found.rows] == [0]
    assert found.summary() == "The 1 example of 2 whose outputs differ most."

"""Outputs read as the contract says: answers, confidences, missing numbers."""

import numpy as np
import pytest

from deploykit.core.contract import OutputMeaning
from deploykit.measuring.answers import NOT_A_NUMBER, answers, are_classes, read, shares

SOME = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], np.float32)


def meaning(kind, **more):
    return OutputMeaning("y", kind, "scored", more.pop("dtype", "float32"), **more)


def test_scores_answer_with_the_highest():
    assert answers(read(SOME, meaning("scores"))).tolist() == [1, 0]


def test_minus_infinity_is_a_score_and_nan_is_none():
    scores = np.array([[-np.inf, -1.0], [np.nan, 3.0], [2.0, -np.inf]])
    assert answers(scores).tolist() == [1, NOT_A_NUMBER, 0]


@pytest.mark.parametrize(("kind", "values", "wanted"), [
    ("logit", [[-0.2], [0.3], [0.0]], [0, 1, 0]),
    ("probability", [[0.4], [0.6], [0.5]], [0, 1, 0]),
])  # fmt: skip
def test_one_number_for_two_classes(kind, values, wanted):
    found = read(np.array(values, np.float32), meaning(kind))
    assert found.shape == (3, 2)
    assert answers(found).tolist() == wanted


def test_masks_with_their_one_channel_first():
    values = np.array([[[[0.2, 0.8, 0.9], [0.1, 0.6, 0.3]]]])  # one example, one channel, 2 × 3
    found = read(values, meaning("probability", class_axis=1))
    assert answers(found).tolist() == [[[0, 1, 1], [0, 1, 0]]]
    assert read((values > 0.5).astype(int), meaning("classes", class_axis=1)).tolist() == [[[0, 1, 1], [0, 1, 0]]]


def test_names_that_are_numbers_answer_class_numbers():
    assert read(np.array(["2", "0", "cat"], object), meaning("classes", dtype="string")).tolist() == [
        2,
        0,
        NOT_A_NUMBER,
    ]


def test_confidence_of_a_logit_is_its_sigmoid():
    values = np.array([[-2.0], [0.5]])
    found = shares(read(values, meaning("logit")), meaning("logit"))
    np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-values[:, 0])))


def test_confidence_of_scores_is_their_softmax_and_of_probabilities_themselves():
    found = shares(SOME + 3, meaning("scores"))
    np.testing.assert_allclose(found, np.exp(SOME) / np.exp(SOME).sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(shares(SOME, meaning("probabilities")), SOME)
    assert np.isnan(shares(np.array([[np.nan, 1.0]]), meaning("scores"))).all()


def test_class_numbers_and_names():
    assert read(np.array([[2], [0]]), meaning("classes", dtype="int64")).tolist() == [2, 0]
    names = read(np.array([b"dog", b"cat", b"cow"], object), meaning("classes", dtype="string"), ("cat", "dog"))
    assert names.tolist() == [1, 0, NOT_A_NUMBER]
    assert shares(np.array([1, 0]), meaning("classes")).tolist() == [[0, 1], [1, 0]]


def test_classes_that_come_first_are_moved_last():
    masks = np.zeros((2, 3, 4, 5))
    masks[:, 2] = 1
    found = read(masks, meaning("scores", class_axis=1))
    assert found.shape == (2, 4, 5, 3)
    assert (answers(found) == 2).all()


def test_several_labels_by_logits_are_moved_to_one_half():
    found = read(np.array([[-1.0, 2.0]]), meaning("several", threshold=0.0))
    assert (found > 0.5).tolist() == [[False, True]]


@pytest.mark.parametrize(("kind", "shape", "one"), [
    ("scores", (2, 3), True), ("scores", (2, 4, 3), False), ("classes", (2,), True), ("values", (2, 3), False),
])  # fmt: skip
def test_one_answer_an_example(kind, shape, one):
    assert are_classes(meaning(kind), shape) == one


def test_whole_numbers_can_be_scores():
    found = read(np.array([[3, 250, 7], [9, 1, 2]], np.uint8), meaning("scores"))
    assert found.dtype == np.float64
    assert answers(found).tolist() == [1, 0]

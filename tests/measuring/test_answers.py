"""Answers are read from outputs as the metrics read them."""

import numpy as np

from deploykit.measuring.answers import NOT_A_NUMBER, answers, are_classes, are_probabilities, shares
from deploykit.metrics.accuracy import ADAPTER as ACCURACY

SOME = np.array([[0.7, 0.3], [0.5, 0.5], [0.2, 0.8], [np.nan, 0.1], [np.inf, 0.0]], np.float32)


def test_answers_are_right_where_accuracy_counts_them_as_right():
    for outputs in (SOME, SOME[:, :1]):
        for label in (0, 1):
            labels = np.full(len(outputs), label)
            assert ((answers(outputs) == labels) == ACCURACY.values(outputs, labels)).all()
    assert answers(SOME).tolist() == [0, 0, 1, NOT_A_NUMBER, NOT_A_NUMBER]
    assert answers(SOME[:, :1]).tolist() == [1, 0, 0, NOT_A_NUMBER, NOT_A_NUMBER]


def test_one_column_holds_classes_only_where_labels_say_so():
    one = SOME[:, :1]
    assert are_classes(one, np.array([0, 1, 1, 0, 1]))
    assert not are_classes(one, None)
    assert not are_classes(one, np.array([0, 1, 7, 0, 1]))
    assert not are_classes(SOME, np.zeros((5, 2)))


def test_shares_are_those_of_the_answers():
    assert are_probabilities(SOME)
    assert not are_probabilities(SOME + 3)
    for outputs, probabilities in ((SOME, True), (SOME + 3, False), (SOME[:, :1], True)):
        found = shares(outputs, probabilities=probabilities)
        finite = np.isfinite(outputs).all(axis=1)
        assert (np.isnan(found).all(axis=1) == ~finite).all()
        assert (found[finite].argmax(axis=1) == answers(outputs)[finite]).all()
        np.testing.assert_allclose(found[finite].sum(axis=1), 1, atol=1e-6)

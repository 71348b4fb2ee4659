import numpy as np
import pytest

from deploykit.core.errors import DatasetError, SettingError
from deploykit.training.objective import Objective, objective

SOFTMAX = np.full((4, 3), 1 / 3, np.float32)
LOGITS = np.array([[3.0, -1.0, 0.5]], np.float32)
CLASSES = np.array([0, 1, 2, 2])


@pytest.mark.parametrize(
    ("activation", "shape", "labels", "sample", "expected"),
    [
        ("softmax", (None, 3), CLASSES, SOFTMAX, Objective("SparseCategoricalCrossentropy", from_logits=False)),
        ("", (None, 3), CLASSES, SOFTMAX, Objective("SparseCategoricalCrossentropy", from_logits=False)),
        ("linear", (None, 3), CLASSES, LOGITS, Objective("SparseCategoricalCrossentropy", from_logits=True)),
        ("sigmoid", (None, 1), CLASSES % 2, SOFTMAX, Objective("BinaryCrossentropy", from_logits=False)),
        ("linear", (None, 1), CLASSES % 2, LOGITS, Objective("BinaryCrossentropy", from_logits=True)),
        ("sigmoid", (None, 3), np.eye(3), LOGITS, Objective("BinaryCrossentropy", from_logits=False)),
        ("softmax", (None, 3), np.eye(3), SOFTMAX, Objective("CategoricalCrossentropy", from_logits=False)),
        ("linear", (None, 1), np.array([0.5, 7.0]), LOGITS, Objective("MeanSquaredError")),
        ("linear", (None, 1), np.array([18, 42]), LOGITS, Objective("MeanSquaredError")),
        ("linear", (None, 3), np.full((4, 3), 2.5), LOGITS, Objective("MeanSquaredError")),
        ("softmax", (None, 5, 3), np.zeros((4, 5), int), SOFTMAX, Objective("SparseCategoricalCrossentropy", False)),
    ],
)
def test_the_loss_fits_model_and_labels(activation, shape, labels, sample, expected):
    assert objective(activation, shape, labels, sample) == expected


def test_labels_beyond_the_outputs_are_refused():
    with pytest.raises(DatasetError, match="class 3, but the model has 3 outputs"):
        objective("softmax", (None, 3), np.array([0, 3]), SOFTMAX)


def test_labels_of_another_shape_are_refused():
    with pytest.raises(DatasetError, match=r"\(2,\).*\(3,\)"):
        objective("linear", (None, 3), np.full((4, 2), 1.5), LOGITS)


VALUES = np.array([0.5, 7.0])


@pytest.mark.parametrize(
    ("loss", "name"), [("mse", "MeanSquaredError"), ("mae", "MeanAbsoluteError"), ("huber", "Huber")]
)
def test_a_loss_of_values_is_chosen_by_name(loss, name):
    assert objective("linear", (None, 1), VALUES, LOGITS, loss) == Objective(name)
    with pytest.raises(SettingError, match=f"The loss {loss} compares numbers.* a score for each of 3 classes"):
        objective("softmax", (None, 3), CLASSES, SOFTMAX, loss)


def test_cross_entropy_needs_classes():
    chosen = objective("linear", (None, 3), CLASSES, LOGITS, "cross_entropy")
    assert chosen == Objective("SparseCategoricalCrossentropy", from_logits=True)
    with pytest.raises(SettingError, match="The loss cross_entropy compares probabilities"):
        objective("linear", (None, 1), VALUES, LOGITS, "cross_entropy")

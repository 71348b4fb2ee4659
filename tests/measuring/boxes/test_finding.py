"""The form of a detector's outputs is found where it is sure, and asked for where it is not."""

from dataclasses import replace

import numpy as np
import pytest

from deploykit.core.contract import Contract, LabelMeaning, OutputMeaning
from deploykit.core.errors import DatasetError, SettingError, UnsupportedModelError
from deploykit.measuring.boxes.finding import settled
from deploykit.testing.detector import CLASSES, scenes

IMAGES, LABELS = scenes(60, 3)
BATCH = {"image": IMAGES.astype(np.float32)}
PIXELS = np.array([32, 32, 32, 32])
BOXES = LABELS[..., :4].astype(np.float64)
THERE = LABELS[..., 4] >= 0
RNG = np.random.default_rng(0)
SCORES = np.where(THERE, 0.6 + 0.3 * RNG.random(THERE.shape), 0.01 * RNG.random(THERE.shape))
NUMBERS = np.maximum(LABELS[..., 4], 0)
EACH = np.eye(3)[NUMBERS.astype(int)] * SCORES[..., None]


def find(outputs, said=None, *, labels=LABELS, classes=CLASSES, batch=BATCH):
    names = list(outputs)
    meanings = [OutputMeaning(n, "boxes" if n == names[0] else "values", "part", "float32") for n in names]
    contract = Contract((), (replace(meanings[0], role="scored"), *meanings[1:]),
                        LabelMeaning("none" if labels is None else "boxes", len(classes), classes))  # fmt: skip
    given = {name: np.asarray(value, np.float32) for name, value in outputs.items()}
    return settled(contract, given, labels, said or {}, batch)


def centered(boxes):
    return np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], axis=-1)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("form", ["xyxy", "yxyx", "xywh", "cxcywh"])
def test_labels_decide_between_forms_of_boxes(form, first):
    sides = np.concatenate([BOXES[..., :2], BOXES[..., 2:] - BOXES[..., :2]], axis=-1)
    boxes = {"xyxy": BOXES, "yxyx": BOXES[..., [1, 0, 3, 2]], "xywh": sides, "cxcywh": centered(BOXES)}[form]
    found = find({"a": boxes * PIXELS, "b": SCORES, "c": NUMBERS + first, "d": THERE.sum(axis=1)}).detection
    assert (found.format, found.first_class, found.normalized) == (form, first, False)
    assert (found.boxes, found.scores, found.classes, found.count) == ("a", "b", "c", "d")
    assert (found.size, found.nms) == ((32, 32), "inside")
    assert "labels" in found.why


def test_names_of_tensorflow_say_the_form():
    names = ["TFLite_Detection_PostProcess", *(f"TFLite_Detection_PostProcess:{i}" for i in (1, 2, 3))]
    outputs = dict(zip(names, [BOXES[..., [1, 0, 3, 2]], NUMBERS, SCORES, THERE.sum(axis=1)], strict=True))
    contract = find(outputs, labels=None)
    found = contract.detection
    assert (found.format, found.classes, found.scores, found.count) == ("yxyx", *names[1:])
    assert [o.role for o in contract.outputs] == ["scored", "part", "part", "part"]
    assert "yxyx in shares of the image; NMS inside" in str(contract)


def test_rows_of_six():
    rows = np.concatenate([BOXES * PIXELS, SCORES[..., None], NUMBERS[..., None]], axis=-1)
    found = find({"output0": rows}, labels=None).detection
    assert (found.layout, found.format, found.score_column) == ("rows", "xyxy", 4)
    found = find({"output0": rows[..., [0, 1, 2, 3, 5, 4]]}).detection
    assert (found.score_column, found.first_class) == (5, 0)


@pytest.mark.parametrize("objectness", [False, True])
@pytest.mark.parametrize("axis", [1, -1])
def test_heads_of_yolo(objectness, axis):
    anchors = 21 * (3 if objectness else 1)  # 32 x 32 pixels in steps of 8, 16 and 32
    columns = np.zeros((60, anchors, 4 + objectness + 3))
    columns[..., :2] = 32 * RNG.random((60, anchors, 2))
    columns[..., 2:4] = 4
    place = np.arange(THERE.shape[1])
    columns[:, place, :4] = np.where(THERE[..., None], centered(BOXES) * PIXELS, columns[:, place, :4])
    columns[:, place, -3:] = EACH
    columns[:, place, 4] = np.where(objectness, 1.0, columns[:, place, 4])
    whole = np.moveaxis(columns, -1, axis)
    for classes in (CLASSES, ("model", "classes", "are", "not", "those", "of", "the", "data")):
        found = find({"output0": whole}, classes=classes).detection
        assert (found.layout, found.axis, found.objectness) == ("heads", axis, objectness)
        assert (found.format, found.normalized, found.nms, found.activation) == ("cxcywh", False, "outside", "none")


def test_scores_of_each_class_with_a_background():
    odds = np.concatenate([1 - SCORES[..., None], EACH], axis=-1)
    found = find({"boxes": BOXES, "scores": odds}).detection
    assert (found.background, found.activation, found.nms) == ("first", "none", "outside")
    found = find({"boxes": BOXES, "scores": np.log(np.roll(odds, -1, axis=-1) + 1e-9)}).detection
    assert (found.background, found.activation) == ("last", "softmax")


@pytest.mark.parametrize(
    ("outputs", "options", "error", "words"),
    [
        ({"a": BOXES, "b": SCORES, "c": NUMBERS}, {"labels": None}, DatasetError, "'format': 'xyxy' or 'yxyx'"),
        ({"a": RNG.random(BOXES.shape), "b": SCORES, "c": NUMBERS}, {}, DatasetError, "in no way do they fit"),
        ({"a": RNG.normal(0, 3, BOXES.shape), "b": EACH}, {}, UnsupportedModelError, "priors"),
        ({"a": BOXES, "b": NUMBERS}, {}, DatasetError, "boxes={'scores'"),
        ({"a": RNG.random((60, 4, 4, 21))}, {}, UnsupportedModelError, "maps of boxes"),
        ({"a": RNG.integers(0, 9, (60, 30, 7))}, {}, DatasetError, "number of an image"),
        ({"a": 32 * RNG.random((60, 50, 9))}, {}, DatasetError, "objectness"),
        ({"a": 32 * RNG.random((60, 50, 6))}, {"said": {"layout": "rows"}}, DatasetError, "score_column"),
        ({"a": BOXES, "b": SCORES}, {"said": {"scores": "d"}}, SettingError, "'d'"),
    ],
)  # fmt: skip
def test_what_is_not_sure_is_asked_for(outputs, options, error, words):
    with pytest.raises(error) as caught:
        find(outputs, **options)
    assert words in str(caught.value)


def test_what_is_said_stands():
    said = {"format": "yxyx", "first_class": 1, "nms": "outside", "iou": 0.5, "score": 0.2}
    found = find({"a": BOXES, "b": SCORES, "c": NUMBERS}, said).detection
    assert {key: getattr(found, key) for key in said} == said

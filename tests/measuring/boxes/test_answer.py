"""What a served detector has found, beside a decoding by hand."""

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.detection import Detection
from deploykit.core.errors import DatasetError, SettingError

#: Left, top, right, bottom; two lie on each other, one is unsure, one holds another class.
BOXES = np.array([[0.1, 0.1, 0.5, 0.5], [0.12, 0.1, 0.5, 0.52], [0.6, 0.6, 0.9, 0.9], [0.1, 0.6, 0.3, 0.9]])
SCORES = np.array([[0.9, 0], [0.8, 0], [0.2, 0.1], [0, 0.7]])


@pytest.fixture
def contract():
    from deploykit.core.contract import Contract, LabelMeaning, OutputMeaning

    outputs = (
        OutputMeaning("boxes", "boxes", "scored", "float32", (None, 4, 4)),
        OutputMeaning("scores", "values", "part", "float32", (None, 4, 2)),
    )
    detection = Detection("parts", "xyxy", "boxes", "scores", nms="outside", iou=0.5, score=0.01, most=10)
    return Contract((), outputs, LabelMeaning(named=("cat", "dog")), detection=detection)


def test_boxes_are_those_that_are_sure_and_not_suppressed(contract):
    answer = {"boxes": BOXES[None].astype(np.float32), "scores": SCORES[None].astype(np.float32), "more": np.zeros(3)}
    (found,) = dk.detections(answer, contract)
    assert [(box.label, round(box.score, 3)) for box in found] == [("cat", 0.9), ("dog", 0.7)]
    assert (found[1].left, found[1].top, found[1].right, found[1].bottom) == pytest.approx(tuple(BOXES[3]))
    (every,) = dk.detections(answer, contract, min_score=0.15)
    assert [round(box.score, 3) for box in every] == [0.9, 0.7, 0.2]


def test_what_cannot_be_read_is_said(contract):
    answer = {"boxes": BOXES[None], "scores": SCORES[None]}
    with pytest.raises(DatasetError, match="read from boxes, scores; missing: scores"):
        dk.detections({"boxes": BOXES[None]}, contract)
    with pytest.raises(DatasetError, match="hold NaN"):
        dk.detections({**answer, "scores": SCORES[None] * np.nan}, contract)
    with pytest.raises(SettingError, match="min_score must be between 0 and 1, got 2"):
        dk.detections(answer, contract, min_score=2)
    with pytest.raises(SettingError, match="Expected an artifact, a report or an examined model, got str"):
        dk.detections(answer, "model.onnx")


def test_a_model_of_another_kind_is_refused(zoo):
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((160, 8, 8, 1)).astype(np.float32), rng.integers(0, 3, 160))
    with pytest.raises(DatasetError, match="The model is not a detector"):
        dk.detections(np.zeros((1, 3)), dk.examine(dk.load(zoo("cnn_keras")), data))

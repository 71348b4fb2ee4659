"""A detector from its data to its exported folder: the mAP that a sweep reports is pycocotools' of what it stores."""

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import SettingError
from deploykit.testing.detector import CLASSES, scenes
from tests.metrics.coco_reference import coco_precision

STEPS = dk.Preprocess(scale=1 / 255, layout="channels_first")


@pytest.fixture(scope="module")
def detector(zoo):
    return dk.load(zoo("detector_onnx"))


@pytest.fixture(scope="module")
def data():
    return dk.Dataset.from_arrays(*scenes(200), classes=CLASSES, preprocess=STEPS)


@pytest.fixture(scope="module")
def report(detector, data, tmp_path_factory):
    space = dk.Space([Recipe((Step("quantize_static"),))], [Target("onnxruntime")])
    return dk.sweep(detector, data, space, store=tmp_path_factory.mktemp("store") / "s", launches=0)


def test_the_contract_says_how_boxes_are_read(report):
    detection = report.contract.detection
    assert (detection.format, detection.normalized, detection.nms) == ("xyxy", True, "outside")
    assert [o.role for o in report.contract.outputs] == ["scored", "part"]
    assert "boxes of 3 classes" in str(report.contract)


def test_a_sweep_is_judged_by_map(report, data):
    original, int8 = (next(r for r in report.rows if (r.candidate.recipe.steps == ()) == o) for o in (True, False))
    for row in (original, int8):
        scores = {score.metric: score for score in row.measurement.scores}
        whole, half = coco_precision(report.choice_for(row.key).outputs(), data.labels())
        assert scores["mean_average_precision"].value == pytest.approx(whole, abs=1e-6)
        assert scores["mean_average_precision_50"].value == pytest.approx(half, abs=1e-6)
        assert row.measurement.score.metric == "mean_average_precision"
    assert original.measurement.score.value > 0.6
    drop = int8.measurement.score.drop
    assert drop.low < drop.value < drop.high


def test_data_without_labels_are_judged_by_the_originals_boxes(detector, tmp_path):
    images, _ = scenes(60)
    data = dk.Dataset.from_arrays(images, classes=CLASSES, preprocess=STEPS)
    found = dk.examine(detector, data, boxes={"format": "xyxy"})
    assert found.failure == ""
    assert found.contract.detection.format == "xyxy"
    space = dk.Space([], [Target("onnxruntime")])
    report = dk.sweep(detector, data, space, store=tmp_path / "s", launches=0, boxes={"format": "xyxy"})
    scores = {score.metric: score.value for score in report.rows[0].measurement.scores}
    assert scores == {"box_agreement": 1.0}
    refused = dk.examine(detector, data, scores="boxes")
    assert "'format': 'xyxy' or 'yxyx' or 'xywh' or 'cxcywh'" in refused.failure


def test_an_export_answers_as_it_was_measured(report, tmp_path, caplog):
    artifact = dk.export(report.best(minimize="size", max_drop=0.5), tmp_path / "served")
    assert dk.verify(artifact).ok
    assert not caplog.text  # it is watched as well


def test_what_a_server_answers_is_read_as_boxes(report, tmp_path):
    """In these scenes the detector is right by construction: what it finds is where the scenes say."""
    original = next(row for row in report.rows if not row.candidate.recipe.steps)
    artifact = dk.export(report.choice_for(original.key), tmp_path / "served")
    images, labels = scenes(12, seed=4)
    with dk.serve(artifact, port=0) as server:
        found = dk.detections(server.predict(images), server.artifact, min_score=0.5)
    assert sum(map(len, found)) == (labels[..., 4] >= 0).sum() > 12
    for boxes, wanted in zip(found, labels, strict=True):
        there = {(CLASSES[int(row[4])], *row[:4].round(2)) for row in wanted[wanted[:, 4] >= 0].astype(float)}
        near = [min(max(abs(a - b) for a, b in zip(corners(box), one[1:], strict=True)) for one in there
                    if one[0] == box.label) for box in boxes]  # fmt: skip
        assert all(distance < 0.07 for distance in near), near


def test_boxes_are_shares_of_the_image_that_was_sent(detector, tmp_path):
    """A picture that is twice as wide as the model's images gets bars; its boxes lie where they lay."""
    images, labels = scenes(60, seed=4)
    step = dk.Preprocess(**{**STEPS.settings, "resize": images.shape[1:3], "fit": "letterbox"})
    data = dk.Dataset.from_arrays(images, labels, classes=CLASSES, preprocess=step)
    artifact = dk.export(dk.build(detector, dk.Recipe(()), data, target="onnxruntime"), tmp_path / "served")
    high, wide = images.shape[1:3]
    one, size = int(np.argmax((labels[..., 4] >= 0).sum(axis=1))), (2 * high, 4 * wide)
    sent = np.full((1, *size, 3), 114, np.uint8)
    sent[0, :, wide : 3 * wide] = images[one].repeat(2, axis=0).repeat(2, axis=1)  # its own bars, then the server's
    with dk.serve(artifact, port=0) as server:
        answer = server.predict(sent)
        (boxes,) = dk.detections(answer, server.artifact, min_score=0.0, sizes=[size])
        (inside,) = dk.detections(answer, server.artifact, min_score=0.0)
        with pytest.raises(SettingError, match="one size for each of 1 images, got 2"):
            dk.detections(answer, server.artifact, sizes=[size, size])
    assert len(boxes) == len(inside) > 0
    for box, bare in zip(boxes, inside, strict=True):
        assert (box.left, box.right) == pytest.approx((bare.left, bare.right))
        # Half of the rows are bars, a quarter above and a quarter below.
        wanted = tuple(min(1, max(0, 2 * (edge - 0.25))) for edge in (bare.top, bare.bottom))
        assert (box.top, box.bottom) == pytest.approx(wanted, abs=0.02)


def corners(box):
    return box.left, box.top, box.right, box.bottom

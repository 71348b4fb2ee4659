"""Latency and quality by length: of a tiny encoder, whose scores are counted again with numpy."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

import deploykit as dk
from deploykit.core.errors import CandidateError, SettingError
from deploykit.reporting.evidence.by_length import real_lengths
from deploykit.testing import transformers


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lengths")
    onnx.save(transformers.encoder(), str(folder / "encoder.onnx"))
    feeds = transformers.sentences(80, 24)
    labels = np.arange(80) % 3
    space = dk.Space(
        [dk.Recipe((dk.Step("quantize_dynamic", {"operators": "matmul"}),))],
        [dk.Target("onnxruntime", lengths=(32, 8, 16, 8))],
    )
    model = dk.load(folder / "encoder.onnx")
    return dk.sweep(model, (feeds, labels), space, store=folder / "s", launches=2, progress=lambda _p: None)


@pytest.mark.long
def test_every_length_has_a_latency_and_the_score_of_its_examples(swept):
    choice = swept.choice_for(swept.rows[-1].key)
    found = choice.lengths()
    assert [row.length for row in found.rows] == [8, 16, 32]
    assert all(row.p50_ms.low < row.p50_ms.value < row.p50_ms.high for row in found.rows)
    assert all(row.speedup.low <= row.speedup.value <= row.speedup.high for row in found.rows)
    inputs, labels = swept.data.splits["evaluation"].inputs, swept.data.labels("evaluation")
    tokens = inputs["attention_mask"].sum(axis=1)
    session = onnxruntime.InferenceSession(str(swept.path / choice.result.artifact))
    right = session.run(None, dict(inputs))[0].argmax(axis=1) == labels
    for row, (low, high) in zip(found.rows, ((0, 8), (8, 16), (16, 32)), strict=True):
        chosen = (tokens > low) & (tokens <= high)
        assert row.examples == chosen.sum() >= 5
        assert row.score.value == pytest.approx(right[chosen].mean())
    records = found.to_frame()
    assert records.examples.sum() == len(labels)
    assert "By length, 8: " in choice.explain()
    chart = found.chart().to_dict()
    assert "over length" in chart["description"]
    assert len(chart["hconcat"]) == 2
    assert dk.Report.open(swept.path).rows == swept.rows


@pytest.mark.long
def test_what_was_not_timed_by_length_says_how(swept):
    row = swept.rows[-1]
    plain = replace(row, measurement=replace(row.measurement, lengths=()))
    other = dk.Report(swept.path, [swept.rows[0], plain], swept.facts)
    with pytest.raises(CandidateError, match="lengths="):
        other.choice_for(row.key).lengths()


def test_lengths_are_for_free_dimensions(onnx_model, images, tmp_path):
    space = dk.Space([], [dk.Target("onnxruntime", lengths=(16,))])
    with pytest.raises(SettingError, match="free dimensions besides the batch"):
        dk.plan(onnx_model, images, space, check=False)
    with pytest.raises(SettingError, match="at least 1"):
        dk.plan(onnx_model, images, dk.Space([], [dk.Target("onnxruntime", lengths=(0,))]), check=False)


def test_a_target_without_lengths_keeps_its_key():
    assert dk.Target("onnxruntime").to_json() == {
        "runtime": "onnxruntime", "device": "cpu", "threads": 1, "batch_size": 1,
    }  # fmt: skip
    target = dk.Target("onnxruntime", lengths=(64, 16))
    assert dk.Target.from_json(target.to_json()) == target
    assert target.lengths == (16, 64)


def test_padding_is_not_counted():
    mask = np.array([[0, 0, 1, 1], [1, 1, 1, 1]])
    ids = np.array([[5, 0, 3, 0], [0, 0, 0, 0], [1, 2, 3, 4]])
    assert real_lengths({"ids": ids[:2], "attention_mask": mask}).tolist() == [2, 4]
    assert real_lengths({"ids": ids}).tolist() == [3, 0, 4]
    assert real_lengths({"image": np.zeros((2, 3, 8, 8))}) is None

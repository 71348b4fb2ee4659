"""What the Hub finds in the folder; `make proof` has its own library read the card."""

import dataclasses

import pytest
import yaml

from deploykit.core.candidate import Candidate, Recipe, Step
from deploykit.core.result import Interval, Measurement, Result, Score
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.testing.exporters import exportable

SCORE = Score("accuracy", 0.91, Interval(-0.01, -0.03, 0.01), Interval(0.01, -0.01, 0.03), 60)
TEST = dataclasses.replace(SCORE, value=0.9, examples=40)


def front(path):
    """The metadata and the text of a card."""
    start, metadata, text = (path / "README.md").read_text("utf-8").split("---\n", 2)
    assert not start
    return yaml.safe_load(metadata), text


@pytest.fixture
def measured(cnn):
    recipe = Recipe((Step("quantize_dynamic"),))
    found = Measurement((SCORE,), None, 1234, 999, confirmation=TEST)
    row = Result("k", Candidate(recipe, cnn.target), "measured", "original", "original", measurement=found)
    return dataclasses.replace(cnn, recipe=recipe, result=row)


def test_metadata_of_a_measured_candidate(measured, tmp_path):
    artifact = export(measured, tmp_path / "out", layout="huggingface", name="shoes", license="Apache-2.0")
    metadata, text = front(artifact.path)
    assert metadata["license"] == "apache-2.0"
    assert metadata["library_name"] == "deploykit"
    assert metadata["pipeline_tag"] == "image-classification"
    assert metadata["tags"] == ["deploykit", "onnx", "quantize_dynamic"]
    (index,) = metadata["model-index"]
    assert [(r["dataset"]["split"], r["metrics"][0]["value"]) for r in index["results"]] == [
        ("evaluation", 0.91), ("test", 0.9),
    ]  # fmt: skip
    assert text.startswith("\n# Model card: shoes\n")
    assert verify(artifact).ok
    assert "*.onnx filter=lfs" in (artifact.path / ".gitattributes").read_text("utf-8")


def test_what_is_not_known_is_left_out(cnn, tmp_path):
    metadata, _ = front(export(cnn, tmp_path / "out", layout="huggingface").path)
    assert metadata.keys() == {"library_name", "pipeline_tag", "tags"}


def test_a_license_of_ones_own_and_a_task_that_is_said(tmp_path):
    artifact = export(
        exportable("matmul_onnx", tmp_path), tmp_path / "out", layout="huggingface", license="ACME-1: internal",
        parameters={"task": "time-series-forecasting"},
    )  # fmt: skip
    metadata, _ = front(artifact.path)
    assert (metadata["license"], metadata["license_name"]) == ("other", "ACME-1: internal")
    assert metadata["pipeline_tag"] == "time-series-forecasting"

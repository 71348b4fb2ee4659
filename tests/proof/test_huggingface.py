"""The Hub's own library, against the card of its layout; nothing is sent anywhere."""

import dataclasses

import pytest

from deploykit.core.candidate import Candidate
from deploykit.core.result import Interval, Measurement, Result, Score
from deploykit.exporters._export import export
from deploykit.testing.exporters import exportable

SCORE = Score("accuracy", 0.91, Interval(-0.01, -0.03, 0.01), Interval(0.01, -0.01, 0.03), 60)


@pytest.mark.proves("huggingface", "schema", by="huggingface_hub 2.4")
@pytest.mark.proof("The card of the layout `huggingface` is read with its results", against="huggingface_hub")
def test_the_card_is_read(packages, versions, tmp_path):
    cnn = exportable("cnn_onnx", tmp_path)
    measured = Measurement((SCORE,), None, 1234, 999, confirmation=dataclasses.replace(SCORE, value=0.9))
    row = Result("k", Candidate(cnn.recipe, cnn.target), "measured", "original", "original", measurement=measured)
    chosen = dataclasses.replace(cnn, result=row)
    artifact = export(chosen, tmp_path / "out", layout="huggingface", name="shoes", license="MIT")
    found = packages("huggingface_hub==2.4.0")("hub_card.py", artifact.path)
    versions(**found.pop("versions"))
    assert found == {
        "license": "mit", "library": "deploykit", "task": "image-classification", "tags": ["deploykit", "onnx"],
        "model": "shoes", "same": True, "title": "# Model card: shoes",
        "results": [
            {"metric": "accuracy", "value": 0.91, "task": "image-classification", "split": "evaluation"},
            {"metric": "accuracy", "value": 0.9, "task": "image-classification", "split": "test"},
        ],
    }  # fmt: skip

"""How far a served text is padded: as it was measured, unless the original's answers do not depend on it."""

import pytest

import deploykit as dk
from deploykit.testing import sequences


@pytest.mark.long
def test_a_candidate_of_a_model_that_depends_on_padding_is_padded_as_it_was_measured(tmp_path):
    made = sequences.entities(tmp_path)  # its convolution sees the padding behind the last word
    report = dk.sweep(
        dk.load(made.model), made.data, dk.Space(["quantize_static"], ["onnxruntime"]), store=tmp_path / "store",
        launches=0, progress=lambda _: None,
    )  # fmt: skip
    assert report.contract.padding_dependent
    length = report.data.preprocess["text"].tokenizer.length
    for row in report.rows:
        artifact = dk.export(report.choice_for(row.key), tmp_path / row.key)
        assert artifact.manifest.preprocess["text"].tokenizer.length == length > 0

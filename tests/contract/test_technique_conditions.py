"""A technique of another package that reads the original model and examples, expects something, and promises more."""

from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.testing import work
from deploykit.testing.transforms import TechniqueConformance, VariantConformance

_EXAMPLE = Path(__file__).parent / "example" / "match_answers.py"
_ENTRY_POINTS = """[deploykit.transforms]
match_answers = match_answers:ADAPTER
match_falsely = match_answers:LYING
"""
MATCH, PRUNE, FALSE = Step("match_answers"), Step("prune_magnitude", {"epochs": 0}), Step("match_falsely")
KERAS = Target("onnxruntime")


@pytest.fixture(autouse=True)
def installed(install):
    install(_EXAMPLE, _ENTRY_POINTS)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return work.made("wide_cnn", tmp_path_factory.mktemp("models"))


@pytest.fixture
def images():
    return np.random.default_rng(0).random((120, 8, 8, 1)).astype(np.float32)


class TestItsConformance(TechniqueConformance):
    @pytest.fixture
    def name(self):
        return "match_answers"


class TestItsVariant(VariantConformance):
    @pytest.fixture
    def name(self):
        return "match_answers"

    @pytest.fixture
    def variant(self):
        return "match_keras"

    @pytest.fixture
    def data(self, images, tmp_path):
        dk.Dataset.from_arrays(images, calibration_size=20).save(tmp_path / "data")
        return tmp_path / "data"


def test_it_learns_from_the_original_without_labels(source, images, tmp_path):
    """In a sweep, where the original model travels with the step."""
    recipes = [Recipe((MATCH,)), Recipe((MATCH, Step("quantize_dynamic"))), Recipe((FALSE,))]
    report = dk.sweep(
        dk.load(source), dk.Dataset.from_arrays(images), dk.Space(recipes, [KERAS]), store=tmp_path / "s", launches=0,
        progress=lambda _p: None,
    )  # fmt: skip
    rows = {row.label: row for row in report.rows}
    notes = rows["matched answers"].notes["match_answers"]
    assert notes["loss"] == "KLDivergence"
    assert len(notes["held_out_by_epoch"]) == 2
    assert rows["matched answers → int8 dynamic"].status == "measured"
    failed = rows["falsely matched answers"]
    assert failed.status == "failed"
    assert "matching answers (Keras) does not keep its word: it has" in failed.failure.cause
    assert "technique's author" in failed.failure.remedy


def test_an_order_that_makes_no_sense_is_refused_with_the_reason(source, images):
    data = dk.Dataset.from_arrays(images)
    plan = dk.plan(dk.load(source), data, dk.Space([Recipe((PRUNE, MATCH)), Recipe((MATCH, PRUNE))], [KERAS]))
    assert [o.reason for o in plan.left_out] == [
        "matched answers after magnitude pruning: it is already pruned; prune after it"
    ]
    assert Recipe((MATCH, PRUNE)) in [c.candidate.recipe for c in plan.candidates]


def test_what_it_needs_follows_its_parameters(source, images):
    plan = dk.plan(
        dk.load(source), dk.Dataset.from_arrays(images),
        dk.Space([Recipe((MATCH,)), Recipe((Step("match_answers", {"epochs": 0}),))], [KERAS]),
    )  # fmt: skip
    steps = [step for step in plan.steps.values() if step.adapter == "match_answers"]
    assert sorted(step.needs for step in steps) == [(), ("teacher", "train")]

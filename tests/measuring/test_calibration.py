"""Calibration error against its definition, and the change's interval against a known truth."""

import numpy as np
import pytest

from deploykit.core.contract import OutputMeaning
from deploykit.core.errors import DatasetError
from deploykit.measuring.calibration import BINS, Gaps, change
from deploykit.reporting.evidence import calibration

PROBABILITIES = OutputMeaning("y", "probabilities", "scored", "float32")


def softmax(scores):
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def answers_of(shares, labels):
    return Gaps.of(shares, shares.argmax(axis=1), labels)


def world(count, random, before=1.0, after=1.0):
    """Labels drawn from known probabilities, and two models: the truth sharpened by a factor each."""
    scores = random.normal(0, 2.6, (count, 10))
    truth = softmax(scores)
    labels = (truth.cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)
    noise = random.normal(0, 0.1, scores.shape)
    return softmax(before * scores), softmax(after * (scores + noise)), labels


def by_definition(shares, labels):
    """Sum over the bins of their share of the examples times |accuracy - confidence|."""
    total = 0.0
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == labels
    for low in np.arange(BINS) / BINS:
        inside = (confidence >= low) & (confidence < low + 1 / BINS)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def test_the_error_is_that_of_the_definition():
    before, after, labels = world(2000, np.random.default_rng(0), 1.0, 1.7)
    for shares in (before, after):
        assert answers_of(shares, labels).error() == pytest.approx(by_definition(shares, labels), abs=1e-9)


def test_chance_alone_is_not_an_error_after_the_correction():
    plain, corrected = [], []
    for seed in range(60):
        shares, _, labels = world(300, np.random.default_rng(seed))
        found = answers_of(shares, labels)
        plain.append(found.error())
        corrected.append(found.corrected())
    assert np.mean(plain) > 0.04  # the model is calibrated perfectly
    assert abs(np.mean(corrected)) < 3 * np.std(corrected) / np.sqrt(60)
    assert min(corrected) < 0 < max(corrected)


@pytest.mark.parametrize("after", [1.3, 1.0])
def test_the_interval_covers_the_true_change(after):
    big = world(400_000, np.random.default_rng(99), 1.0, after)
    truth = by_definition(big[1], big[2]) - by_definition(big[0], big[2])
    covered, plain = 0, []
    for seed in range(30):
        first, second, labels = world(2500, np.random.default_rng(seed), 1.0, after)
        old, new = answers_of(first, labels), answers_of(second, labels)
        found = change(old, new, seed)
        covered += found.low <= truth <= found.high
        plain.append(new.error() - old.error())
    assert covered >= 26
    if after > 1:
        assert np.mean(plain) < 0.8 * truth  # what the correction is for


def test_models_that_answer_alike_do_not_differ():
    shares, _, labels = world(500, np.random.default_rng(1))
    found = calibration.compare(shares, shares, labels, meaning=PROBABILITIES)
    assert (found.change.value, found.change.low, found.change.high) == (0.0, 0.0, 0.0)
    assert found.claim == "same"
    assert "no change is confirmed" in found.summary()


def test_overconfidence_is_found_and_said():
    before, after, labels = world(3000, np.random.default_rng(2), 1.0, 1.7)
    found = calibration.compare(after, before, labels, meaning=PROBABILITIES)
    assert found.claim == "worse"
    assert "too sure on the whole" in found.summary()
    right = after.argmax(axis=1) == labels
    assert found.overconfidence_after == pytest.approx(after.max(axis=1).mean() - right.mean())
    for side, shares in (("before", before), ("after", after)):
        mine = [one for one in found.bins if one.side == side]
        assert sum(one.examples for one in mine) == 3000
        error = sum(one.examples * abs(one.accuracy.value - one.confidence) for one in mine) / 3000
        assert error == pytest.approx(by_definition(shares, labels))
    back = calibration.compare(before, after, labels, meaning=PROBABILITIES)
    assert back.change.value == pytest.approx(-found.change.value)
    spec = found.chart().to_dict()
    assert spec["description"].endswith(found.summary())
    assert calibration.Calibration.from_json(found.to_json()) == found


def test_what_has_no_confidences_is_refused():
    shares, _, labels = world(50, np.random.default_rng(3))
    with pytest.raises(DatasetError, match="there are no labels"):
        calibration.compare(shares, shares, None, meaning=PROBABILITIES)
    numbers = OutputMeaning("y", "classes", "scored", "int64")
    with pytest.raises(DatasetError, match="holds classes"):
        calibration.compare(labels, labels, labels, meaning=numbers)
    nothing = np.full_like(shares, np.nan)
    with pytest.raises(DatasetError, match="No example has finite scores"):
        calibration.compare(nothing, shares, labels, meaning=PROBABILITIES)

import numpy as np
import pytest

from deploykit.core.errors import DeploykitError, SettingError
from deploykit.monitoring.accuracy import ErrorDetector, Labeled, estimate
from deploykit.monitoring.detector import DriftDetector
from deploykit.monitoring.fitting import fit
from deploykit.monitoring.profile import Profile
from tests.monitoring import streams


def _watched(images: object, labels: object) -> tuple[DriftDetector, float]:
    rng = np.random.default_rng(2)
    detector = DriftDetector(streams.profile(), block=1)
    chosen = rng.integers(0, len(np.asarray(images)), 3000)
    detector.add(streams.taken(streams.observed(images), chosen))
    right = streams.answered(images)[1]["class"].argmax(1) == labels
    return detector, float(right[chosen].mean())


def test_the_estimate_is_near_the_truth_as_long_as_inputs_are_like_the_reference() -> None:
    known = streams.digits()
    hard = np.flatnonzero(np.isin(known.labels, (1, 3, 8, 9)))
    noisy = known.images + np.random.default_rng(0).normal(0, 1, known.images.shape).astype(np.float32)
    for images, labels in (
        (known.images, known.labels),
        (known.images[hard], known.labels[hard]),
        (noisy, known.labels),
    ):
        detector, truth = _watched(images, labels)
        found = estimate(detector)
        assert found.valid
        assert found.value is not None
        assert abs(found.value - truth) < 0.03
        assert found.low <= truth <= found.high or images is not known.images  # no guarantee under drift
        assert found.loss == pytest.approx(found.reference - found.value)


def test_it_is_not_valid_when_inputs_are_unlike_the_reference() -> None:
    known = streams.digits()
    detector, truth = _watched(16 - known.images, known.labels)
    found = estimate(detector)
    assert truth < 0.4
    assert not found.valid
    assert found.why == "inputs are unlike the reference"
    assert str(found) == "No valid estimate of accuracy: inputs are unlike the reference."


def test_without_labels_or_with_few_requests_there_is_no_estimate() -> None:
    inputs, outputs, _ = streams.answered(streams.digits().images[:200])
    bare = fit(inputs, outputs, "class", "probabilities", model=streams.MODEL)
    assert "without labels" in estimate(DriftDetector(bare)).why
    assert "only 0 requests" in estimate(DriftDetector(streams.profile())).why
    with pytest.raises(SettingError, match="last"):
        estimate(DriftDetector(streams.profile()), last=0)
    with pytest.raises(DeploykitError, match="made without labels"):
        ErrorDetector(bare)


def _run_length(run_length: int) -> float:
    rng, profile = np.random.default_rng(0), streams.profile()
    edge = 1 - profile.head.calibrated.accuracy + 0.01
    total = alarms = 0
    for _ in range(20):
        detector = ErrorDetector(profile, run_length=run_length)
        found = detector.add((rng.random(600) < edge).astype(int), np.zeros(600))
        total += found.alarmed_at or 600
        alarms += found.alarm
    return total / max(alarms, 1)


def test_the_run_length_of_errors_holds_at_the_edge_of_the_tolerance() -> None:
    assert _run_length(3000) >= 3000
    assert _run_length(300) < 3000


def test_more_errors_are_found_and_counted_since_they_began() -> None:
    rng, profile = np.random.default_rng(1), streams.profile()
    detector, wrong = ErrorDetector(profile), 1 - profile.head.calibrated.accuracy
    assert not detector.add((rng.random(1500) < wrong).astype(int), np.zeros(1500), time=10.0).alarm
    detector = ErrorDetector.from_json(profile, detector.to_json())  # across a restart
    errors = rng.random(1500) < wrong + 0.1
    found = detector.add(errors.astype(int), np.zeros(1500), time=20.0)
    assert found.alarm
    assert found.since_label is not None
    assert abs(found.since_label - 1500) < 250
    assert found.loss == pytest.approx(0.1, abs=0.04)
    assert Labeled.from_json(found.to_json()) == found
    detector.reset()
    assert not detector.labeled.alarm


def _regression() -> tuple[Profile, np.random.Generator]:
    rng = np.random.default_rng(0)
    x, y = rng.random((800, 3)), rng.normal(0, 1, (800, 1))
    return fit({"x": x}, {"y": y}, "y", "values", model=streams.MODEL, labels=y + rng.laplace(0, 0.2, (800, 1))), rng


def test_real_numbers_have_mean_absolute_and_root_mean_squared_errors() -> None:
    profile, rng = _regression()
    detector, answers = ErrorDetector(profile), rng.normal(0, 1, (500, 1))
    labels = answers + rng.laplace(0, 0.2, (500, 1))
    found = detector.add(answers, labels)
    assert not found.alarm
    assert found.absolute_error == pytest.approx(np.abs(answers - labels).mean())
    assert found.root_squared_error == pytest.approx(np.sqrt(((answers - labels) ** 2).mean()))
    worse = detector.add(answers, answers + rng.laplace(0, 0.4, (500, 1)))
    assert worse.alarm
    assert worse.loss == pytest.approx(0.2, abs=0.1)


def test_labels_that_do_not_fit_and_states_of_others_are_refused() -> None:
    detector = ErrorDetector(streams.profile())
    for answers, labels in (([1, 2], [1]), ([1.0], [np.nan]), (["a"], ["b"]), (1, 1)):
        with pytest.raises(DeploykitError):
            detector.add(answers, labels)
    for state in ({}, None, {**detector.to_json(), "model": "x"}, {**detector.to_json(), "evidence": [1]}):
        with pytest.raises(DeploykitError, match="Cannot read the state"):
            ErrorDetector.from_json(streams.profile(), state)
    for wrong in ({"tolerance": 2}, {"run_length": 1}):
        with pytest.raises(SettingError):
            ErrorDetector(streams.profile(), **wrong)  # type: ignore[arg-type]

import math

import numpy as np
import pytest

from deploykit.core.errors import DeploykitError, SettingError
from deploykit.monitoring.bursts import Bursts
from deploykit.monitoring.detector import DriftDetector
from deploykit.monitoring.fitting import fit
from deploykit.monitoring.gathering import Gathered, Gatherer, bets
from deploykit.monitoring.profile import Observed
from tests.monitoring import streams


def _bare(features: object) -> Observed:
    rows = np.asarray(features, np.float32)
    return Observed(rows, np.ones(len(rows)), None)


def _run_length(run_length: int) -> float:
    """Requests for each false alarm, at the very edge of what counts as no drift, all features moving together."""
    rng = np.random.default_rng(1)
    x, y = rng.random((400, 1)), rng.random((400, 1))
    profile = fit({"x": x}, {"y": y}, "y", "values", model=streams.MODEL)
    edge = np.minimum(profile.means + profile.band, 1)
    total = alarms = 0
    for _ in range(30):
        detector = DriftDetector(profile, run_length=run_length, block=1)
        detector.add(_bare(rng.random((10_000, 1)) < edge))
        total += detector.alarmed_at or 10_000
        alarms += detector.alarmed_at is not None
    return total / max(alarms, 1)


def test_the_run_length_is_what_is_guaranteed_and_this_test_would_fail_at_a_tenth_of_it() -> None:
    assert _run_length(100_000) >= 100_000
    assert _run_length(10_000) < 100_000


def test_the_recursion_is_shiryaev_and_roberts_written_out() -> None:
    profile = streams.profile()
    rows = streams.observed(streams.digits().images[:130]).features
    detector = DriftDetector(profile, block=1)
    detector.add(_bare(rows))
    total = []
    for k, (mean, band) in enumerate(zip(profile.means, profile.band, strict=True)):
        high, low = min(mean + band, 1), max(mean - band, 0)
        for bet in (0.08, 0.35):
            for slope, edge in ((bet / max(high, 0.02), high), (-bet / max(1 - low, 0.02), low)):
                value = 0.0
                for start in (0, 64, 128):
                    step = rows[start : start + 64, k].astype(float)
                    value = (value + len(step)) * math.prod(1 + slope * (x - edge) for x in step)
                total.append(value)
    assert detector.evidence == pytest.approx(np.mean(total), rel=1e-3)


def test_no_bet_can_lose_everything_and_each_is_fair_at_the_edge() -> None:
    profile = streams.profile()
    for block in (1, 32):
        constants, slopes = bets(profile, block)
        assert (np.minimum(constants, constants + slopes) >= 0.09).all()
        edges = np.stack([np.minimum(profile.means + profile.band, 1), np.maximum(profile.means - profile.band, 0)])
        assert np.allclose(constants + slopes * np.repeat(edges, 2, axis=0), 1, atol=1e-6)


def _alarm(images: object, clean: int = 1536, most: int = 6400) -> DriftDetector:
    rng = np.random.default_rng(3)
    before, after = streams.observed(streams.digits().images), streams.observed(images)
    detector = DriftDetector(streams.profile())
    detector.add(streams.taken(before, rng.integers(0, len(before), clean)), time=100.0)
    while detector.alarmed_at is None and detector.requests < clean + most:
        detector.add(streams.taken(after, rng.integers(0, len(after), 64)), time=50.0)  # a clock that jumps back
    return detector


def test_inverted_images_are_found_at_once_with_what_has_moved_and_since_when() -> None:
    drift = _alarm(16 - streams.digits().images).drift
    assert drift.alarm
    assert drift.settled
    assert drift.alarmed_at is not None
    assert drift.alarmed_at - 1536 <= 128
    assert abs((drift.since_request or 0) - 1536) <= 128
    assert (drift.since, drift.alarmed) == (50.0, 50.0)
    assert drift.unlike
    assert drift.share > 0.8
    assert "image: mean" in {m.name for m in drift.moved}
    assert str(drift).startswith("Since request 1,536 at least")


def test_more_of_one_class_is_drift_of_answers_and_not_of_inputs_unlike_the_reference() -> None:
    known = streams.digits()
    detector = _alarm(np.concatenate([known.images, known.images[known.labels == 3], known.images[known.labels == 3]]))
    drift = detector.drift
    assert drift.alarm
    assert not drift.unlike
    assert "class 3 predicted" in {m.name for m in drift.moved}
    assert 0.1 < drift.share < 0.5
    assert type(drift).from_json(drift.to_json()) == drift


def test_clean_requests_of_many_references_raise_no_alarm() -> None:
    rng = np.random.default_rng(0)
    for seed in range(3):
        profile = streams.profile(seed)
        known = streams.observed(streams.digits().images, profile)
        detector = DriftDetector(profile)
        detector.add(streams.taken(known, rng.integers(0, len(known), 30_000)))
        assert not detector.drift.alarm
        assert detector.block == 1


def test_bursts_of_one_class_are_no_drift_once_their_length_is_known() -> None:
    rng = np.random.default_rng(0)
    known = streams.observed(streams.digits().images)
    by_class = [np.flatnonzero(streams.digits().labels == c) for c in range(10)]
    classes = rng.choice(10, 2000, p=[len(p) / len(known) for p in by_class])
    stream = np.concatenate([rng.choice(by_class[c], 20) for c in classes])
    measured, careless = DriftDetector(streams.profile()), DriftDetector(streams.profile(), block=1)
    measured.add(streams.taken(known, stream))
    careless.add(streams.taken(known, stream))
    assert measured.block >= 32
    assert not measured.drift.alarm
    assert careless.drift.alarm


def test_blocks_are_means_of_whole_blocks_however_requests_come() -> None:
    rows = streams.observed(streams.digits().images[:100])
    gatherer = Gatherer(streams.profile(), block=8)
    for start, stop in ((0, 3), (3, 30), (30, 31), (31, 100)):
        gatherer.add(streams.taken(rows, slice(start, stop)))
    found = gatherer.take()
    means = rows.features[:96].reshape(12, 8, -1).mean(1)
    constants, slopes = bets(streams.profile(), 8)
    assert (found.requests, found.counted) == (100, 96)
    assert np.allclose(found.logs, np.log(constants + means[:, None] * slopes).sum(0), atol=1e-4)
    assert np.allclose(found.sums, rows.features[:96].sum(0), rtol=1e-4)


def test_workers_together_are_as_one() -> None:
    """What two workers have gathered is one step, whatever the order in which they hand it over."""
    known = streams.observed(streams.digits().images[:128])
    halves = streams.taken(known, slice(0, 128, 2)), streams.taken(known, slice(1, 128, 2))
    parts = []
    for half in halves:
        gatherer = Gatherer(streams.profile(), block=1)
        gatherer.add(half)
        parts.append(Gathered.from_json(gatherer.take().to_json()))
    one, other = (DriftDetector(streams.profile(), block=1) for _ in range(2))
    for part in parts:
        one.merge(part)
    for part in reversed(parts):
        other.merge(part)
    assert one.requests == other.requests == 128
    sums = [np.array(p.logs) for p in parts]
    assert one.evidence == pytest.approx(float(((64 * np.exp(sums[0]) + 64) * np.exp(sums[1])).mean()))
    assert other.evidence == pytest.approx(float(((64 * np.exp(sums[1]) + 64) * np.exp(sums[0])).mean()))


def test_bursts_are_measured_the_same_in_one_worker_or_handed_on_in_parts() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.random((200, 5)), 20, axis=0)
    whole, total, worker = Bursts(5), Bursts(5), Bursts(5)
    whole.add(rows)
    for start in range(0, len(rows), 37):
        worker.add(rows[start : start + 37])
        total.merge(worker.to_plain())
        worker = worker.continued()
    assert np.allclose(whole.together, total.together)
    assert whole.block == total.block == 64


def test_a_state_continues_where_it_was() -> None:
    known, odd = streams.observed(streams.digits().images), streams.observed(16 - streams.digits().images)
    for clean in (512, 1536):  # before and after the length of bursts is settled
        one = DriftDetector(streams.profile())
        one.add(streams.taken(known, slice(0, clean)))
        data = one.to_bytes()
        other = DriftDetector.from_bytes(streams.profile(), data)
        assert len(data) < 40_000
        assert other.drift == one.drift
        for detector in (one, other):
            detector.add(streams.taken(odd, slice(0, 640)), time=7.0)
        assert other.drift.alarm
        assert other.drift.evidence == pytest.approx(one.drift.evidence, rel=1e-4)
        assert other.drift.moved[0].name == one.drift.moved[0].name


def test_a_damaged_state_or_one_of_another_model_is_refused() -> None:
    detector = DriftDetector(streams.profile())
    data = detector.to_bytes()
    for bad in (b"", data[:-3], data + b"1", data[:50] + b"\0" + data[51:]):
        with pytest.raises(DeploykitError, match="Cannot read the detector's state"):
            DriftDetector.from_bytes(streams.profile(), bad)
    x = np.random.default_rng(0).random((100, 2))
    other = fit({"x": x}, {}, "", "values", model="cd" * 32)
    with pytest.raises(DeploykitError, match="belongs to the model abababababab…, not to cdcdcdcdcdcd…"):
        DriftDetector.from_bytes(other, data)
    with pytest.raises(DeploykitError, match="a detector of its own"):
        detector.merge(Gatherer(other).take())
    with pytest.raises(DeploykitError, match="features a request"):
        detector.add(other.observe({"x": x}, {}))


def test_after_a_reset_it_watches_from_the_start() -> None:
    detector = _alarm(16 - streams.digits().images)
    detector.reset()
    assert not detector.drift.alarm
    detector.add(streams.observed(streams.digits().images))
    assert not detector.drift.alarm


@pytest.mark.parametrize("wrong", [{"run_length": 5}, {"run_length": 1e5 + 0.5}, {"block": -1}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="must be a whole number"):
        DriftDetector(streams.profile(), **wrong)  # type: ignore[arg-type]

"""How good answers are: estimated without labels, and watched with labels that come later."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from deploykit.core.errors import DeploykitError, SettingError
from deploykit.core.serial import Plain, from_plain
from deploykit.monitoring.detector import DriftDetector
from deploykit.monitoring.history import History
from deploykit.monitoring.profile import Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Weight of mean confidence against the share of confident answers, see `estimate`.
_CONFIDENCE_WEIGHT = 0.75
_Z = 1.96
#: Bets on errors, as the share that a right answer loses.
_BETS = (0.02, 0.06, 0.15, 0.35)
_FEWEST = 30


@dataclass(frozen=True)
class AccuracyEstimate(Plain):
    """What accuracy probably is, without labels.

    Attributes:
        value: The estimate; None when there is none.
        low: Lower end of its 95 % interval.
        high: Upper end.
        reference: Accuracy on the reference.
        loss: Reference less estimate.
        requests: Requests that it is about.
        since_request: Requests before these.
        valid: Whether it can be trusted.
        why: Why not, "" if it can.
    """

    value: float | None
    low: float
    high: float
    reference: float
    loss: float
    requests: int
    since_request: int
    valid: bool
    why: str = ""

    def __str__(self) -> str:
        if self.value is None or not self.valid:
            return f"No valid estimate of accuracy: {self.why}."
        return (
            f"Accuracy is estimated at {100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}] over "
            f"{self.requests:,} requests; it was {100 * self.reference:.1f} % on the reference."
        )


def estimate(detector: DriftDetector, last: int | None = None) -> AccuracyEstimate:
    """Estimate accuracy from how sure the answers are.

    Three parts in four are the mean of the calibrated confidence (confidence-based performance estimation, with a
    temperature and a correction for each class). The rest is the share of answers whose confidence is above
    the threshold that as many answers exceed on the reference as are right there (Garg et al., "Leveraging unlabeled
    data to predict out-of-distribution performance", ICLR 2022). Under shifts of real images their errors had opposite
    signs. The interval holds the sampling error of both sides and how far the two are apart; under drift it is no
    guarantee.

    Args:
        detector: What has seen the requests. After its alarm the estimate is about those since the change.
        last: The last so many requests instead, as nearly as they are kept apart.

    Returns:
        The estimate. It is not valid when inputs are unlike the reference: a model may be sure of nonsense.

    Raises:
        SettingError: ``last`` is not positive.

    Example:
        >>> import numpy as np
        >>> from deploykit.monitoring.accuracy import estimate
        >>> from deploykit.monitoring.detector import DriftDetector
        >>> from deploykit.monitoring.fitting import fit
        >>> rng = np.random.default_rng(0)
        >>> scores = rng.dirichlet(np.ones(3), 3000)
        >>> labels = (rng.random((3000, 1)) > scores.cumsum(axis=1)).sum(axis=1)
        >>> x = rng.random((3000, 4))
        >>> profile = fit({"x": x}, {"y": scores}, "y", "probabilities", model="ab" * 32, labels=labels)
        >>> detector = DriftDetector(profile, block=1)
        >>> drift = detector.add(profile.observe({"x": x[:2000]}, {"y": scores[:2000]}))
        >>> found = estimate(detector)
        >>> truth = float((scores.argmax(axis=1) == labels)[:2000].mean())
        >>> found.valid, abs(found.value - truth) < 0.02
        (True, True)
    """
    if last is not None and last < 1:
        raise SettingError(f"Expected last to be a positive number of requests, got {last}.")
    known, drift = detector.profile.head.calibrated, detector.drift
    start = drift.since_request or 0 if last is None else max(0, detector.requests - last)
    seen = detector.since(start)
    sure = seen.sums[2] if seen else 0.0

    def none(why: str) -> AccuracyEstimate:
        return AccuracyEstimate(None, 0.0, 1.0, known.accuracy, 0.0, int(sure), start, False, why)

    if not known.corrections:
        return none("the profile was made without labels, or answers have no probability")
    if seen is None or sure < _FEWEST:
        return none(f"only {int(sure)} requests so far; {_FEWEST} are needed")
    mean, share = seen.sums[3] / sure, seen.sums[5] / sure
    variance = max(seen.sums[4] / sure - mean**2, 0.0)
    value = by_confidence = mean
    apart = 0.0
    if known.threshold:
        value = _CONFIDENCE_WEIGHT * by_confidence + (1 - _CONFIDENCE_WEIGHT) * share
        apart = abs(by_confidence - share)
    own = known.accuracy * (1 - known.accuracy) / known.examples
    half = _Z * math.sqrt(variance * detector.block / sure + own) + apart
    value = min(max(value, 0.0), 1.0)
    unlike = "inputs are unlike the reference" if drift.unlike else ""
    return AccuracyEstimate(
        value, max(0.0, value - half), min(1.0, value + half), known.accuracy, known.accuracy - value, int(sure),
        seen.start, not unlike, unlike,
    )  # fmt: skip


@dataclass(frozen=True)
class Labeled(Plain):
    """What labels that came later say.

    Attributes:
        labels: Labels so far.
        accuracy: Share of right answers among all (since the change after an alarm); None for real numbers.
        reference: Accuracy, or mean absolute error, on the reference.
        absolute_error: Mean absolute error; None for classes.
        root_squared_error: Root of the mean squared error; None for classes.
        evidence: The detector's value; it alarms at ``run_length``.
        run_length: Mean number of labels before a false alarm, at least.
        alarm: Whether errors have become more frequent than the tolerance allows.
        alarmed_at: Labels when it alarmed; None before.
        since_label: Labels before the change, as estimated; None without an alarm.
        since: When that was, as the caller's clock says.
        loss: Accuracy lost since then, or by how much the mean absolute error has grown.
    """

    labels: int
    accuracy: float | None
    reference: float
    absolute_error: float | None
    root_squared_error: float | None
    evidence: float
    run_length: int
    alarm: bool
    alarmed_at: int | None = None
    since_label: int | None = None
    since: float | None = None
    loss: float = 0.0

    def __str__(self) -> str:
        if self.accuracy is not None:
            now, then = f"Accuracy {100 * self.accuracy:.1f} %", f"{100 * self.reference:.1f} %"
        else:
            now, then = f"Mean absolute error {self.absolute_error:.4g}", f"{self.reference:.4g}"
        worse = f"; worse since label {self.since_label:,}" if self.alarm else ""
        return f"{now} of {self.labels:,} labels, {then} at export{worse}."


class ErrorDetector:
    """Watches errors as labels arrive: for classes wrong answers, for real numbers the size of errors.

    The null hypothesis is that errors are at most ``tolerance`` more frequent than on the reference. For real numbers
    that is said of errors beyond the reference's median, and of those beyond its 90th percentile.

    Args:
        profile: Of the model; made with labels.
        tolerance: By how much errors may be more frequent, 0.01 for one point.
        run_length: Mean number of labels before a false alarm, at least.

    Raises:
        SettingError: A number is out of range.
        DeploykitError: The profile was made without labels.

    Example:
        >>> import numpy as np
        >>> from deploykit.monitoring.accuracy import ErrorDetector
        >>> from deploykit.monitoring.fitting import fit
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.random((1000, 4)), rng.random((1000, 1))
        >>> profile = fit({"x": x}, {"y": y}, "y", "values", model="ab" * 32, labels=y + rng.normal(0, 0.1, y.shape))
        >>> detector = ErrorDetector(profile)
        >>> detector.add(y, y + rng.normal(0, 0.1, y.shape)).alarm
        False
        >>> detector.add(y, y + rng.normal(0, 0.3, y.shape)).alarm
        True
    """

    def __init__(self, profile: Profile, *, tolerance: float = 0.01, run_length: int = 10_000) -> None:
        import numpy as np

        if not 0 <= tolerance < 1:
            raise SettingError(f"Expected a tolerance of at least 0 and below 1, got {tolerance!r}.")
        if run_length != int(run_length) or run_length < 100:
            raise SettingError(f"Expected run_length to be a whole number from 100 on, got {run_length!r}.")
        known = profile.head.calibrated
        if not known.examples:
            raise DeploykitError(
                "The profile was made without labels, so there is nothing to compare errors with.",
                remedy="export a candidate that was measured on labeled data.",
            )
        self.profile, self.tolerance, self.run_length = profile, tolerance, run_length
        self._limits = np.array(known.typical_errors)
        rates = np.array([0.5, 0.1]) if len(self._limits) else np.array([1 - known.accuracy])
        self._high = np.minimum(rates + tolerance, 1.0)
        self._slopes = np.array(_BETS)[:, None] / np.maximum(self._high, 0.005)
        self._evidence = np.zeros(self._slopes.shape)
        self._rise = np.zeros(len(rates))
        self._start, self._time = 0, -1.0
        self.labels = 0
        self.alarmed_at: int | None = None
        self._history = History()

    def add(self, answers: Any, labels: Any, time: float | None = None) -> Labeled:
        """Take labels, and the answers that were given.

        Args:
            answers: Class numbers, or real numbers, batch first.
            labels: What they should have been, of the same size.
            time: When, by the caller's clock.

        Raises:
            DeploykitError: Sizes differ, or there is something that is not a finite number.
        """
        import numpy as np

        given, wanted = np.asarray(answers), np.asarray(labels)
        if given.shape[:1] != wanted.shape[:1] or given.size != wanted.size or given.ndim == 0:
            raise DeploykitError(f"Got answers of shape {given.shape} and labels of shape {wanted.shape}.")
        if any(a.dtype.kind not in "biuf" or not np.isfinite(a).all() for a in (given, wanted)):
            raise DeploykitError("Answers and labels must be finite numbers.")
        if not len(given):
            return self.labeled
        off = (given.astype(np.float64) - wanted).reshape(len(given), -1)
        wrong = (np.abs(off).mean(axis=1)[:, None] > self._limits) if len(self._limits) else (off != 0)
        rates = wrong.astype(np.float64) if len(self._limits) else wrong.mean(axis=1, keepdims=True)
        sums = np.stack([rates[:, 0], np.abs(off).mean(axis=1), (off**2).mean(axis=1)], axis=1)
        for place, row in enumerate(rates):
            self._one(row, time)
            self._history.add(self.labels - 1, 1, sums[place].tolist())
        return self.labeled

    def _one(self, rates: NDArray[Any], time: float | None) -> None:
        import numpy as np

        factors = 1 + self._slopes * (rates - self._high)
        self._evidence = np.minimum((self._evidence + 1) * factors, self.run_length * 1e6)
        if (self._rise <= 0).all():
            self._start, self._time = self.labels, -1.0 if time is None else time
        self._rise = np.maximum(self._rise, 0) + np.log(factors[1])
        self.labels += 1
        if self.alarmed_at is None and self.evidence >= self.run_length:
            self.alarmed_at = self.labels

    @property
    def evidence(self) -> float:
        """The detector's value: it alarms at ``run_length``."""
        return float(self._evidence.mean())

    @property
    def labeled(self) -> Labeled:
        """What is known now."""
        known, alarm = self.profile.head.calibrated, self.alarmed_at is not None
        seen = self._history.since(self._start if alarm else 0)
        wrong, absolute, squared = [s / seen.requests for s in seen.sums] if seen else (0.0, 0.0, 0.0)
        real = bool(len(self._limits))
        reference = known.absolute_error if real else known.accuracy
        accuracy = None if real else 1 - wrong
        worse = absolute - reference if accuracy is None else reference - accuracy
        return Labeled(
            self.labels, accuracy, reference, absolute if real else None, math.sqrt(squared) if real else None,
            self.evidence, self.run_length, alarm, self.alarmed_at, self._start if alarm else None,
            self._time if alarm and self._time >= 0 else None, max(0.0, worse) if alarm else 0.0,
        )  # fmt: skip

    def reset(self) -> None:
        """Forget the alarm and its evidence."""
        self.alarmed_at = None
        self._evidence[:] = self._rise[:] = 0

    def to_json(self) -> dict[str, Any]:
        """Its state, as plain data."""
        return {
            "model": self.profile.head.model, "tolerance": self.tolerance, "run_length": self.run_length,
            "labels": self.labels, "alarmed_at": self.alarmed_at, "evidence": self._evidence.tolist(),
            "rise": self._rise.tolist(), "start": self._start, "time": self._time, "history": self._history.to_json(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, profile: Profile, state: Any) -> Self:
        """Continue from a state.

        Raises:
            DeploykitError: It is not one, or one of another model.
        """
        import numpy as np

        try:
            if state["model"] != profile.head.model:
                raise ValueError("It belongs to another model")
            found = cls(profile, tolerance=float(state["tolerance"]), run_length=state["run_length"])
            found.labels, found.alarmed_at = int(state["labels"]), state["alarmed_at"]
            found._start, found._time = int(state["start"]), float(state["time"])
            found._evidence[...] = np.array(state["evidence"], np.float64).reshape(found._evidence.shape)
            found._rise[...] = np.array(state["rise"], np.float64).reshape(found._rise.shape)
            found._history = from_plain(History, state["history"])
        except (KeyError, TypeError, ValueError) as error:
            raise DeploykitError(
                f"Cannot read the state of the errors' detector: {error}.",
                remedy="delete the saved state: watching begins from the start.",
            ) from error
        return found

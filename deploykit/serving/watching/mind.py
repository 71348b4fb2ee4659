"""What a monitor makes of a version's inputs and answers: drift, accuracy without labels, and with them."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploykit.core.errors import DeploykitError
from deploykit.core.settings.monitoring import MonitorSettings
from deploykit.monitoring.accuracy import ErrorDetector, estimate
from deploykit.monitoring.detector import Drift, DriftDetector
from deploykit.monitoring.gathering import Gathered
from deploykit.monitoring.labels import labels_of
from deploykit.monitoring.operation.alarms import clock
from deploykit.monitoring.operation.desk import Finding
from deploykit.monitoring.operation.latency import failing
from deploykit.monitoring.profile import Profile
from deploykit.serving.looking.tap import TOKEN_BLOCK

#: Features are shown by their means over so many requests, and so many of them.
_RECENT_REQUESTS, _SHOWN_FEATURES = 2048, 24
_MOST_TOKENS = 64


class Mind:
    """Detectors of one version; see `deploykit.serving.looking.tap` for what workers send.

    Args:
        profile: What requests look like as long as all is well; None: the artifact has none.
        classes: Names of its classes.
        settings: What is an alarm.
        why: Why there is no profile.
    """

    def __init__(
        self, profile: Profile | None, classes: Sequence[str], settings: MonitorSettings, why: str = ""
    ) -> None:
        self._settings = settings
        self._profile = profile
        self._classes = tuple(classes)
        self._seen = self._looked = 0
        self._right = self._labels = 0
        self._why = why or "Its artifact holds no profile, so its inputs are not watched: export it again."
        self._drift = None if profile is None else DriftDetector(profile, run_length=settings.run_length)
        self._errors: ErrorDetector | None = None
        if profile is not None and profile.head.calibrated.examples:
            self._errors = ErrorDetector(profile, tolerance=settings.lost)
        #: Detectors of the tokens that requests came with.
        self._tokens: dict[str, DriftDetector] = {}
        #: Sums of the features over recent requests.
        self._recent: deque[tuple[int, tuple[float, ...]]] = deque()

    @property
    def watched(self) -> float:
        """Share of the examples that were looked at."""
        return self._looked / self._seen if self._seen else 1.0

    @property
    def note(self) -> str:
        """Why something is not watched, "" if all is."""
        return "" if self._profile is not None else self._why

    def take(self, message: Mapping[str, Any], now: float) -> int:
        """Take what a worker has seen.

        Returns:
            The length of blocks that it should use, 0 if it does.

        Raises:
            DeploykitError: It is of another model.
        """
        self._seen += int(message.get("seen", 0))
        self._looked += int(message.get("looked", 0))
        if self._drift is None or "gathered" not in message:
            return 0
        for token, part in message.get("tokens", {}).items():
            self._take_of(token, Gathered.from_json(part), now)
        gathered = Gathered.from_json(message["gathered"])
        self._drift.merge(gathered, now)
        if gathered.counted:
            self._recent.append((gathered.counted, gathered.sums))
            while sum(count for count, _ in self._recent) - self._recent[0][0] >= _RECENT_REQUESTS:
                self._recent.popleft()
        return self._drift.block if self._drift.settled and gathered.block != self._drift.block else 0

    def _take_of(self, token: str, gathered: Gathered, now: float) -> None:
        assert self._profile is not None
        detector = self._tokens.get(token)
        if detector is None:
            if len(self._tokens) >= _MOST_TOKENS:
                return
            length = self._settings.run_length
            detector = self._tokens[token] = DriftDetector(self._profile, run_length=length, block=TOKEN_BLOCK)
        detector.merge(gathered, now)

    @property
    def tokens(self) -> dict[str, dict[str, Any]]:
        """What the requests of each token look like: evidence that they are unlike the reference, and how rare."""
        found = {}
        for token, detector in sorted(self._tokens.items()):
            drift = detector.drift
            found[token] = {
                "requests": drift.requests, "evidence": drift.evidence, "threshold": drift.run_length,
                "alarm": drift.alarm, "rare": drift.rare, "unseen": drift.unseen, "text": str(drift),
            }  # fmt: skip
        return found

    def label(self, answer: Any, label: Any, at: float) -> list[bool]:
        """Take the labels of a request's answers.

        Args:
            answer: What the tap told of them.
            label: What was given.
            at: When the answer was given, seconds since 1970.

        Returns:
            For each example whether the answer is right.

        Raises:
            SettingError: The label is none.
        """
        wanted = labels_of(label, answer, self._classes)
        self._labels += len(wanted)
        right = [one == other for one, other in zip(answer, wanted, strict=True)]
        self._right += sum(right)
        if self._errors is not None and not any(isinstance(one, str) for one in answer):
            self._errors.add(answer, wanted, at)
        return right

    # -- what it says -------------------------------------------------------------------------------------------------

    @property
    def drift(self) -> dict[str, Any] | None:
        """What the detector says: see `deploykit.monitoring.detector.Drift`; with the features that moved most."""
        if self._drift is None:
            return None
        found = self._drift.drift
        return {
            **found.to_json(), "text": _drift_text(found), "threshold": found.run_length, "features": self._features(),
        }  # fmt: skip

    def _features(self) -> list[dict[str, Any]]:
        import numpy as np

        counted = sum(count for count, _ in self._recent)
        if self._profile is None or not counted:
            return []
        means = np.sum([sums for _, sums in self._recent], axis=0) / counted
        shifts = (means - self._profile.means) / self._profile.band
        order = np.argsort(-np.abs(shifts), kind="stable")[:_SHOWN_FEATURES]
        return [
            {
                "name": self._profile.features[k].name, "part": self._profile.features[k].part,
                "shift": round(float(shifts[k]), 3), "mean": round(float(means[k]), 4),
                "reference": round(float(self._profile.means[k]), 4),
            }
            for k in order.tolist()
        ]  # fmt: skip

    @property
    def accuracy(self) -> dict[str, Any] | None:
        """What is known of its accuracy."""
        found: dict[str, Any] = {}
        said = []
        if self._drift is not None and self._profile is not None and self._profile.head.calibrated.corrections:
            guess = estimate(self._drift)
            found["estimate"] = guess.to_json()
            said.append(str(guess))
        if self._errors is not None and self._errors.labels:
            found["labeled"] = self._errors.labeled.to_json()
            said.append(str(self._errors.labeled))
        elif self._labels:
            right = failing(self._right, self._labels)
            found["right"] = right.to_json()
            said.append(f"Right in {right.value:.1%} of {self._labels:,} labels.")
        return {**found, "text": " ".join(said)} if said else None

    def findings(self) -> Iterator[tuple[str, str, Finding | None]]:
        """For each alarm there may be: kind, subject, and why there should be one."""
        if self._drift is not None:
            yield "drift", "", self._drifting()
        if self._errors is not None:
            yield "accuracy", "", self._failing()
        for token, detector in self._tokens.items():
            drift = detector.drift
            said = f"The requests of the token {token!r} are unlike the reference. {drift}"
            since = drift.since or drift.alarmed or 0.0
            yield "client", token, Finding(said, since, drift.share, None, drift.to_json()) if drift.alarm else None

    def _drifting(self) -> Finding | None:
        assert self._drift is not None
        found = self._drift.drift
        if not found.alarm:
            return None
        guess = estimate(self._drift)
        details = {**found.to_json(), "estimate": guess.to_json()}
        since = found.since or found.alarmed or 0.0
        return Finding(str(found), since, found.share, guess.loss if guess.valid else None, details)

    def _failing(self) -> Finding | None:
        assert self._errors is not None
        found = self._errors.labeled
        if not found.alarm:
            return None
        share = (found.labels - (found.since_label or 0)) / max(1, found.labels)
        return Finding(str(found), found.since or 0.0, share, found.loss, found.to_json())

    # -- across restarts ----------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        found: dict[str, Any] = {
            "seen": self._seen, "looked": self._looked, "right": self._right, "labels": self._labels,
        }  # fmt: skip
        if self._drift is not None:
            found["drift"] = base64.b85encode(self._drift.to_bytes()).decode()
        if self._errors is not None:
            found["errors"] = self._errors.to_json()
        return found

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; what cannot be read begins again.

        Raises:
            DeploykitError: Some of it cannot be read.
        """
        try:
            self._seen, self._looked = int(state["seen"]), int(state["looked"])
            self._right, self._labels = int(state["right"]), int(state["labels"])
            drift = base64.b85decode(state["drift"]) if "drift" in state else b""
        except (KeyError, TypeError, ValueError) as error:
            raise DeploykitError(f"Cannot read what the monitor kept: {error}.") from error
        if self._profile is None:
            return
        if drift:
            self._drift = DriftDetector.from_bytes(self._profile, drift)
        if self._errors is not None and "errors" in state:
            self._errors = ErrorDetector.from_json(self._profile, state["errors"])


def _drift_text(found: Drift) -> str:
    if not found.alarm or found.since is None:
        return str(found)
    return f"{found} That is since {clock(found.since)}."

"""Whether requests are still like the reference: an e-detector with a guaranteed average run length.

For each feature, each side and two sizes of bet, one recursion of Shiryaev and Roberts runs over factors whose
expectation is at most 1 as long as the feature's mean lies within its band: M ← (M + n) Π L over a step of n requests.
An average of them is as good as one, whatever the dependence between features, so that nothing has to be corrected for
their number (Shin, Ramdas and Rinaldo, "E-detectors", New England Journal of Statistics in Data Science 2023). M less
the number of requests is a supermartingale; so the mean number of requests before a false alarm is at least the
threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from deploykit.core.errors import DeploykitError, SettingError
from deploykit.core.serial import Plain, from_plain
from deploykit.monitoring.bursts import Bursts
from deploykit.monitoring.gathering import FIRST_BLOCK, RARE, STEP, Gathered, Gatherer
from deploykit.monitoring.head import Part
from deploykit.monitoring.history import History, Stretch
from deploykit.monitoring.packing import pack, unpack
from deploykit.monitoring.profile import Observed, Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"DKDD"
_MOST_STATE_BYTES = 1 << 20
_REMEDY = "delete the saved state: watching begins from the start."
#: Evidence beyond the threshold is kept up to this factor, so that an end of drift is noticed soon.
_CAP = 1e3
#: Share of requests with other inputs from which on they are unlike the reference: answers on such were not measured.
UNLIKE = 2 / 3


@dataclass(frozen=True)
class Moved(Plain):
    """A feature whose mean has left its band.

    Attributes:
        name: What it is, in words.
        part: What it is of: inputs, answers, or the embedding.
        about: The input or output.
        reference: Its mean on the reference, between 0 and 1; of a rank 0.5.
        mean: Its mean since it moved.
        since_request: Requests before it moved, as estimated.
        since: When that was, as the caller's clock says; None if it gave no time.
    """

    name: str
    part: Part
    about: str
    reference: float
    mean: float
    since_request: int
    since: float | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.reference:.2f} → {self.mean:.2f}"


@dataclass(frozen=True)
class Drift(Plain):
    """What the detector says now.

    Attributes:
        requests: Requests so far.
        run_length: Mean number of requests before a false alarm, at least.
        block: Requests whose mean is one piece of evidence.
        settled: Whether that length is decided.
        evidence: The detector's value; it alarms at ``run_length``.
        alarm: Whether it has alarmed and was not reset.
        alarmed_at: Requests when it alarmed; None before.
        alarmed: When that was; None if no time was given.
        since_request: Requests before the change, as estimated; None without an alarm.
        since: When that was.
        moved: Features that have moved, most evident first.
        share: Share of the requests since then that are affected, at least; 0 without an alarm.
        rare: Share of the requests since then (of all without an alarm) that are rarer than one in twenty of the
            reference.
        unseen: Share of them that are further off than all of the reference.
        unlike: Whether inputs are so unlike the reference that nothing measured on it holds.
    """

    requests: int
    run_length: int
    block: int
    settled: bool
    evidence: float
    alarm: bool
    alarmed_at: int | None = None
    alarmed: float | None = None
    since_request: int | None = None
    since: float | None = None
    moved: tuple[Moved, ...] = ()
    share: float = 0.0
    rare: float = 0.0
    unseen: float = 0.0
    unlike: bool = False

    def __str__(self) -> str:
        if not self.alarm:
            return f"No drift in {self.requests:,} requests (evidence {self.evidence:.3g} of {self.run_length:,})."
        names = "; ".join(map(str, self.moved[:3])) + ("; …" if len(self.moved) > 3 else "")
        unlike = ", and most of them are unlike anything in it" if self.unlike else ""
        return (
            f"Since request {self.since_request:,} at least {100 * self.share:.0f} % of the requests differ from the "
            f"reference{unlike}: {names}."
        )


class DriftDetector:
    """Watches the requests of one model, over all its workers.

    It knows no clock: times are what the caller gives, and only shown.

    Args:
        profile: Of the model.
        run_length: Mean number of requests before a false alarm, at least.
        block: Requests whose mean is one piece of evidence: longer than traffic resembles itself. None: measured on
            the first 1,024 requests or more, and 32 until then.

    Raises:
        SettingError: A number is out of range.

    Example:
        >>> import numpy as np
        >>> from deploykit.monitoring.detector import DriftDetector
        >>> from deploykit.monitoring.fitting import fit
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.random((2000, 4)), rng.random((2000, 1))
        >>> profile = fit({"x": x}, {"y": y}, "y", "values", model="ab" * 32)
        >>> detector = DriftDetector(profile, block=1)
        >>> detector.add(profile.observe({"x": rng.random((500, 4))}, {"y": rng.random((500, 1))})).alarm
        False
        >>> drift = detector.add(profile.observe({"x": rng.random((500, 4)) + 0.3}, {"y": rng.random((500, 1))}))
        >>> drift.alarm, {moved.about for moved in drift.moved}, 400 < drift.since_request < 600
        (True, {'x'}, True)
    """

    def __init__(self, profile: Profile, *, run_length: int = 100_000, block: int | None = None) -> None:
        import numpy as np

        for name, value, least in (("run_length", run_length, 100), ("block", block or 1, 1)):
            if value != int(value) or not least <= value <= 10**12:
                raise SettingError(f"{name} must be a whole number from {least} on, got {value!r}.")
        wide = len(profile.features)
        self.profile, self.run_length = profile, run_length
        self.block, self.settled = block or FIRST_BLOCK, block is not None
        self.requests = 0
        self.alarmed_at: int | None = None
        self.alarmed: float | None = None
        self._history = History()
        self._gatherer = Gatherer(profile, block)
        self._bursts = Bursts(wide)
        self._evidence = np.zeros((4, wide))
        # The change is estimated by the smaller bet's sums, as CUSUM does, one for each side.
        self._rise, self._total = np.zeros((2, wide)), np.zeros((2, wide))
        self._starts, self._counted = np.zeros((2, wide), np.int64), np.zeros((2, wide), np.int64)
        self._times = np.full((2, wide), -1.0)

    def add(self, observed: Observed, time: float | None = None) -> Drift:
        """Take requests in the order in which they came, and say what is known then.

        Args:
            observed: What the profile has observed of them.
            time: When they came, by the caller's clock.

        Raises:
            DeploykitError: They are of another profile.
        """
        for start in range(0, len(observed), STEP):
            part = slice(start, start + STEP)
            sure = observed.confidence
            self._gatherer.add(
                Observed(observed.features[part], observed.rarity[part], None if sure is None else sure[part])
            )
            self.merge(self._gatherer.take(), time)
        return self.drift

    def merge(self, gathered: Gathered, time: float | None = None) -> None:
        """Take what a worker has gathered. The workers are then to use this detector's ``block``.

        Raises:
            DeploykitError: It is of another model, or has another number of features.
        """
        import numpy as np

        wide = len(self.profile.features)
        if gathered.model != self.profile.head.model or len(gathered.sums) != wide or len(gathered.logs) != 4:
            raise DeploykitError(
                f"What was gathered belongs to the model {gathered.model[:12]}…, not to "
                f"{self.profile.head.model[:12]}…, or to another profile of it.",
                remedy="watch each model with a detector of its own.",
            )
        before, self.requests = self.requests, self.requests + gathered.requests
        confidences = gathered.sure, gathered.confidence, gathered.confidence_squares, gathered.surer
        sums = gathered.rare, gathered.unseen, *confidences
        if gathered.requests:
            self._history.add(before, gathered.requests, sums)
        if gathered.counted and gathered.block == self.block:
            self._step(gathered, np.array(gathered.logs), before, time)
        if not self.settled and gathered.bursts is not None:
            self._bursts.merge(gathered.bursts)
            if self._bursts.decided:
                self.settled, self.block = True, self._bursts.block
        if self.settled:
            self._gatherer.settle(self.block)

    def _step(self, gathered: Gathered, logs: NDArray[Any], before: int, time: float | None) -> None:
        import numpy as np

        steps = np.clip(logs, -300, 300)
        most = self.run_length * self._evidence.size * _CAP
        self._evidence = np.minimum((self._evidence + gathered.counted) * np.exp(steps), most)
        small = logs[::2]
        fresh = self._rise <= 0
        self._starts = np.where(fresh, before, self._starts)
        self._times = np.where(fresh, -1.0 if time is None else time, self._times)
        self._total = np.where(fresh, 0.0, self._total) + np.array(gathered.sums)
        self._counted = np.where(fresh, 0, self._counted) + gathered.counted
        self._rise = np.maximum(self._rise, 0) + small
        if self.alarmed_at is None and self.evidence >= self.run_length:
            self.alarmed_at, self.alarmed = self.requests, time

    @property
    def evidence(self) -> float:
        """The detector's value: it alarms at ``run_length``."""
        return float(self._evidence.mean())

    @property
    def drift(self) -> Drift:
        """What is known now."""
        alarm = self.alarmed_at is not None
        moved = self._moved() if alarm else ()
        start = moved[0].since_request if moved else 0
        seen = self._history.since(start if alarm else 0)
        rare, unseen = _rates(seen)
        odd = max(0.0, (rare - RARE) / (1 - RARE)) if alarm else 0.0
        inputs = max([odd, *(_shift(m) for m in moved if m.part != "output")])
        share = max([inputs, *(_shift(m) for m in moved)])
        return Drift(
            self.requests, self.run_length, self.block, self.settled, self.evidence, alarm, self.alarmed_at,
            self.alarmed, start if alarm else None, moved[0].since if moved else None, moved, min(1.0, share), rare,
            unseen, inputs >= UNLIKE,
        )  # fmt: skip

    def _moved(self) -> tuple[Moved, ...]:
        """Features that have enough evidence of their own, and at least the one that has most."""
        import numpy as np

        by_side = self._evidence.reshape(2, 2, -1).mean(axis=1)
        own = by_side.max(axis=0)
        order = np.argsort(-self._rise.max(axis=0), kind="stable")
        chosen = [int(k) for k in order if own[k] >= self.run_length] or [int(own.argmax())]
        found = []
        for k in chosen:
            side, feature = int(by_side[:, k].argmax()), self.profile.features[k]
            count = max(int(self._counted[side, k]), 1)
            when = float(self._times[side, k])
            found.append(
                Moved(
                    feature.name, feature.part, feature.about, round(float(self.profile.means[k]), 4),
                    round(float(self._total[side, k]) / count, 4), int(self._starts[side, k]),
                    None if when < 0 else when,
                )
            )  # fmt: skip
        return tuple(found)

    def since(self, request: int) -> Stretch | None:
        """Sums from a request on: rare, unseen, with a confidence, confidences, their squares, above the threshold."""
        return self._history.since(request)

    def reset(self) -> None:
        """Forget the alarm and its evidence, for example after the model was replaced; the length of blocks stays."""
        self.alarmed_at = self.alarmed = None
        self._evidence[:] = self._rise[:] = self._total[:] = 0
        self._counted[:] = 0

    # -- across restarts --------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Its state: a few kilobytes, no raw data. A block that was open is given up."""
        head = {
            "model": self.profile.head.model, "run_length": self.run_length, "block": self.block,
            "settled": self.settled, "requests": self.requests, "alarmed_at": self.alarmed_at, "alarmed": self.alarmed,
            "history": self._history.to_json(), "bursts": None if self.settled else self._bursts.to_plain(),
        }  # fmt: skip
        arrays = {
            "evidence": self._evidence.astype("<f8"), "rise": self._rise.astype("<f4"),
            "total": self._total.astype("<f4"), "starts": self._starts.astype("<i8"),
            "counted": self._counted.astype("<i8"), "times": self._times.astype("<f8"),
        }  # fmt: skip
        return pack(_MAGIC, head, arrays)

    @classmethod
    def from_bytes(cls, profile: Profile, data: bytes) -> Self:
        """Continue from a state.

        Raises:
            DeploykitError: The bytes are not a state, or one of another model.
        """
        head, arrays = unpack(_MAGIC, data, _MOST_STATE_BYTES, "the detector's state", DeploykitError, _REMEDY)
        if head.get("model") != profile.head.model:
            raise DeploykitError(
                f"The detector's state belongs to the model {str(head.get('model'))[:12]}…, not to "
                f"{profile.head.model[:12]}….",
                remedy=_REMEDY,
            )
        try:
            found = cls(profile, run_length=head["run_length"], block=head["block"])
            found.settled, found.requests = bool(head["settled"]), int(head["requests"])
            found.alarmed_at, found.alarmed = head["alarmed_at"], head["alarmed"]
            found._history = from_plain(History, head["history"])
            if not found.settled:
                found._gatherer = Gatherer(profile)
                found._bursts.merge(head["bursts"])
            for name in ("evidence", "rise", "total", "starts", "counted", "times"):
                own = getattr(found, f"_{name}")
                own[...] = arrays[name].reshape(own.shape)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DeploykitError(f"Cannot read the detector's state: {error}.", remedy=_REMEDY) from error
        return found


def _rates(seen: Stretch | None) -> tuple[float, float]:
    if seen is None or not seen.requests:
        return 0.0, 0.0
    rare, unseen = seen.sums[0] / seen.requests, seen.sums[1] / seen.requests
    return (rare, unseen) if math.isfinite(rare) else (0.0, 0.0)


def _shift(moved: Moved) -> float:
    """Share of the requests that must have changed for a mean between 0 and 1 to move so far."""
    room = 1 - moved.reference if moved.mean > moved.reference else moved.reference
    return abs(moved.mean - moved.reference) / max(room, 1e-3)

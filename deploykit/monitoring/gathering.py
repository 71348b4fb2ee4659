"""What a worker keeps of its requests until it is asked: sums, which add up over workers and machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DeploykitError
from deploykit.core.serial import Plain
from deploykit.monitoring.bursts import Bursts
from deploykit.monitoring.profile import Observed, Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Length of blocks until the traffic's own is known, see `deploykit.monitoring.bursts`.
FIRST_BLOCK = 32
#: Bets, as the share of what is at stake that a lowest value loses: of single requests, and of means of blocks.
_BETS, _BLOCK_BETS = (0.08, 0.35), (0.3, 0.9)
_LEAST = 0.02
#: Requests of one step of the detector.
STEP = 64
#: A request rarer than this share of the reference counts as rare.
RARE = 0.05


@dataclass(frozen=True)
class Gathered(Plain):
    """Sums over some requests of one stream.

    Attributes:
        model: Digest of the model.
        block: Length of blocks.
        requests: All requests.
        counted: Requests in blocks that are complete, of which the logarithms are.
        logs: Sums of the logarithms of the bets' factors: for each side and bet, for each feature.
        sums: Sum of each feature over the counted requests.
        rare: Requests rarer than one in twenty of the reference.
        unseen: Requests further off than all of the reference.
        sure: Requests with a confidence.
        confidence: Sum of their confidences.
        confidence_squares: Sum of the squares of these.
        surer: How many of them are above the profile's threshold.
        bursts: What the first traffic shows of bursts; None once that is settled.
    """

    model: str
    block: int
    requests: int
    counted: int
    logs: tuple[tuple[float, ...], ...]
    sums: tuple[float, ...]
    rare: int = 0
    unseen: int = 0
    sure: int = 0
    confidence: float = 0.0
    confidence_squares: float = 0.0
    surer: int = 0
    bursts: dict[str, Any] | None = None


def bets(profile: Profile, block: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Constants and slopes of the factors 1 + λ (x - m): two arrays of shape (4, K), float32.

    Rows are two bets that the mean is above its band and two that it is below. Under any law with means within the
    band each factor's expectation is at most 1.
    """
    import numpy as np

    sizes = np.array(_BETS if block == 1 else _BLOCK_BETS)[:, None]
    high = np.minimum(profile.means + profile.band, 1)
    low = np.maximum(profile.means - profile.band, 0)
    up, down = sizes / np.maximum(high, _LEAST), sizes / np.maximum(1 - low, _LEAST)
    slopes = np.concatenate([up, -down]).astype(np.float32)
    constants = np.concatenate([1 - up * high, 1 + down * low]).astype(np.float32)
    return constants, slopes


class Gatherer:
    """Sums up what is observed of one stream; used by one thread at a time.

    Args:
        profile: Of the model.
        block: Requests whose mean is one piece of evidence; None: that is measured on the first traffic, and 32 until
            then.

    Example:
        >>> import numpy as np
        >>> from deploykit.monitoring.fitting import fit
        >>> from deploykit.monitoring.gathering import Gatherer
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.random((500, 4)), rng.random((500, 1))
        >>> profile = fit({"x": x}, {"y": y}, "y", "values", model="ab" * 32)
        >>> gatherer = Gatherer(profile, block=1)
        >>> gatherer.add(profile.observe({"x": x[:100]}, {"y": y[:100]}))
        >>> gatherer.take().requests
        100
    """

    def __init__(self, profile: Profile, block: int | None = None) -> None:
        self.profile = profile
        self._bursts = None if block else Bursts(len(profile.features))
        self.block = block or FIRST_BLOCK

    @property
    def block(self) -> int:
        """Requests whose mean is one piece of evidence. When it is set, a block that is open is given up."""
        return self._block

    @block.setter
    def block(self, block: int) -> None:
        import numpy as np

        self._block = block
        self._constants, self._slopes = bets(self.profile, block)
        self._open, self._opened = np.zeros(len(self.profile.features)), 0
        self._clear()

    def settle(self, block: int) -> None:
        """Use a length that has been decided, and measure it no more."""
        self._bursts = None
        if block != self._block:
            self.block = block

    def _clear(self) -> None:
        import numpy as np

        wide = len(self.profile.features)
        self._requests = self._counted = self._rare = self._unseen = self._sure = self._surer = 0
        self._confidence = self._squares = 0.0
        self._logs, self._sums = np.zeros((4, wide)), np.zeros(wide)

    def add(self, observed: Observed) -> None:
        """Take requests in the order in which they came.

        Raises:
            DeploykitError: They are of another profile.
        """
        import numpy as np

        features = observed.features
        if features.shape[1:] != (len(self.profile.features),):
            raise DeploykitError(
                f"Expected {len(self.profile.features)} features a request, got shape {features.shape}.",
                remedy="observe requests with the same profile.",
            )
        if not len(features):
            return
        self._requests += len(features)
        if self._bursts is not None:
            self._bursts.add(features)
        rows = features if self._block == 1 else self._blocks(features)
        self._counted += len(rows) * self._block
        for start in range(0, len(rows), STEP):
            part = rows[start : start + STEP]
            factors = part[:, None, :] * self._slopes
            factors += self._constants
            np.log(factors, out=factors)
            self._logs += factors.sum(axis=0)
        if len(rows):
            self._sums += rows.sum(axis=0, dtype=np.float64) * self._block
        self._rare += int(np.count_nonzero(observed.rarity <= RARE))
        self._unseen += int(np.count_nonzero(observed.rarity <= self._rarest))
        if observed.confidence is not None:
            self._sure += len(observed.confidence)
            self._confidence += float(observed.confidence.sum())
            self._squares += float(np.vdot(observed.confidence, observed.confidence))
            self._surer += int(np.count_nonzero(observed.confidence > self.profile.head.calibrated.threshold))

    @property
    def _rarest(self) -> float:
        return 1.0 / (self.profile.head.held_out + 1) * (1 + 1e-9)

    def _blocks(self, features: NDArray[Any]) -> NDArray[Any]:
        """Means of the blocks that these requests complete, shape (blocks, K)."""
        import numpy as np

        size, found = self._block, []
        start = 0
        if self._opened:
            start = min(size - self._opened, len(features))
            self._open += features[:start].sum(axis=0)
            self._opened += start
            if self._opened == size:
                found.append(self._open[None] / size)
                self._open, self._opened = np.zeros(features.shape[1]), 0
        whole = (len(features) - start) // size
        if whole:
            inner = features[start : start + whole * size].reshape(whole, size, -1)
            found.append(inner.mean(axis=1))
        rest = features[start + whole * size :]
        if len(rest):
            self._open += rest.sum(axis=0)
            self._opened += len(rest)
        empty = np.zeros((0, features.shape[1]), np.float32)
        return np.concatenate([empty, *found], dtype=np.float32)

    def take(self) -> Gathered:
        """What has come since it was last asked; an open block stays open."""
        found = Gathered(
            self.profile.head.model, self._block, self._requests, self._counted,
            tuple(map(tuple, self._logs.tolist())), tuple(self._sums.tolist()), self._rare, self._unseen, self._sure,
            self._confidence, self._squares, self._surer, None if self._bursts is None else self._bursts.to_plain(),
        )  # fmt: skip
        if self._bursts is not None:
            self._bursts = self._bursts.continued()
        self._clear()
        return found

"""How long traffic resembles itself: requests that come in bursts of one kind are not independent draws.

A detector that takes each request of a burst as new evidence alarms at every burst. One that takes the mean of a block
that is longer than bursts as one piece of evidence does not. How long a block must be is measured on the first
traffic: the variance of block means, times their length, over the variance of single requests is the number of
requests that count as one (the integrated autocorrelation time; batch means, as in simulation output analysis).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Requests after which the length is decided, and at most, when the last levels still grow.
FIRST, MOST = 1024, 16_384
_LEVELS = 9
#: Blocks that a level must have for its variance to be used.
_FEWEST_BLOCKS = 24
#: Growth from one level to the next that says that bursts are longer still.
_GROWING = 1.25
#: Features differ in how much of a burst they show: so many of them show less.
_QUANTILE = 0.75
#: Requests that count as one are taken for independent up to here: estimates scatter around 1.
_ALIKE = 1.6
_LONGEST = 1024


class Bursts:
    """Measures the length of bursts in one stream of requests.

    Args:
        features: K, how many numbers come of each request.

    Example:
        >>> import numpy as np
        >>> from deploykit.monitoring.bursts import Bursts
        >>> rng = np.random.default_rng(0)
        >>> steady, bursty = Bursts(2), Bursts(2)
        >>> steady.add(rng.random((2048, 2)))
        >>> bursty.add(np.repeat(rng.random((102, 2)), 20, axis=0))
        >>> steady.block, bursty.block
        (1, 64)
    """

    def __init__(self, features: int) -> None:
        import numpy as np

        self.requests, self._before = 0, 0
        self._partial = np.zeros((_LEVELS, features))
        self._counts = np.zeros(_LEVELS, np.int64)
        self._means = np.zeros((_LEVELS, features))
        self._squares = np.zeros((_LEVELS, features))

    def add(self, features: NDArray[Any]) -> None:
        """Take the features of requests in the order in which they came, shape (requests, K)."""
        import numpy as np

        rows = features.astype(np.float64)
        before = self._before + self.requests
        self.requests += len(rows)
        total = np.concatenate([np.zeros((1, rows.shape[1])), rows.cumsum(axis=0)])
        for level in range(_LEVELS):
            size = 1 << level
            first = -before % size  # requests that end the block that is open
            if first > len(rows):
                self._partial[level] += total[-1]
                continue
            edges = np.arange(first, len(rows) + 1, size)
            sums = np.diff(total[edges], axis=0)
            if first or before % size:
                sums = np.concatenate([(self._partial[level] + total[first])[None], sums])
            self._partial[level] = total[-1] - total[edges[-1]]
            means = sums / size
            self._counts[level] += len(means)
            self._means[level] += means.sum(axis=0)
            self._squares[level] += (means**2).sum(axis=0)

    @property
    def together(self) -> NDArray[Any]:
        """Requests that count as one, seen in blocks of 1, 2, 4, … requests; of levels with enough blocks."""
        import numpy as np

        counts = np.maximum(self._counts, 2)[:, None]
        variances = np.maximum(self._squares / counts - (self._means / counts) ** 2, 0) * counts / (counts - 1)
        moving = variances[0] > 1e-4
        if not moving.any():
            return np.ones(1)
        sizes = 2.0 ** np.arange(_LEVELS)[:, None]
        ratios = variances[:, moving] * sizes / variances[0, moving]
        found: NDArray[Any] = np.quantile(ratios, _QUANTILE, axis=1)[self._counts >= _FEWEST_BLOCKS]
        return found

    @property
    def decided(self) -> bool:
        """Whether enough was seen: the last level has stopped to grow, or there is no time to wait for that."""
        if self.requests < FIRST:
            return False
        seen = self.together
        growing = len(seen) > 1 and seen[-1] > _GROWING * seen[-2] and seen[-1] > _ALIKE
        return not growing or self.requests >= MOST

    @property
    def block(self) -> int:
        """Requests whose mean is one piece of evidence: a power of two, at least 2.5 times those that count as one."""
        longest = float(self.together.max(initial=1.0))
        if longest <= _ALIKE:
            return 1
        block = 2
        while block < min(2.5 * longest, _LONGEST):
            block *= 2
        return block

    def to_plain(self) -> dict[str, Any]:
        """What it has seen, as plain data: blocks that are complete."""
        names = ("_counts", "_means", "_squares")
        return {"requests": self.requests, **{name: getattr(self, name).tolist() for name in names}}

    def merge(self, plain: Mapping[str, Any]) -> None:
        """Add what another stream of the same kind has shown, as `to_plain` gives it."""
        import numpy as np

        self.requests += int(plain["requests"])
        for name in ("_counts", "_means", "_squares"):
            own = getattr(self, name)
            own += np.asarray(plain[name], own.dtype).reshape(own.shape)

    def continued(self) -> Bursts:
        """One that has the open blocks alone: what it has counted was handed on."""
        after = Bursts(self._partial.shape[1])
        after._partial, after._before = self._partial.copy(), self._before + self.requests
        return after

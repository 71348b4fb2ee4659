"""Where the values of inputs may lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Form:
    """One input that is made.

    Attributes:
        shape: Of one example.
        low: Smallest value, an array that can be spread over an example; None when nothing is known.
        high: Largest value; None when nothing is known.
    """

    shape: tuple[int, ...]
    low: NDArray[Any] | None = None
    high: NDArray[Any] | None = None

    def noise(self, random: np.random.Generator, count: int) -> NDArray[Any]:
        """Examples that are normal noise about the middle of the range; standard normal without a range."""
        import numpy as np

        found = random.standard_normal((count, *self.shape))
        if self.low is not None and self.high is not None:
            found = np.clip((self.low + self.high) / 2 + found * (self.high - self.low) / 4, self.low, self.high)
        return found.astype(np.float32)

    @property
    def spread(self) -> float:
        """Width of the range; 4, that of most normal noise, without one."""
        return 4.0 if self.low is None or self.high is None else float((self.high - self.low).max())

    @property
    def channels_first(self) -> bool:
        """Whether the first axis of an image holds its channels."""
        return len(self.shape) == 3 and self.shape[0] in (1, 3) and self.shape[2] not in (1, 3)

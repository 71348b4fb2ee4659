"""What a search may cost: candidates or time."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from deploykit.core.errors import SettingError

#: The budget of a search that was given none.
DEFAULT_CANDIDATES = 30
#: Units of a budget, the usual name of each first; seconds that a unit of time has.
UNITS = ("candidates", "s", "min", "h")
_SECONDS = (
    (1, ("", "s", "sec", "second", "seconds")),
    (60, ("min", "minute", "minutes")),
    (3600, ("h", "hour", "hours")),
)
_SECONDS_OF = {name: seconds for seconds, names in _SECONDS for name in names}


@dataclass(frozen=True)
class Budget:
    """What a search may cost.

    Attributes:
        seconds: No batch begins later than this; None: no limit.
        candidates: How many candidates, those included that the store knows already; None: no limit.
    """

    seconds: float | None = None
    candidates: int | None = None

    @classmethod
    def of(cls, value: float | str | None) -> Budget:
        """A budget from seconds, ``"10 min"``, ``"40 candidates"``, or None for 30 candidates.

        Raises:
            SettingError: Something else.
        """
        if value is None:
            return cls(candidates=DEFAULT_CANDIDATES)
        found = re.fullmatch(r"\s*([0-9]+\.?[0-9]*)\s*([a-z]*)\s*", str(value).lower())
        number = float(found[1]) if found else 0.0
        if found and number > 0 and found[2] in {"candidate", "candidates"} and number == int(number):
            return cls(candidates=int(number))
        if found and number > 0 and found[2] in _SECONDS_OF:
            return cls(seconds=number * _SECONDS_OF[found[2]])
        raise SettingError(
            f"budget: cannot parse {value!r}.", remedy='give seconds, "10 min", "2 h" or "40 candidates".'
        )

    def room(self, candidates: int, started: float, batch: int) -> int:
        """How many more candidates may begin now, at most a batch.

        Args:
            candidates: How many there are.
            started: Monotonic time at the beginning.
            batch: Most candidates that begin together.
        """
        if self.seconds is not None and time.monotonic() - started >= self.seconds:
            return 0
        return batch if self.candidates is None else max(0, min(batch, self.candidates - candidates))

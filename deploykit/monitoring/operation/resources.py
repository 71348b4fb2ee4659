"""What a server takes of its machine, and whether that grows; whether the machine itself is slowed down."""

from __future__ import annotations

import math
import shutil
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploykit.core.result import Interval
from deploykit.core.serial import Plain
from deploykit.monitoring.operation.gpus import read_gpus

#: Readings are kept as medians of so many seconds: what follows one another within them is not independent.
_BLOCK_S = 30.0
#: So many of those are kept, and so many are needed for a trend.
_BLOCKS, _LEAST_BLOCKS = 240, 20
#: Growth an hour, relative to the level, that is a leak; and what it must have grown by since.
_LEAK_PER_HOUR, _LEAK_SINCE = 0.01, 0.03
#: Standard deviations that a leak must be away from none.
_SURE = 4.0
#: Shares of time or of frequency from which on a machine is called slowed down.
_STEAL, _SLOWED = 0.05, 0.8


def trend(times: Sequence[float], values: Sequence[float], deviations: float = 1.96) -> Interval:
    """Slope of values over time: the median of all pairs' slopes, with Sen's interval.

    Robust against single outliers, and without a distribution; after P. K. Sen, "Estimates of the regression
    coefficient based on Kendall's tau", JASA 63 (1968).

    Args:
        times: Times, distinct, at least three.
        values: Values at those times.
        deviations: Standard deviations of the interval, 1.96 for 95 %.

    Returns:
        Change per unit of time.
    """
    import numpy as np

    t, y = np.asarray(times, float), np.asarray(values, float)
    i, j = np.triu_indices(len(t), 1)
    slopes = np.sort((y[j] - y[i]) / (t[j] - t[i]))
    n, pairs = len(t), len(slopes)
    spread = deviations * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low, high = math.floor((pairs - spread) / 2) - 1, math.ceil((pairs + spread) / 2)
    return Interval(
        float(np.median(slopes)),
        float(slopes[low]) if low >= 0 else -math.inf,
        float(slopes[high]) if high < pairs else math.inf,
    )


@dataclass
class Growth:
    """Finds out whether something grows without end, such as the memory of a process.

    Readings may come as often as one likes: their medians over half a minute are what is looked at.
    """

    _blocks: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_BLOCKS))
    _open: list[tuple[float, float]] = field(default_factory=list)

    def add(self, at: float, value: float) -> None:
        """Take a reading.

        Args:
            at: When, seconds of a clock that does not jump.
            value: What was read.
        """
        import numpy as np

        if self._open and at - self._open[0][0] >= _BLOCK_S:
            moments, values = zip(*self._open, strict=True)
            self._blocks.append((float(np.mean(moments)), float(np.median(values))))
            self._open.clear()
        self._open.append((at, value))

    @property
    def per_hour(self) -> Interval | None:
        """Growth an hour with its 95 % interval; None before ten minutes have passed."""
        return self._trend(1.96)

    @property
    def leaks(self) -> Interval | None:
        """Growth an hour if a leak is confirmed, else None."""
        found = self._trend(_SURE)
        if found is None:
            return None
        first, last = self._blocks[0][1], self._blocks[-1][1]
        return found if found.low > _LEAK_PER_HOUR * first and last - first > _LEAK_SINCE * first else None

    def _trend(self, deviations: float) -> Interval | None:
        if len(self._blocks) < _LEAST_BLOCKS:
            return None
        found = trend([at for at, _ in self._blocks], [value for _, value in self._blocks], deviations)
        return Interval(*(3600 * value for value in (found.value, found.low, found.high)))


@dataclass(frozen=True)
class Resources(Plain):
    """What a server takes at one moment.

    Attributes:
        cpu: Cores in use by its processes since the reading before.
        memory_bytes: Resident memory of its processes.
        threads: Their threads.
        files: Their open files and connections; -1 where that cannot be seen.
        steal: Share of the machine's time that went to other guests of the same host since the reading before.
        frequency: Frequency of the cores relative to their highest; None where that is not shown.
        disk_free_bytes: Free space where the monitor keeps its records; None where it keeps none.
        gpus: What each GPU is doing, see ``deploykit.monitoring.operation.gpus``.
        growth: Growth of memory an hour, bytes; None before ten minutes have passed.
    """

    cpu: float
    memory_bytes: int
    threads: int
    files: int
    steal: float
    frequency: float | None
    disk_free_bytes: int | None = None
    gpus: tuple[dict[str, Any], ...] = ()
    growth: Interval | None = None

    @property
    def slowed(self) -> str:
        """Why the machine is slower than it could be, "" if it is not."""
        if self.steal > _STEAL:
            return f"{self.steal:.0%} of the machine's time goes to other guests of its host."
        if self.frequency is not None and self.cpu > 0.5 and self.frequency < _SLOWED:
            return f"The cores run at {self.frequency:.0%} of their highest frequency under load."
        return ""


class Meter:
    """Reads what processes take.

    Args:
        folder: Where records are kept; None for nowhere.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._before: tuple[float, float, float, float] | None = None
        self.memory = Growth()

    def read(self, pids: Iterable[int], at: float) -> Resources:
        """One reading.

        Args:
            pids: The processes; those that have just ended are passed over.
            at: Now, in seconds of a clock that does not jump.
        """
        import psutil

        pids = list(pids)
        seconds, memory, threads, files = 0.0, 0, 0, 0
        for pid in pids:
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    times = process.cpu_times()
                    seconds += times.user + times.system
                    memory += process.memory_info().rss
                    threads += process.num_threads()
                    if files >= 0:
                        files = files + process.num_fds() if hasattr(process, "num_fds") else -1
            except psutil.Error:
                continue
        whole = psutil.cpu_times()
        total, stolen = sum(whole), getattr(whole, "steal", 0.0)
        then = self._before or (at, seconds, total, stolen)
        self._before = (at, seconds, total, stolen)
        self.memory.add(at, memory)
        passed = total - then[2]
        return Resources(
            cpu=max(0.0, seconds - then[1]) / (at - then[0]) if at > then[0] else 0.0,
            memory_bytes=memory,
            threads=threads,
            files=files,
            steal=(stolen - then[3]) / passed if passed > 0 else 0.0,
            frequency=_frequency(),
            disk_free_bytes=self._disk(),
            gpus=read_gpus(pids),
            growth=self.memory.per_hour,
        )

    def _disk(self) -> int | None:
        if self._folder is None:
            return None
        try:
            return shutil.disk_usage(self._folder).free
        except OSError:
            return None


def _frequency() -> float | None:
    import psutil

    try:
        found: Any = psutil.cpu_freq()  # None, and 0 for what is not known, as on many virtual machines
    except (OSError, NotImplementedError, AttributeError):
        return None
    return found.current / found.max if found and found.max else None

"""The rows of tuning, and which of them is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from deploykit.core.errors import SettingError
from deploykit.core.result import Failure, Interval
from deploykit.core.serial import Plain
from deploykit.core.settings.serving import ServingSettings

#: Rates that differ by less count as the same: fewer processes and threads win.
_SAME = 0.02


@dataclass(frozen=True)
class TuningRow(Plain):
    """One combination of settings under one load.

    Attributes:
        runtime: What ran the model.
        settings: How it was served.
        concurrency: Connections, each with one request at a time.
        rate: Requests per second, with a 95 % interval over rounds; None when it failed.
        p50_ms: Median of their times.
        p99_ms: 99th percentile of their times.
        rounds: How many rounds they rest on.
        confirmed: Whether it was measured again, in turns with others, to make the choice.
        requests: Requests in these rounds.
        stages_ms: Mean time of the stages of a request in the server: decode, queue, run, encode.
        batch: Mean number of examples that ran together.
        cpu_us: CPU time of the server for each request, microseconds.
        sender_cpu: Share of its core that sending requests took.
        memory_bytes: Resident memory of all workers.
        failure: Why it was not measured.
    """

    runtime: str
    settings: ServingSettings
    concurrency: int
    rate: Interval | None = None
    p50_ms: Interval | None = None
    p99_ms: Interval | None = None
    rounds: int = 0
    confirmed: bool = False
    requests: int = 0
    stages_ms: dict[str, float] = field(default_factory=dict)
    batch: float = 0.0
    cpu_us: float = 0.0
    sender_cpu: float = 0.0
    memory_bytes: int = 0
    failure: Failure | None = None

    def holds(self, p99_ms: float) -> bool:
        """Whether its p99 is confirmed to be within a limit (95 % confidence)."""
        return self.p99_ms is not None and self.p99_ms.high <= p99_ms


def choose(rows: Sequence[TuningRow], p99_ms: float) -> TuningRow:
    """The highest rate whose p99 is confirmed to hold; if none is, the row that comes closest.

    Args:
        rows: All rows; those that were measured in turns count before the others.
        p99_ms: The limit.

    Raises:
        SettingError: None of them was measured.
    """
    measured = [row for row in rows if row.rate is not None]
    if not measured:
        causes = " ".join(dict.fromkeys(row.failure.cause for row in rows if row.failure)) or "It was stopped."
        raise SettingError(f"No settings could be measured. {causes}", remedy="see the server's log.")
    confirmed = [row for row in measured if row.confirmed]
    for some in (confirmed, measured):
        if inside := [row for row in some if row.holds(p99_ms)]:
            fastest = max(map(rate_of, inside))
            same = [row for row in inside if rate_of(row) >= (1 - _SAME) * fastest]
            return min(same, key=lambda row: (_cost(row.settings), -rate_of(row)))
    return min(confirmed or measured, key=p99_of)


def rate_of(row: TuningRow) -> float:
    """Its rate, 0 when it failed."""
    return row.rate.value if row.rate else 0.0


def p99_of(row: TuningRow) -> float:
    """The far end of its p99, infinite when it failed."""
    return row.p99_ms.high if row.p99_ms else float("inf")


def _cost(settings: ServingSettings) -> tuple[int, int, int, int]:
    """Processes and threads, fewer first; then what is less out of the ordinary."""
    threads = max(1, settings.threads)
    return settings.workers * threads, settings.workers, settings.readers, settings.largest_batch

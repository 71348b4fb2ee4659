"""What a server's monitor raises alarms for; ``dk.serve(monitor=…)`` and ``deploykit serve --monitor-setting``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploykit.core.parameter import complete
from deploykit.core.settings.ranged import parameters_of, ranged


@dataclass(frozen=True)
class MonitorSettings:
    """What a monitor looks for; `MONITOR_SETTINGS` says what each setting is for."""

    every_seconds: float = ranged(
        10.0, "Length of a window of latency and errors, and time between readings of resources.", 1, 3600, "s"
    )
    slower: float = ranged(
        2.0,
        "A 99th percentile of the run stage at least this many times the exported one, confirmed, is an alarm.",
        1.05,
        1e3,
    )
    failing: float = ranged(
        0.01, "A share of failed requests that is confirmed to be above this is an alarm.", 0.0, 1.0, "share"
    )
    run_length: int = ranged(
        100_000, "Guaranteed mean number of requests until a false alarm for drift.", 1_000, 10**12, "requests"
    )
    lost: float = ranged(
        0.01, "Accuracy that labels confirm to be this much below the exported one is an alarm.", 0.0, 1.0, "share"
    )
    cost: float = ranged(
        0.015,
        "Share of a busy worker's time that looking at requests may take; beyond it, some are not looked at.",
        0.0,
        1.0,
        "share",
    )
    examples: int = ranged(
        0, "Most unusual examples of a model that are kept, as clients sent them, in the monitor's folder.", 0, 10_000
    )

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> MonitorSettings:
        """Settings by name, the others at their defaults.

        Raises:
            SettingError: There is no such setting, or a value is out of range.
        """
        values: dict[str, Any] = complete(MONITOR_SETTINGS, dict(given or {}), "monitor")
        return cls(**values)


#: The settings, for help and checks.
MONITOR_SETTINGS = parameters_of(MonitorSettings)

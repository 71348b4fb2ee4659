"""How latency is measured, and the keys of what was measured: what planning and timing share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.digest import json_digest
from deploykit.measuring.environment import core_count
from deploykit.measuring.latency import ROUNDS
from deploykit.runtimes._contract import RUNTIMES

#: Raised when what a launch does changes.
_PROTOCOL = 5
#: Launches of the screen.
_SCREEN = 3


@dataclass(frozen=True)
class Protocol:
    """How long latency is measured.

    Attributes:
        launches: Launches of every session.
        rounds: Blocks in each launch.
        budget_s: While the noise floor is too high, launches are added up to `most` within this time.
        adaptive: Whether candidates that are far from the front after a few launches get no more of them.
        max_drop: Loss above which no candidate is wanted, None when there is no limit.
    """

    launches: int = 10
    rounds: int = ROUNDS
    budget_s: float = 60.0
    adaptive: bool = True
    max_drop: float | None = None

    @property
    def most(self) -> int:
        """Launches on a host that stays noisy."""
        return 2 * self.launches

    @property
    def screen(self) -> int:
        """Launches after which the budget goes to the front; 0: all candidates get all launches."""
        return _SCREEN if self.adaptive and self.launches >= 2 * _SCREEN else 0


def series_key(members: list[str], baseline: str, rounds: int, phase: str) -> str:
    """Key of the launches of candidates that are timed together; ``phase`` is ``"screen"`` or empty."""
    return json_digest([sorted(members), baseline, rounds, phase])


def measurement_key(artifact: str, target: Target, data: str, facts: dict[str, Any], protocol: Protocol) -> str:
    """Key of a latency.

    Args:
        artifact: Digest of what is timed.
        target: Where; the versions of its runtime's packages are part of the key, other packages are not.
        data: Digest of the data.
        facts: Facts of the host, see `deploykit.measuring.environment.hardware`.
        protocol: How long.
    """
    versions = RUNTIMES.get(target.runtime).versions()
    lengths = [protocol.launches, protocol.rounds]
    return json_digest([artifact, target.to_json(), data, facts, versions, _PROTOCOL, *lengths])


def timed_key(own: str, baseline: str) -> str:
    """Key of a candidate's launches beside a baseline: a speed-up is nothing without one.

    Args:
        own: The candidate's `measurement_key`.
        baseline: That of the original model.
    """
    return json_digest([own, baseline])


def useless_threads(threads: int) -> str:
    """Why so many threads are not tried here; "" when they are."""
    cores = core_count()
    return "" if threads <= cores else f"{threads} threads on {cores} core{'s' if cores != 1 else ''} only get slower"

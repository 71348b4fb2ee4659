"""What a server takes; ``dk.serve(limits=…)`` and ``deploykit serve --limit`` are made from these declarations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploykit.core.parameter import complete
from deploykit.core.settings.ranged import parameters_of, ranged


@dataclass(frozen=True)
class ServerLimits:
    """What one worker of a server takes; `LIMITS` says what each limit is for."""

    header_bytes: int = ranged(64 << 10, "Largest head of a request.", 256, 1 << 24, "bytes")
    header_fields: int = ranged(128, "Most header fields of a request.", 8, 65536)
    header_seconds: float = ranged(
        10.0, "Time a head may take to arrive, from the connection or from its first byte on.", 0.05, 3600, "s"
    )
    request_bytes: int = ranged(64 << 20, "Largest body, after decompression.", 1024, 1 << 40, "bytes")
    request_seconds: float = ranged(30.0, "Time a body may take to arrive.", 0.01, 86400, "s")
    answer_seconds: float = ranged(
        60.0,
        "Time an answer may take, waiting included; a worker whose model runs longer is replaced.",
        0.05,
        86400,
        "s",
    )
    write_seconds: float = ranged(30.0, "Time in which a client must read some of its answer.", 0.05, 86400, "s")
    idle_seconds: float = ranged(
        75.0,
        "Time a connection may be idle; longer than the proxy's in front, which must close first.",
        0.05,
        86400,
        "s",
    )
    connections: int = ranged(
        1024,
        "Most connections at once; beyond them, those that have waited longest for their client are closed.",
        1,
        1 << 20,
    )
    held_bytes: int = ranged(512 << 20, "Most bytes of all requests at once.", 1024, 1 << 44, "bytes")
    waiting: int = ranged(512, "Most requests that wait for one model; more are refused.", 1, 1 << 20)
    memory_bytes: int = ranged(
        0, "Memory of a worker beyond which it is replaced; 0: twice what it takes when it is ready, and 2 GiB.", 0,
        1 << 44, "bytes",
    )  # fmt: skip
    log_bytes: int = ranged(
        64 << 20, "Size from which on the access log begins a new file; three older ones are kept.", 4096, 1 << 40,
        "bytes",
    )  # fmt: skip
    grace_seconds: float = ranged(
        1.0,
        "Time in which a server that gets SIGTERM still takes requests, and says that it is not ready.",
        0,
        3600,
        "s",
    )
    drain_seconds: float = ranged(10.0, "Time for requests in progress when the server goes down.", 0.05, 3600, "s")

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> ServerLimits:
        """Limits by name, the others at their defaults.

        Raises:
            SettingError: There is no such limit, or a value is out of range.
        """
        values: dict[str, Any] = complete(LIMITS, dict(given or {}), "limits")
        return cls(**values)


#: The limits, for help and checks.
LIMITS = parameters_of(ServerLimits)

"""How many workers, cores and bytes a rate needs, in numbers and in words."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field
from typing import Any

from deploykit.core import tables
from deploykit.core.serial import Plain
from deploykit.serving.capacity.measured import MeasuredWorker
from deploykit.serving.capacity.queueing import highest_rate, quantile_ms, simulate

#: Shares of a worker's highest rate for which p99 is shown.
LOADS = (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95)
#: Requests that are simulated for a shown p99.
_SIMULATED = 100_000
#: Workers that are simulated, of more than that.
_FEW = 16


@dataclass(frozen=True)
class LoadPoint(Plain):
    """One worker under some load.

    Attributes:
        load: Share of its highest rate.
        rate: Requests a second.
        p50_ms: Median of the times from arrival to answer, by the model.
        p99_ms: 99th percentile of them, by the model.
        at_once: Mean number of requests it has.
        real_p50_ms: Median at a real server; None: it was not asked.
        real_p99_ms: 99th percentile there.
    """

    load: float
    rate: float
    p50_ms: float
    p99_ms: float
    at_once: float
    real_p50_ms: float | None = None
    real_p99_ms: float | None = None


@dataclass(frozen=True, repr=False)
class Capacity(Plain):
    """What `deploykit.capacity` found.

    Attributes:
        name: Name of the model.
        rate: Requests a second that are planned for, each of one example.
        p99_ms: The limit of the 99th percentile, milliseconds.
        headroom: Share of a worker's highest rate that is kept free.
        requests: What was sent: ``"binary"`` or ``"json"``.
        worker: One worker, as it was measured.
        workers: Workers that are needed.
        per_worker: Requests a second of each.
        at_limit: The highest rate of a worker at which p99 holds, without headroom.
        planned: A worker at the planned load.
        loads: The same at other loads.
        shared_p99_ms: p99 at the planned load if requests go to the worker that has fewest, instead of at random.
        price: Of a core for an hour; None: not given.
        environment: Machine and versions.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/capacity", overwrite=True)
        >>> plan = dk.capacity(artifact, rate=1000, p99_ms=60_000, headroom=0.5, price=0.04, rounds=1, seconds=0.05)
        measuring a worker...
        >>> plan.planned.load <= 0.5, plan.workers >= 1, plan.per_million > 0
        (True, True, True)
    """

    name: str
    rate: float
    p99_ms: float
    headroom: float
    requests: str
    worker: MeasuredWorker
    workers: int
    per_worker: float
    at_limit: float
    planned: LoadPoint
    loads: tuple[LoadPoint, ...]
    shared_p99_ms: float
    price: float | None = None
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def cores(self) -> float:
        """Cores that are busy at the planned rate: the CPU time of its requests."""
        return self.rate * self.worker.cpu_us / 1e6

    @property
    def memory_bytes(self) -> int:
        """Memory of all workers."""
        return self.workers * self.worker.memory_bytes

    @property
    def target_concurrency(self) -> int:
        """Requests at once of a worker from which on another one should be started."""
        return max(1, math.ceil(self.planned.at_once))

    @property
    def target_cpu(self) -> int:
        """CPU of a worker, as a percentage of a core, from which on another one should be started."""
        return max(1, round(100 * self.per_worker * self.worker.cpu_us / 1e6))

    @property
    def per_million(self) -> float | None:
        """Price of a million predictions: a core for each worker, at the planned rate all the time."""
        if self.price is None:
            return None
        return self.price * self.workers * max(1.0, self.worker.cpu_us * self.worker.speed.highest / 1e6) / (
            self.rate * 3600
        ) * 1e6  # fmt: skip

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The plan as pairs of a heading and a sentence."""
        one, planned = self.worker, self.planned
        found = [
            ("wanted", f"{self.rate:,.0f} requests/s, p99 within {self.p99_ms:g} ms"),
            (
                "a worker",
                f"at most {one.speed.highest:,.0f} requests/s, {one.cpu_us:,.0f} µs of CPU each; a request alone takes "
                f"{one.alone_p50_ms:.3g} ms (p99 {one.alone_p99_ms:.3g} ms)",
            ),
            (
                "load",
                f"{planned.rate:,.0f} requests/s for each worker, {100 * planned.load:.0f} % of the most: p99 holds up "
                f"to {self.at_limit:,.0f}, and {100 * self.headroom:.0f} % are kept free",
            ),
            (
                "p99",
                f"{planned.p99_ms:.3g} ms if requests go to workers at random, {self.shared_p99_ms:.3g} ms if each "
                "goes to the one that has fewest",
            ),
            ("workers", f"{self.workers}, each with a core of its own"),
            ("CPU", f"{self.cores:.3g} cores busy at that rate"),
            ("memory", f"{self.memory_bytes / 1e6:,.0f} MB ({one.memory_bytes / 1e6:,.0f} MB each)"),
            (
                "scaling",
                f"add a worker from {self.target_concurrency} requests at once or {self.target_cpu} % of a core for "
                "each worker",
            ),
        ]
        if self.per_million is not None:
            found.append(("price", f"{self.per_million:.3g} for a million predictions, at {self.price:g} a core-hour"))
        return found

    @property
    def table(self) -> list[tuple[str, ...]]:
        """The loads, ready to be shown; the first row is the head."""
        real = any(point.real_p99_ms is not None for point in self.loads)
        head = (
            "load",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "at once",
            *(("measured p50", "measured p99") if real else ()),
        )
        rows = []
        for p in self.loads:
            cells = [
                f"{100 * p.load:.0f} %",
                f"{p.rate:,.0f}",
                f"{p.p50_ms:.3g}",
                f"{p.p99_ms:.3g}",
                f"{p.at_once:.3g}",
            ]
            if real:
                cells += ["" if v is None else f"{v:.3g}" for v in (p.real_p50_ms, p.real_p99_ms)]
            rows.append(tuple(cells))
        return [head, *rows]

    def __repr__(self) -> str:
        return f"Capacity({self.name!r}: {self.workers} workers for {self.rate:,.0f} requests/s)"

    def __str__(self) -> str:
        widths = [max(len(row[i]) for row in self.table) for i in range(len(self.table[0]))]
        rows = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in self.table]
        return "\n".join([*(f"{heading:<9} {text}" for heading, text in self.lines), "", *rows])

    def _repr_html_(self) -> str:
        head, *rows = self.table
        return tables.card(
            "Capacity",
            f"of {html.escape(self.name)}, one core for each worker",
            tables.table(("what", "plan"), self.lines),
            tables.table(head, rows, range(len(head))),
        )


def load_point(worker: MeasuredWorker, rate: float, seed: int = 0) -> LoadPoint:
    """One worker at a rate, by the model."""
    times = simulate(worker.speed, rate, requests=_SIMULATED, seed=seed)
    mean = float(times.mean())
    # Little's law: as many at once as arrive while one is answered.
    return LoadPoint(rate / worker.speed.highest, rate, quantile_ms(times, 0.5), quantile_ms(times, 0.99), rate * mean)


def plan(worker: MeasuredWorker, rate: float, p99_ms: float, headroom: float, seed: int = 0) -> dict[str, Any]:
    """The fields of `Capacity` that follow from a worker; ``per_worker`` is 0 where p99 holds at no load."""
    at_limit = highest_rate(worker.speed, p99_ms, seed=seed)
    most = min(at_limit, (1 - headroom) * worker.speed.highest)
    if most <= 0:
        return {"per_worker": 0.0}
    workers = max(1, math.ceil(rate / most))
    each = rate / workers
    few = min(workers, _FEW)  # more of them differ little, and take long
    shared = simulate(worker.speed, each * few, workers=few, balancing="least", seed=seed)
    return {
        "workers": workers,
        "per_worker": each,
        "at_limit": at_limit,
        "planned": load_point(worker, each, seed),
        "loads": tuple(load_point(worker, load * worker.speed.highest, seed) for load in LOADS),
        "shared_p99_ms": quantile_ms(shared, 0.99),
    }

"""``dk.capacity``: from a rate and a limit to workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.artifacts.artifact import Artifact
from deploykit.core import extras
from deploykit.core.errors import GoalMissed
from deploykit.core.parameter import Parameter
from deploykit.core.serial import to_plain
from deploykit.core.settings.serving import ServingSettings
from deploykit.measuring import environment
from deploykit.reporting.events import OnProgress, Progress
from deploykit.reporting.progress import automatic
from deploykit.serving.capacity.measured import MeasuredWorker, loaded, worker
from deploykit.serving.capacity.plan import Capacity, LoadPoint, load_point, plan
from deploykit.serving.capacity.queueing import quantile_ms
from deploykit.serving.tuning.bodies import requests_of
from deploykit.serving.tuning.measuring import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Loads at which a real server is compared, and for how many rounds' time.
CHECKED, _CHECK_ROUNDS = (0.5, 0.7, 0.85), 8
_CHECKS = (
    Parameter("rate", "float", 1.0, minimum=1e-3, maximum=1e9),
    Parameter("p99_ms", "float", 1.0, minimum=1e-3, maximum=3.6e6),
    Parameter("headroom", "float", 0.3, minimum=0.0, maximum=0.95),
    Parameter("price", "float", 0.0, minimum=0.0, maximum=1e6),
    Parameter("rounds", "int", 3, minimum=1, maximum=1000),
    Parameter("seconds", "float", 0.5, minimum=0.01, maximum=3600),
)


def capacity(
    artifact: Artifact | str | Path,
    *,
    rate: float,
    p99_ms: float,
    headroom: float = 0.3,
    requests: str = "binary",
    price: float | None = None,
    check: bool = False,
    rounds: int = 3,
    seconds: float = 0.5,
    progress: OnProgress | None = None,
) -> Capacity:
    """Plan how many workers a rate of requests needs so that the 99th percentile of latency holds.

    One worker of the real server is measured on this machine: its rate with 1 to 32 requests at once, and the time of
    requests that are alone. A queueing model says from that how long requests that arrive at random take at any load;
    workers have queues of their own, and requests go to them at random. Pauses of a machine that is shared are not in
    the model: there, ``check`` shows how much longer requests take.

    Args:
        artifact: The artifact or its folder. A tuned one is measured with its settings, but for the number of workers.
        rate: Requests a second to plan for, each of one example.
        p99_ms: Limit of the 99th percentile of their time at the server, milliseconds; the network is not in it.
        headroom: Share of a worker's highest rate that is kept free, for bursts and lost workers.
        requests: What is sent: ``"binary"`` tensors of the Open Inference Protocol v2, or ``"json"``.
        price: Of a core for an hour, in any currency, for the price of a million predictions.
        check: Send requests at random times also to the real server, at 50, 70 and 85 % of its highest rate, and show
            its times beside the model's.
        rounds: How often each number of requests at once is measured; the median counts.
        seconds: Length of a round.
        progress: Called whenever the state changes; None: a bar or lines.

    Returns:
        The plan; print it, or show it in a notebook.

    Raises:
        GoalMissed: p99 holds at no load.
        SettingError: A setting is out of range.
        ExportError: The path does not hold an artifact.
        ServeError: The server does not start or does not answer.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/planned", overwrite=True)
        >>> plan = dk.capacity(artifact, rate=10, p99_ms=60_000, rounds=1, seconds=0.05)
        measuring a worker...
        >>> plan.workers
        1
    """
    extras.check("sweep")
    given = {
        "rate": rate, "p99_ms": p99_ms, "headroom": headroom, "price": price or 0.0, "rounds": rounds,
        "seconds": seconds,
    }  # fmt: skip
    for one in _CHECKS:
        one.check(given[one.name], "")
    opened = Artifact.of(artifact)
    manifest = opened.manifest
    settings = replace(manifest.serving or ServingSettings(), workers=1)
    sent = requests_of(opened, requests)
    with Bench({"worker": opened}, sent, seconds) as bench, automatic(progress) as say:
        found = worker(bench, "worker", settings, rounds, _counted(say, "measuring a worker", check=check))
        planned = plan(found, rate, p99_ms, headroom)
        if not planned["per_worker"]:
            raise GoalMissed(
                f"A request that is alone takes {found.alone_p50_ms:.3g} ms in the median and {found.alone_p99_ms:.3g} "
                f"ms at the 99th percentile: no number of workers keeps that within {p99_ms:g} ms.",
                remedy="choose a faster candidate, or allow a larger p99_ms (--p99).",
            )
        if check:
            planned["loads"] = tuple(_checked(bench, found, settings, seconds, _counted(say, "asking the server")))
        say(Progress("done", "planned", 1, 1, share=1.0))
    return Capacity(
        name=manifest.name,
        rate=rate,
        p99_ms=p99_ms,
        headroom=headroom,
        requests=requests,
        worker=found,
        price=price,
        environment=to_plain(environment.here()),
        **planned,
    )


def _checked(
    bench: Bench, found: MeasuredWorker, settings: ServingSettings, seconds: float, say: Callable[[int, int], None]
) -> Iterator[LoadPoint]:
    for number, load in enumerate(CHECKED):
        say(number, len(CHECKED))
        rate = load * found.speed.highest
        (times,) = loaded(bench, "worker", settings, [rate], _CHECK_ROUNDS * seconds, seed=number)
        point = load_point(found, rate)
        yield replace(point, real_p50_ms=quantile_ms(times, 0.5), real_p99_ms=quantile_ms(times, 0.99))


def _counted(say: OnProgress, words: str, *, check: bool = False) -> Callable[[int, int], None]:
    """A function that reports how many rounds are done; with a check to come, they are half of the work."""

    def told(done: int, total: int) -> None:
        share = done / total / (2 if check else 1)
        say(Progress("latency", f"{words}: {done} of {total}", done, total, share=share))

    return told

"""Measures points: starts servers with their settings, and sends them requests from other processes.

Where there are several cores, those that send have cores of their own; the server may use all of them. Connections are
opened again in each round, since which worker gets one is up to chance.
"""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from deploykit.artifacts.artifact import Artifact
from deploykit.core.errors import ServeError
from deploykit.core.serial import Plain, dump, parse
from deploykit.core.settings.serving import ServingSettings
from deploykit.sandbox.task import parent_paths
from deploykit.serving import meter, traffic
from deploykit.serving._serve import serve
from deploykit.serving.server import Server
from deploykit.serving.tuning.grid import TuningPoint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Longest time before a round is measured: connections are new, and so may be the server.
_SETTLE_S, _SETTLE_NEW_S = 0.2, 0.7
#: Requests that a round has at least, as long as it does not become longer than so many times its usual length.
_ENOUGH, _LONGEST = 200, 5
#: Requests of each connection from which on those in a round are counted.
_COUNTABLE = 10
#: Beyond this, senders are taken for stuck.
_STUCK_S = 60.0
#: Longest time until a server has counted all requests; it does so every second.
_COUNTED_S = 3.0
#: Cores for each process that sends.
_CORES_EACH = 4


@dataclass(frozen=True)
class Round(Plain):
    """What one round at a point found.

    Attributes:
        rate: Requests per second.
        p50_ms: Median of their times.
        p99_ms: 99th percentile of their times.
        requests: How many there were.
        sender_cpu: Share of its core that sending took.
        cpu_us: CPU time of the server for each request, microseconds.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    requests: int
    sender_cpu: float
    cpu_us: float


@dataclass(frozen=True)
class Inside(Plain):
    """Where the time of requests goes, as the server counts it.

    Attributes:
        stages_ms: Mean time of each stage.
        batch: Mean number of examples that ran together.
        memory_bytes: Resident memory of all workers.
    """

    stages_ms: dict[str, float]
    batch: float
    memory_bytes: int


class Bench:
    """Servers and those who send to them. As a context manager, it ends them all.

    Args:
        artifacts: What can be served, by the name of the source.
        requests: Whole requests.
        seconds: Usual length of a round.
    """

    def __init__(self, artifacts: Mapping[str, Artifact], requests: Sequence[bytes], seconds: float) -> None:
        self._artifacts = artifacts
        self._requests = requests
        self._seconds = seconds
        self._servers: dict[tuple[str, ServingSettings], Server] = {}
        self._new: set[Server] = set()
        self._senders: list[_Sender] = []

    def __enter__(self) -> Self:
        self._start_senders()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End servers and senders."""
        self.keep(())
        self._end_senders()

    def _start_senders(self) -> None:
        try:
            for core in _cores_to_send():
                self._senders.append(_Sender(core, self._requests))
        except BaseException:
            self._end_senders()
            raise

    def _end_senders(self) -> None:
        for sender in self._senders:
            sender.close()
        self._senders = []

    def keep(self, points: Sequence[TuningPoint]) -> None:
        """Stop all servers but those of some points."""
        needed = {(point.source, point.settings) for point in points}
        for key in [key for key in self._servers if key not in needed]:
            self._servers.pop(key).stop()

    def drop(self, point: TuningPoint) -> None:
        """Stop a point's server, which may be beyond help."""
        if (server := self._servers.pop((point.source, point.settings), None)) is not None:
            server.stop()

    def measure(self, point: TuningPoint, rounds: int) -> tuple[list[Round], Inside]:
        """Some rounds at a point, and where the time went.

        Raises:
            DeploykitError: The server did not start, or did not answer.
        """
        server = self._server(point)
        before = _counted(server)
        found: list[Round] = []
        sent = 0
        for _ in range(rounds):
            one, more, _ = self._round(server, point.concurrency, found[-1].rate if found else 0.0)
            found.append(one)
            sent += more
        return found, _inside(server, before, sent)

    def once(self, point: TuningPoint, rate: float) -> Round:
        """One more round at a point, whose server keeps running.

        Args:
            point: Where.
            rate: What its rate is about.

        Raises:
            DeploykitError: The server did not start, or did not answer.
        """
        return self.timed(point, rate)[0]

    def timed(self, point: TuningPoint, rate: float) -> tuple[Round, NDArray[np.float32]]:
        """As `once`, with the times of the requests, seconds."""
        found, _, times = self._round(self._server(point), point.concurrency, rate)
        return found, times

    def arriving(self, point: TuningPoint, rate: float, seconds: float, seed: int) -> NDArray[np.float32]:
        """Times of requests that arrive at random, whether or not others are answered, seconds.

        Args:
            point: Which server; its number of connections is not used.
            rate: Requests a second.
            seconds: How long they arrive.
            seed: Of the times of arrival.

        Raises:
            DeploykitError: The server did not start, or did not answer.
        """
        server, (sender, *_) = self._server(point), self._senders
        self._new.discard(server)
        sender.order(server.port, _SETTLE_NEW_S, seconds, rate=rate, seed=seed)
        return _times([self._answer(sender, _SETTLE_NEW_S + seconds)], server)

    def memory(self, point: TuningPoint) -> int:
        """Resident memory of a point's server, bytes."""
        return _memory(self._server(point))

    def _server(self, point: TuningPoint) -> Server:
        key = point.source, point.settings
        if key not in self._servers:
            self._servers[key] = server = serve(self._artifacts[point.source], port=0, settings=point.settings)
            self._new.add(server)
        return self._servers[key]

    def _round(self, server: Server, connections: int, rate: float) -> tuple[Round, int, NDArray[np.float32]]:
        seconds = min(max(self._seconds, _ENOUGH / rate), _LONGEST * self._seconds) if rate else self._seconds
        settle = min(_SETTLE_NEW_S, 1.4 * self._seconds) if server in self._new else min(_SETTLE_S, 0.4 * self._seconds)
        self._new.discard(server)
        senders = self._senders[: min(len(self._senders), connections)]
        before = _cpu_seconds(server)
        shares = [connections // len(senders) + (i < connections % len(senders)) for i in range(len(senders))]
        for i, (sender, share) in enumerate(zip(senders, shares, strict=True)):
            sender.order(server.port, settle, seconds, connections=share, first=sum(shares[:i]))
        answers = [self._answer(sender, settle + seconds) for sender in senders]
        times = _times(answers, server)
        sent = sum(answer["sent"] for answer in answers)
        cpu = (_cpu_seconds(server) - before) / sent * 1e6
        return _round(times, connections, seconds, max(a["cpu"] for a in answers), cpu), sent, times

    def _answer(self, sender: _Sender, seconds: float) -> dict[str, Any]:
        """What a sender says; all of them begin afresh if one is stuck."""
        try:
            return sender.answer(seconds)
        except ServeError:
            self._end_senders()
            self._start_senders()
            raise


def _times(answers: Sequence[Mapping[str, Any]], server: Server) -> NDArray[np.float32]:
    """Times of all senders, seconds.

    Raises:
        ServeError: The server did not answer one of them.
    """
    import numpy as np

    if said := next((a["error"] for a in answers if "error" in a), ""):
        raise ServeError(
            f"The server did not answer a request: {said}.", remedy="see the server's log.", log=str(server.log)
        )
    return np.concatenate([np.frombuffer(base64.b64decode(answer["times"]), np.float32) for answer in answers])


def _round(taken: NDArray[np.float32], connections: int, seconds: float, sender_cpu: float, cpu_us: float) -> Round:
    """The round in numbers; by Little's law where too few requests begin in its time to be counted."""
    import numpy as np

    p50, p99 = np.percentile(taken, (50, 99)) * 1000
    counted = len(taken) >= _COUNTABLE * connections
    rate = len(taken) / seconds if counted else connections / float(taken.mean())
    return Round(rate, float(p50), float(p99), len(taken), sender_cpu, cpu_us)


def _cores_to_send() -> list[int | None]:
    """Cores for those who send; None: any, where there is only one or they cannot be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return [None]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return [None]
    return list(cores[-max(1, len(cores) // _CORES_EACH) :])


def spare_bytes() -> int:
    """Memory that several servers at once may take."""
    import psutil

    return int(psutil.virtual_memory().available) // 2


def _cpu_seconds(server: Server) -> float:
    import psutil

    spent = 0.0
    for pid in server.pids:
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            spent += times.user + times.system
    return spent


def _counted(server: Server) -> dict[tuple[str, ...], tuple[int, int]]:
    """Numbers of the server's meters by kind and stage: total and count."""
    found: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])
    for series in meter.read(traffic.meter_files(server._counters)):
        key = (series.kind, series.labels[-1]) if series.kind == "seconds" else (series.kind,)
        found[key][0] += series.total
        found[key][1] += sum(series.buckets)
    return {key: (total, count) for key, (total, count) in found.items()}


def _inside(server: Server, before: Mapping[tuple[str, ...], tuple[int, int]], sent: int) -> Inside:
    deadline = time.monotonic() + _COUNTED_S
    while True:
        now = _counted(server)
        if _more(before, now, "requests")[0] >= sent or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    stages = {stage: _more(before, now, "seconds", stage) for stage in meter.STAGES}
    examples, batches = _more(before, now, "examples")
    return Inside(
        {stage: total / count / 1e6 for stage, (total, count) in stages.items() if count},
        examples / batches if batches else 1.0,
        _memory(server),
    )


def _memory(server: Server) -> int:
    """Resident memory of all workers, bytes."""
    import psutil

    memory = 0
    for pid in server.pids:
        with contextlib.suppress(psutil.Error):
            memory += psutil.Process(pid).memory_info().rss
    return memory


def _more(before: Mapping[Any, tuple[int, int]], now: Mapping[Any, tuple[int, int]], *key: str) -> tuple[int, int]:
    old, new = before.get(key, (0, 0)), now.get(key, (0, 0))
    return new[0] - old[0], new[1] - old[1]


class _Sender:
    """A process that sends requests.

    Args:
        core: Where it runs; None: anywhere.
        requests: What it sends.
    """

    def __init__(self, core: int | None, requests: Sequence[bytes]) -> None:
        paths = os.pathsep.join(p for p in parent_paths() if Path(p).is_dir())
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter
            [sys.executable, "-m", "deploykit.serving.tuning.load", *([] if core is None else [str(core)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"},
            start_new_session=os.name == "posix",  # Ctrl-C in a terminal reaches the parent alone
        )
        self._say([base64.b64encode(request).decode() for request in requests])

    def order(self, port: int, settle: float, seconds: float, **how: float) -> None:
        """Have it send; does not wait. ``how``: further arguments of the load's ``drive`` or ``arrive``."""
        self._say({"host": "127.0.0.1", "port": port, "settle": settle, "seconds": seconds, **how})

    def answer(self, seconds: float) -> dict[str, Any]:
        """What it says at the end.

        Raises:
            ServeError: It is gone, or the server has not answered for long.
        """
        timer = threading.Timer(seconds + _STUCK_S, self._process.kill)
        timer.start()
        try:
            line = self._stream(self._process.stdout).readline()
        finally:
            timer.cancel()
        if not line:
            raise ServeError(
                f"The server has not answered for {_STUCK_S:g} s.",
                remedy="leave such settings out, or fewer connections.",
            )
        found: dict[str, Any] = parse(line)
        return found

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._stream(self._process.stdin).close()
        self._process.kill()
        self._process.wait()
        self._stream(self._process.stdout).close()

    def _say(self, message: Any) -> None:
        stream = self._stream(self._process.stdin)
        with contextlib.suppress(OSError):  # its end is noticed by answer()
            stream.write(dump(message) + b"\n")
            stream.flush()

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None
        return stream

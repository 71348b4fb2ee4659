"""Fair latency: interleaved blocks in random order, many launches, a clone of the baseline as noise floor.

Timing one model after the other calls two copies of one file more than 5 % different in nearly half of all runs on a
busy machine. Here every launch opens every session from scratch in a process of its own, every round times each for a
few milliseconds in random order, and intervals are taken over launches, because a session keeps an offset of its own
(its memory layout) for life. Rounds are many and short, so that what disturbs the machine for a tenth of a second
disturbs whole rounds, all of their sessions alike, and not the half of one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deploykit.core.adapter import Group
from deploykit.core.candidate import Target
from deploykit.core.errors import Cancelled, DeploykitError, to_json
from deploykit.core.serial import Plain
from deploykit.engines._contract import Host, Running
from deploykit.measuring import throttling
from deploykit.measuring.environment import here, steal_seconds
from deploykit.sandbox.supervisor import Child
from deploykit.sandbox.task import Report, Task
from deploykit.sandbox.turn import alone

#: Blocks of each session in a launch. Beside a busy process on two cores, ratios of single launches of a 0.2 ms model
#: to itself spread by 2 % with many short blocks, and by 4 % with 5 longer ones.
ROUNDS = 25
#: Sessions alive at once; more are timed in several groups, each with its own baseline and clone.
GROUP_SIZE = 24
#: Launches with an uninterrupted run where a counter of energy is too slow for blocks.
_ENERGY_LAUNCHES = 3
#: Blocks at each of the lengths that a target names.
_LENGTH_ROUNDS = 5
_WORK = "deploykit.measuring.sessions.timing_work"
_WORDS = {
    "prepare": "starting", "open_session": "loading", "warm_up": "warm-up", "run_block": "timing",
    "count_energy": "energy", "run_length": "timing", "write_tokens": "writing",
}  # fmt: skip


@dataclass(frozen=True)
class Timed(Plain):
    """One session of each launch.

    Attributes:
        key: Name of its series; ``"baseline"`` and ``"clone"`` are reserved.
        path: Artifact.
        format: Its format.
        target: Where it runs.
        group: Import group of its child.
        reads: The files and folders the artifact consists of; empty when that is just ``path``.
        data: Folder of the saved dataset as it takes it; "" for that of the order.
    """

    key: str
    path: str
    format: str
    target: Target
    group: Group
    reads: tuple[str, ...] = ()
    data: str = ""


@dataclass(frozen=True)
class Series(Plain):
    """What one launch measured of one entry.

    Attributes:
        block_medians_ns: Median of each round's block.
        times_ns: All single inferences.
        cpu_ns: CPU time over all blocks.
        switches: Context switches forced on it.
        warm: Whether warm-up settled.
        peak_memory_bytes: Growth of the process by loading and running the model.
        error: Why the entry could not be timed in this launch, plain form of an error.
        seconds: Time spent on it: half of its start, because two processes start at a time, loading, warm-up, blocks.
        load_ns: Time of opening the file.
        cached: Whether the file was in the system's cache then, see `deploykit.measuring.sessions.page_cache`: "" when
            it was in part, None where the system does not say.
        first_ns: Time of the first inference.
        batch: Examples of an inference.
        energy_uj: Energy over ``energy_runs`` inferences, in microjoules.
        energy_runs: Inferences over which energy was counted; 0 when it was not.
        energy_from: What counted it.
        no_energy: Why nothing did.
        lengths_ns: Size of the free dimensions → medians of its blocks; those that did not work are missing.
        tokens: Tokens that a decoder wrote with its cache, after the first ones; 0 for other models.
        tokens_ns: Their time.
        no_tokens: Why a decoder wrote none.
        write: Tokens that the answer to an example has, which are written; 0 where a run is a whole answer.
    """

    block_medians_ns: tuple[int, ...] = ()
    times_ns: tuple[int, ...] = ()
    cpu_ns: int = 0
    switches: int = 0
    warm: bool = True
    peak_memory_bytes: int = 0
    error: dict[str, str] | None = None
    seconds: float = 0.0
    load_ns: int = 0
    cached: str | None = None
    first_ns: int = 0
    batch: int = 0
    energy_uj: int = 0
    energy_runs: int = 0
    energy_from: str = ""
    no_energy: str = ""
    lengths_ns: dict[str, tuple[int, ...]] = field(default_factory=dict)
    tokens: int = 0
    tokens_ns: int = 0
    no_tokens: str = ""
    write: int = 0


@dataclass(frozen=True)
class Launch(Plain):
    """One launch: every entry once.

    Attributes:
        index: Number of the launch.
        series: Key → what was measured.
        seconds: Wall-clock time.
        steal_seconds: CPU time the hypervisor gave to others meanwhile.
        environment: The host that measured, see `deploykit.measuring.environment.here`.
        lost_workers: Machines that were lost while they did this launch, and why.
        slowed: Why the machine was slower than it can be meanwhile, "" if nothing says so, see
            `deploykit.measuring.throttling`.
    """

    index: int
    series: dict[str, Series]
    seconds: float = 0.0
    steal_seconds: float = 0.0
    environment: dict[str, Any] = field(default_factory=dict)
    lost_workers: tuple[str, ...] = ()
    slowed: str = ""


@dataclass(frozen=True)
class Order(Plain):
    """The instructions for a launch.

    Attributes:
        index: Number of the launch.
        entries: What is timed.
        data: Folder of the saved dataset.
        rounds: Blocks of each entry.
        seed: Seed of the random order.
        deadline_s: Deadline of opening, and of a block.
        memory_bytes: Memory limit of a child.
        log_dir: Where children log.
    """

    index: int
    entries: tuple[Timed, ...]
    data: str
    rounds: int
    seed: int
    deadline_s: float
    memory_bytes: int
    log_dir: str


@dataclass(frozen=True)
class Timer:
    """Runs launches on an engine; each owns its host.

    Attributes:
        running: The engine.
        data: Folder of the saved dataset.
        rounds: Blocks of each entry in a launch.
        seed: Seed of the random order.
        deadline_s: Deadline of opening, and of a block.
        memory_bytes: Memory limit of a child.
        log_dir: Where children log.
    """

    running: Running
    data: Path
    log_dir: Path
    rounds: int = ROUNDS
    seed: int = 0
    deadline_s: float = 600.0
    memory_bytes: int = 0

    def launch(self, index: int, entries: Sequence[Timed], say: Callable[[str], None] = lambda _words: None) -> Launch:
        """Open all entries from scratch and time them, interleaved.

        An entry that fails is reported in its series; the others continue.

        Raises:
            Cancelled: The engine's ``cancel`` was set.
        """
        order = Order(
            index, tuple(entries), str(self.data), self.rounds, self.seed, self.deadline_s, self.memory_bytes,
            str(self.log_dir),
        )  # fmt: skip
        artifacts = dict.fromkeys(path for e in entries for path in (e.reads or (e.path,)))
        task = Task(
            f"{__name__}:launch",
            order.to_json(),
            name="timing",
            reads=tuple(dict.fromkeys((str(self.data), *artifacts, *(e.data for e in entries if e.data)))),
            writes=(str(self.log_dir),),
            devices=tuple(dict.fromkeys(e.target.device for e in entries if e.target.device != "cpu")),
        )
        found = self.running.exclusive(task, lambda _done, _total, words: say(words)).result()
        return Launch.from_json(found)


def launch(arguments: dict[str, Any], report: Report, host: Host) -> dict[str, Any]:
    """Exclusive task: one launch, from the plain form of an `Order` to that of a `Launch`."""
    order = Order.from_json(arguments)
    return _Launching(order, host, lambda words: report(0, 0, words)).run().to_json()


@dataclass(frozen=True)
class _Launching:
    """One launch on this host. A lock file keeps the timings of other deploykit processes waiting.

    Processes start two at a time. Models are then loaded one after the other, since loading is timed as well.
    """

    order: Order
    host: Host
    say: Callable[[str], None]
    spent: dict[str, float] = field(default_factory=dict)

    def run(self) -> Launch:
        entries, cancel = list(self.order.entries), self.host.cancel
        rng = random.Random(f"{self.order.seed}/{self.order.index}")
        rng.shuffle(entries)  # those opened first may differ from those opened last
        started, stolen, environment = time.perf_counter(), steal_seconds(), here()
        before = throttling.marks()
        series: dict[str, Series] = {}
        children: dict[str, Child] = {}
        try:
            with ThreadPoolExecutor(2) as pool:  # starting is not timed and may use both cores
                for entry, opened in zip(entries, pool.map(self._open, entries), strict=True):
                    if isinstance(opened, Child):
                        children[entry.key] = opened
                    else:
                        series[entry.key] = opened
            if cancel.is_set():
                raise Cancelled("Cancelled while models were opened.")
            with alone(cancel, self.say):
                series |= self._time([e for e in entries if e.key in children], children, rng)
        finally:
            for child in children.values():
                child.close()
        seconds = time.perf_counter() - started
        slowed = throttling.slowed(before, throttling.marks())
        return Launch(self.order.index, series, seconds, steal_seconds() - stolen, environment, slowed=slowed)

    def _open(self, entry: Timed) -> Child | Series:
        child: Child | None = None
        began = time.perf_counter()
        try:
            if self.host.cancel.is_set():
                raise Cancelled("Cancelled while models were opened.")
            child = self.host.supervisor.child(entry.group, self.host.cancel)
            arguments = {
                "path": entry.path,
                "format": entry.format,
                "target": entry.target.to_json(),
                "data": entry.data or self.order.data,
                "reads": entry.reads or (entry.path,),
                "cold": self.order.index % 2 == 1,
            }
            child.call(self._task("prepare", entry, arguments), cancel=self.host.cancel)
            self.spent[entry.key] = (time.perf_counter() - began) / 2
            return child
        except DeploykitError as error:
            if child is not None:
                child.close()
            return Series(error=to_json(error))

    def _time(self, entries: Sequence[Timed], children: dict[str, Child], rng: random.Random) -> dict[str, Series]:
        blocks: dict[str, list[dict[str, Any]]] = {e.key: [] for e in entries}
        failed: dict[str, Series] = {}

        def everybody(function: str, arguments: Callable[[str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
            """Have each session that still works do something, in random order."""
            found = {}
            order = [e for e in entries if e.key not in failed]
            rng.shuffle(order)
            for entry in order:
                if self.host.cancel.is_set():
                    raise Cancelled("Cancelled while latency was measured.")
                began = time.perf_counter()
                try:
                    task = self._task(function, entry, arguments(entry.key))
                    found[entry.key] = children[entry.key].call(task, cancel=self.host.cancel)
                except Cancelled:
                    raise
                except DeploykitError as error:
                    failed[entry.key] = Series(error=to_json(error))
                    continue
                self.spent[entry.key] += time.perf_counter() - began
            return found

        loaded = everybody("open_session", lambda _key: {})
        warm = everybody("warm_up", lambda _key: {})
        rounds = min([self.order.rounds, *(w["runs"] for w in warm.values())])
        for _round in range(rounds):
            found = everybody("run_block", lambda key: {"runs": max(1, round(warm[key]["runs"] / rounds))})
            for key, block in found.items():
                blocks[key].append(block)
        slow = {k for k, found in loaded.items() if found["slow_meter"]} if self.order.index < _ENERGY_LAUNCHES else ()
        for key, counted in everybody("count_energy", lambda key: {"wanted": key in slow}).items() if slow else ():
            blocks[key][-1] |= counted
        if any(found["writes"] for found in loaded.values()):
            for key, written in everybody("write_tokens", lambda _key: {}).items():
                warm[key] |= written
        lengths: dict[str, dict[str, tuple[int, ...]]] = {e.key: {} for e in entries}
        for length in sorted({n for e in entries for n in e.target.lengths}):
            for _round in range(_LENGTH_ROUNDS):
                for key, block in everybody("run_length", lambda _key, length=length: {"length": length}).items():  # type: ignore[misc]
                    if block["times_ns"]:
                        lengths[key][str(length)] = (*lengths[key].get(str(length), ()), _median(block["times_ns"]))
        timed = (key for key in blocks if key not in failed)
        made = {k: _series(blocks[k], {**loaded[k], **warm[k]}, self.spent[k]) for k in timed}
        return {k: replace(series, lengths_ns=lengths[k]) for k, series in made.items()} | failed

    def _task(self, function: str, entry: Timed, arguments: dict[str, Any]) -> Task:
        log = str(Path(self.order.log_dir) / f"latency-{entry.key}.log")
        words = _WORDS[function]
        return Task(
            f"{_WORK}:{function}", arguments, entry.group, self.order.deadline_s, self.order.memory_bytes, log=log,
            name=words,
        )  # fmt: skip


def _median(times: Sequence[int]) -> int:
    return sorted(times)[len(times) // 2]


def _series(blocks: list[dict[str, Any]], warm: dict[str, Any], seconds: float) -> Series:
    medians = tuple(_median(b["times_ns"]) for b in blocks)
    return Series(
        medians,
        tuple(t for b in blocks for t in b["times_ns"]),
        sum(b["cpu_ns"] for b in blocks),
        sum(b["switches"] for b in blocks),
        warm["warm"],
        warm["peak_memory_bytes"],
        seconds=seconds,
        load_ns=warm["load_ns"],
        cached=warm["cached"],
        first_ns=warm["first_ns"],
        batch=warm["batch"],
        energy_uj=sum(b["energy_uj"] for b in blocks),
        energy_runs=sum(b["energy_runs"] for b in blocks),
        energy_from=warm["energy_from"],
        no_energy=warm["no_energy"],
        tokens=warm.get("tokens", 0),
        tokens_ns=warm.get("tokens_ns", 0),
        no_tokens=warm.get("no_tokens", ""),
        write=warm.get("write", 0),
    )

"""One task on a worker: bring the files, run it, bring the results back; again elsewhere when the worker is lost."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from deploykit.core.adapter import Group
from deploykit.core.errors import EngineError, SettingError, StoreError, from_json
from deploykit.core.tools import Tool
from deploykit.engines import _worker as remote
from deploykit.engines._contract import OnReport, Running
from deploykit.engines._files import Tree, bundles, chunks, describe, read_chunk, translate, write_chunk
from deploykit.engines._fleet import Fleet, Member, WorkerLost
from deploykit.sandbox.task import Task

_LOG = logging.getLogger(__name__)
_LONGEST_PATH = 4096
#: Tasks this driver watches at once; each waits in a thread.
_MOST = 256
#: How many workers a task may lose before it is taken for their murderer.
_MOST_LOSSES = 5
#: Time in which a worker has read a folder on a shared disk, to compare it.
_BORROW_S = 600.0


class _FilesGone(Exception):  # noqa: N818  no fault: the worker's folder was emptied
    """Files that were on a worker are no longer there."""


class Load(NamedTuple):
    """A tree that a task reads, the folder that it is in here, and whether it is all of that folder."""

    tree: Tree
    root: Path
    whole: bool


@dataclass
class Freight:
    """Trees the driver has described or sent. Thread-safe.

    Attributes:
        known: (shelf, digest) of trees that are on shelves.
    """

    known: set[tuple[str, str]] = field(default_factory=set)
    _described: dict[tuple[Any, ...], Tree] = field(default_factory=dict)
    _locks: dict[tuple[str, str], threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def pack(self, reads: tuple[str, ...]) -> tuple[dict[str, tuple[str, str]], dict[str, Load]]:
        """What a task reads: path → (digest of its tree, path in it), and digest → what is to be there."""
        places: dict[str, tuple[str, str]] = {}
        trees: dict[str, Load] = {}
        for bundle in bundles(reads):
            stamps = [(str(f), (s := f.stat()).st_mtime_ns, s.st_size) for f in sorted(bundle.files)]
            state = (str(bundle.root), *stamps)
            if (tree := self._described.get(state)) is None:
                tree = self._described[state] = describe(bundle.root, bundle.files)
            trees[tree.digest] = Load(tree, bundle.root, bundle.whole)
            names = [bundle.root] if bundle.whole else bundle.files
            places |= {
                str(n): (tree.digest, "" if bundle.whole else n.relative_to(bundle.root).as_posix()) for n in names
            }
        return places, trees

    def send(self, fleet: Fleet, member: Member, trees: dict[str, Load]) -> None:
        """Bring the trees that a member lacks; each is sent to a shelf only once, on the first request."""
        for digest in [d for d in trees if (member.shelf, d) not in self.known]:
            with self._lock:
                lock = self._locks.setdefault((member.shelf, digest), threading.Lock())
            with lock:
                if (member.shelf, digest) in self.known:
                    continue
                load = trees[digest]
                if fleet.call(member, remote.missing, [digest]):
                    where = str(load.root.absolute())
                    if load.whole and fleet.call(member, remote.borrow, where, digest, timeout_s=_BORROW_S):
                        _LOG.info("%s reads %s where it lies", member.address, where)
                    else:
                        self._send(fleet, member, load.tree, load.root)
                self.known.add((member.shelf, digest))

    def _send(self, fleet: Fleet, member: Member, tree: Tree, root: Path) -> None:
        name = fleet.call(member, remote.begin)
        for part in tree.members:
            for offset, length in chunks(part.size_bytes, fleet.chunk_bytes):
                data = read_chunk(root / part.path, offset, length)
                fleet.call(member, remote.receive, name, part.path, offset, data)
        fleet.call(member, remote.finish, name, tree.to_json(), timeout_s=600.0)


def _check_declared(task: Task) -> None:
    """Refuse a task that names a file of this machine without declaring it: on another machine it is not there.

    Raises:
        SettingError: It does; addresses the task's author.
    """
    declared = dict.fromkeys((*task.reads, *task.writes, *([task.log] if task.log else [])), "")

    def check(value: Any) -> None:
        if isinstance(value, str) and value.startswith(os.sep) and len(value) < _LONGEST_PATH and Path(value).exists():
            raise SettingError(f"The task {task.function} names {value} but declares it in neither reads nor writes.")
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
            check(item)

    check(translate(task.arguments, declared))


class Dispatch:
    """Runs tasks on the members of a fleet."""

    def __init__(self, fleet: Fleet, cancel: threading.Event) -> None:
        self._fleet = fleet
        self._cancel = cancel
        self._freight = Freight()

    def run(self, task: Task, hardware: str, on_report: OnReport | None) -> dict[str, Any]:
        """Run a task; with ``hardware`` on a machine of its own.

        Returns:
            The result; ``lost_workers`` in it says why the task was run again, when it was.

        Raises:
            DeploykitError: What the task raised.
            EngineError: No worker is left, or this task has lost several.
        """
        _check_declared(task)
        losses: list[str] = []
        while True:
            places, trees = self._freight.pack(task.reads)
            with self._place(task, hardware, trees) as member:
                try:
                    found = self._attempt(member, task, bool(hardware), places, trees, on_report)
                    return {**found, "lost_workers": losses} if losses else found
                except WorkerLost as loss:
                    self._fleet.check()
                    losses.append(f"{member.host} ({member.address}): {loss}")
                    _LOG.info("%s is run again: lost %s", task.name, losses[-1])
                except _FilesGone:
                    continue
            if len(losses) > _MOST_LOSSES:
                raise EngineError(
                    f"{task.name or task.function} has lost {len(losses)} workers: {'; '.join(losses)}.",
                    remedy="check the workers' logs, then rerun the sweep: finished work is kept.",
                )

    def _place(self, task: Task, hardware: str, trees: dict[str, Load]) -> AbstractContextManager[Member]:
        if hardware:
            return self._fleet.place_alone(task.devices, hardware, self._cancel)

        def near(member: Member) -> int:
            return sum((member.shelf, digest) in self._freight.known for digest in trees)

        return self._fleet.place(task.devices, self._cancel, near)

    def _attempt(
        self,
        member: Member,
        task: Task,
        exclusive: bool,
        places: dict[str, tuple[str, str]],
        trees: dict[str, Load],
        on_report: OnReport | None,
    ) -> dict[str, Any]:
        try:
            self._freight.send(self._fleet, member, trees)
        except StoreError as error:
            raise _of_its_disk(member, error) from error
        if exclusive:
            self._fleet.tell(self._fleet.neighbors(member), remote.drain)
        writes = {path: Path(path).is_dir() for path in (*task.writes, *([task.log] if task.log else []))}
        unit = remote.Unit(f"deploykit-{uuid.uuid4().hex}", task, exclusive, places, writes)
        with self._fleet.execute(member, unit, self._cancel, on_report) as answer:
            if "missing" in answer:
                self._freight.known -= {(member.shelf, digest) for digest in answer["missing"]}
                raise _FilesGone
            kind = "exclusive" if exclusive else "task"
            _LOG.debug(
                "%s %s on %s %s from %.3f to %.3f s", kind, task.name, member.address, member.machine, *answer["span"]
            )
            self._bring_back(member, unit, answer)
        if "error" in answer:
            raised = from_json(answer["error"])
            raise _of_its_disk(member, raised) if isinstance(raised, StoreError) else raised
        result: dict[str, Any] = answer["result"]
        return result

    def _bring_back(self, member: Member, unit: remote.Unit, answer: dict[str, Any]) -> None:
        keep = []
        for path, (place, plain) in answer["written"].items():
            tree = Tree.from_json(plain)
            whole = unit.writes[path] and not any(Path(path).iterdir())  # later tasks will read the folder as it is now
            for part in tree.members:
                is_log = part.path.endswith(".log")
                if (is_log and not part.size_bytes) or (not unit.writes[path] and part.path != Path(path).name):
                    continue
                target = Path(path) / part.path if unit.writes[path] else Path(path)
                self._fetch(member, unit, f"{place}/{part.path}", part.size_bytes, part.sha256, target)
            if unit.writes[path] and "result" in answer and whole:
                keep.append((place, plain))
                self._freight.known.add((member.shelf, tree.digest))
        self._fleet.call(member, remote.release, unit.name, keep, timeout_s=600.0)

    def _fetch(self, member: Member, unit: remote.Unit, name: str, size: int, sha256: str, target: Path) -> None:
        from deploykit.core.digest import file_digest

        temporary = target.with_name(f"{target.name}.{unit.name[-8:]}.part")
        try:
            for offset, length in chunks(size, self._fleet.chunk_bytes):
                data = self._fleet.call(member, remote.fetch, unit.name, name, offset, length)
                write_chunk(temporary, offset, data)
            if file_digest(temporary) != sha256:
                raise WorkerLost(f"{name} arrived damaged")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def _of_its_disk(member: Member, error: StoreError) -> EngineError:
    """The error of a worker's disk, which is not that of the store."""
    return EngineError(
        f"The worker {member.address} on {member.host}: {error.message}",
        remedy="free some space on that machine, then rerun the sweep: finished work is kept.",
    )


class RemoteRunning(Running):
    """Tasks run on the members of a fleet."""

    def __init__(self, fleet: Fleet, cancel: threading.Event) -> None:
        self.cancel = cancel
        self._fleet = fleet
        self._dispatch = Dispatch(fleet, cancel)
        self._pool = ThreadPoolExecutor(_MOST, thread_name_prefix="deploykit-remote")
        self._hardware: dict[str, tuple[str, dict[str, Any]]] = {}

    @property
    def slots(self) -> int:  # type: ignore[override]  # workers come and go
        """How many tasks run at once."""
        return max(1, min(_MOST, self._fleet.slots))

    def submit(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        """Run a task on a member."""
        return self._pool.submit(self._dispatch.run, task, "", on_report)

    def exclusive(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        """Run a task that owns a member's machine."""
        device = next(iter(task.devices), "cpu")
        return self._pool.submit(self._dispatch.run, task, self._timing(device)[0], on_report)

    def require(self, devices: Collection[str], tools: Collection[Tool] = ()) -> None:
        """Refuse workers with other versions, and devices that none offers."""
        self._fleet.require(tools)
        absent = sorted(set(devices) - {d for m in self._fleet.usable for d in m.devices})
        if absent:
            raise EngineError(
                f"No worker offers the device {' or '.join(absent)}; there is {self._fleet.offered()}.",
                remedy=self._fleet.to_offer(absent[0]),
            )
        for device in sorted(devices, key="cpu".__eq__):  # devices first: their machines offer the CPU as well
            self._timing(device)

    def facts(self, device: str) -> dict[str, Any]:
        """Facts of the hardware that times a device."""
        return self._timing(device)[1]

    def warm(self, group: Group) -> None:
        """Let all members import a group's modules."""
        self._fleet.tell(self._fleet.usable, remote.warm, group)

    def close(self) -> None:
        """Wait for what runs, and let the members go."""
        self._pool.shutdown(cancel_futures=True)
        self._fleet.close()

    def _timing(self, device: str) -> tuple[str, dict[str, Any]]:
        """The hardware that times a device: one for the whole sweep, and for all devices if some hardware has them."""
        if device not in self._hardware:
            able = [m for m in self._fleet.usable if device in m.devices]
            if not able:
                self.require([device])
            chosen = {digest for digest, _ in self._hardware.values()}
            alike = [m.hardware for m in able]
            best = max(able, key=lambda m: (m.hardware in chosen, len(m.devices), alike.count(m.hardware), m.hardware))
            self._hardware[device] = (best.hardware, best.facts)
        return self._hardware[device]

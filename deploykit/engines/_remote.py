"""One task on a worker: bring the files, run it, bring the results back; again elsewhere when the worker is lost."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploykit.core.errors import Cancelled, EngineError, SettingError, StoreError, from_json
from deploykit.engines import _worker as remote
from deploykit.engines._cluster import SLOT, Cluster, Member, WorkerLost
from deploykit.engines._contract import OnReport
from deploykit.engines._files import Tree, bundles, chunks, describe, read_chunk, translate, write_chunk
from deploykit.sandbox.task import Task

_LOG = logging.getLogger(__name__)
_POLL_S = 0.2
_LONGEST_PATH = 4096
#: How many workers a task may lose before it is taken for their murderer.
_MOST_LOSSES = 5


class _FilesGone(Exception):  # noqa: N818  no fault: the worker's folder was emptied
    """Files that were on a worker are no longer there."""


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

    def pack(self, reads: tuple[str, ...]) -> tuple[dict[str, tuple[str, str]], dict[str, tuple[Tree, Path]]]:
        """What a task reads: path → (digest of its tree, path in it), and digest → (tree, its root here)."""
        places: dict[str, tuple[str, str]] = {}
        trees: dict[str, tuple[Tree, Path]] = {}
        for bundle in bundles(reads):
            stamps = [(str(f), (s := f.stat()).st_mtime_ns, s.st_size) for f in sorted(bundle.files)]
            state = (str(bundle.root), *stamps)
            if (tree := self._described.get(state)) is None:
                tree = self._described[state] = describe(bundle.root, bundle.files)
            trees[tree.digest] = (tree, bundle.root)
            names = [bundle.root] if bundle.whole else bundle.files
            places |= {
                str(n): (tree.digest, "" if bundle.whole else n.relative_to(bundle.root).as_posix()) for n in names
            }
        return places, trees

    def send(self, cluster: Cluster, member: Member, trees: dict[str, tuple[Tree, Path]]) -> None:
        """Bring the trees that a member lacks; each is sent to a shelf only once, on the first request."""
        for digest in [d for d in trees if (member.shelf, d) not in self.known]:
            with self._lock:
                lock = self._locks.setdefault((member.shelf, digest), threading.Lock())
            with lock:
                if (member.shelf, digest) in self.known:
                    continue
                if cluster.call(member, remote.missing, [digest]):
                    self._send(cluster, member, *trees[digest])
                self.known.add((member.shelf, digest))

    def _send(self, cluster: Cluster, member: Member, tree: Tree, root: Path) -> None:
        name = cluster.call(member, remote.begin)
        for part in tree.members:
            for offset, length in chunks(part.size_bytes):
                data = read_chunk(root / part.path, offset, length)
                cluster.call(member, remote.receive, name, part.path, offset, data)
        cluster.call(member, remote.finish, name, tree.to_json(), timeout_s=600.0)


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
    """Runs tasks on the members of a cluster."""

    def __init__(self, client: Any, cluster: Cluster, cancel: threading.Event) -> None:
        self._client = client
        self._cluster = cluster
        self._cancel = cancel
        self._freight = Freight()
        self._topic = f"deploykit-{uuid.uuid4().hex}"
        self._latest: dict[str, tuple[float, float, str]] = {}
        client.subscribe_topic(self._topic, self._hear)

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(Exception):  # the connection may be closed
            self._client.unsubscribe_topic(self._topic)

    def _hear(self, event: tuple[Any, dict[str, Any]]) -> None:
        """In the client's event loop: only note what is said."""
        self._latest[event[1]["unit"]] = tuple(event[1]["report"])

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
                    self._cluster.check()
                    losses.append(f"{member.host} ({member.address}): {loss}")
                    _LOG.info("%s is run again: lost %s", task.name, losses[-1])
                except _FilesGone:
                    continue
            if len(losses) > _MOST_LOSSES:
                raise EngineError(
                    f"{task.name or task.function} has lost {len(losses)} workers: {'; '.join(losses)}.",
                    remedy="check the workers' logs, then rerun the sweep: finished work is kept.",
                )

    def _place(self, task: Task, hardware: str, trees: dict[str, tuple[Tree, Path]]) -> AbstractContextManager[Member]:
        if hardware:
            return self._cluster.place_alone(task.devices, hardware, self._cancel)

        def near(member: Member) -> int:
            return sum((member.shelf, digest) in self._freight.known for digest in trees)

        return self._cluster.place(task.devices, self._cancel, near)

    def _attempt(
        self,
        member: Member,
        task: Task,
        exclusive: bool,
        places: dict[str, tuple[str, str]],
        trees: dict[str, tuple[Tree, Path]],
        on_report: OnReport | None,
    ) -> dict[str, Any]:
        self._freight.send(self._cluster, member, trees)
        if exclusive:
            self._cluster.tell(self._cluster.neighbors(member), remote.drain)
        writes = {path: Path(path).is_dir() for path in (*task.writes, *([task.log] if task.log else []))}
        unit = remote.Unit(f"deploykit-{uuid.uuid4().hex}", task, exclusive, places, writes, self._topic)
        resources = {SLOT: member.slots if exclusive else 1} | dict.fromkeys(task.devices, 1)
        future = self._submit(
            remote.run,
            unit.to_json(),
            key=unit.name,
            pure=False,
            workers=[member.address],
            resources=resources,
            retries=0,
        )
        try:
            answer = self._wait(member, unit, future, on_report)
            if "missing" in answer:
                self._freight.known -= {(member.shelf, digest) for digest in answer["missing"]}
                raise _FilesGone
            kind = "exclusive" if exclusive else "task"
            _LOG.debug(
                "%s %s on %s %s from %.3f to %.3f s", kind, task.name, member.address, member.machine, *answer["span"]
            )
            self._bring_back(member, unit, answer)
        finally:
            self._latest.pop(unit.name, None)
            with contextlib.suppress(Exception):  # the connection may be closed
                future.cancel()
        if "error" in answer:
            error = from_json(answer["error"])
            if isinstance(error, StoreError):  # its disk, not that of the store
                raise EngineError(f"The worker {member.address} on {member.host}: {error.message}", remedy=error.remedy)
            raise error
        result: dict[str, Any] = answer["result"]
        return result

    def _submit(self, function: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return self._client.submit(function, *arguments, **options)
        except Exception as error:  # the connection was closed just now
            raise WorkerLost(f"work cannot be sent to it ({type(error).__name__})") from error

    def _wait(self, member: Member, unit: remote.Unit, future: Any, on_report: OnReport | None) -> dict[str, Any]:
        """The unit's answer.

        Raises:
            WorkerLost: The worker is gone.
            Cancelled: The user cancelled.
            EngineError: The worker cannot run units.
        """
        finished = threading.Event()
        future.add_done_callback(lambda _future: finished.set())
        told = None
        while not finished.wait(_POLL_S):
            if self._cancel.is_set():
                raise Cancelled(f"Cancelled during {unit.task.name or unit.task.function}.")
            if member.lost or self._cluster.failed:
                raise WorkerLost(member.lost or self._cluster.failed)
            latest = self._latest.get(unit.name)
            if on_report is not None and latest is not None and latest is not told:
                told = latest
                on_report(*latest)
        if future.status == "finished":
            try:
                answer: dict[str, Any] = self._client.sync(self._client._gather, future, callback_timeout=60.0)
            except Exception as error:  # the worker died with the answer
                raise WorkerLost(f"its answer was lost ({type(error).__name__})") from error
            return answer
        if future.status == "error" and type(future.exception()).__name__ != "KilledWorker":
            cause = future.exception()
            raise EngineError(
                f"The worker {member.address} failed in {unit.task.name}: {type(cause).__name__}: {cause}.",
                remedy="check the worker's log.",
            )
        raise WorkerLost(f"Dask gave up on its task ({future.status})")

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
        self._cluster.call(member, remote.release, unit.name, keep, timeout_s=600.0)

    def _fetch(self, member: Member, unit: remote.Unit, name: str, size: int, sha256: str, target: Path) -> None:
        from deploykit.core.digest import file_digest

        temporary = target.with_name(f"{target.name}.{unit.name[-8:]}.part")
        try:
            for offset, length in chunks(size):
                data = self._cluster.call(member, remote.fetch, unit.name, name, offset, length)
                write_chunk(temporary, offset, data)
            if file_digest(temporary) != sha256:
                raise WorkerLost(f"{name} arrived damaged")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

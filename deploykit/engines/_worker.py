"""What runs in the process of a worker: tasks under its own crash supervisor, and the exchange of files.

All functions are called from the driver by name. Short ones may run in the worker's event loop; what takes longer is
handed to a thread.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from deploykit._version import __version__
from deploykit.core.adapter import Group
from deploykit.core.errors import DeploykitError, to_json
from deploykit.core.registry import registry
from deploykit.core.serial import Plain
from deploykit.core.tools import Tool
from deploykit.engines._borrowed import VARIABLE, Borrowed
from deploykit.engines._contract import DEVICES, FACTS, Host, run_on_host
from deploykit.engines._files import Shelf, Tree, default_shelf, describe, files_of, read_chunk, translate
from deploykit.engines.local import slots
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task, resolve
from deploykit.sandbox.turn import together
from deploykit.storage.disk import writing

#: Units whose files are still here.
_kept: set[str] = set()


@cache
def shelf() -> Shelf:
    """The shelf of this worker."""
    found = Shelf(default_shelf())
    found.hold()
    return found


@cache
def borrowed() -> Borrowed:
    """What this worker reads where it lies."""
    return Borrowed(os.environ.get(VARIABLE, ""))


def hello() -> dict[str, Any]:
    """Who this worker is: version, host, identity of the machine, folder, facts of the hardware, tasks at once."""
    return {
        "version": __version__,
        "host": platform.node(),
        "machine": machine(),
        "shelf": f"{platform.node()}:{shelf().folder}",
        "facts": cast("Callable[[], dict[str, Any]]", resolve(FACTS))(),
        "slots": slots(),
    }


def machine() -> str:
    """Identity of this machine."""
    boot = Path("/proc/sys/kernel/random/boot_id")  # the same in all containers of a machine
    return boot.read_text().strip() if boot.exists() else platform.node()


def versions(tools: list[dict[str, Any]]) -> list[dict[str, str] | str]:
    """Versions of the packages that adapters need here; for one that is not here, why."""
    found: list[dict[str, str] | str] = []
    for plain in tools:
        try:
            found.append(Tool.from_json(plain).versions())
        except DeploykitError as error:
            found.append(error.message)
    return found


def devices(runtimes: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Plain devices that runtimes know on this machine, by the runtime's name; they are asked in child processes."""
    known = registry("deploykit.runtimes", "runtime")
    tasks = {n: Task(DEVICES, {"runtime": n}, known.get(n).group, name=f"devices of {n}") for n in runtimes}
    return {name: shared().run(task)["devices"] for name, task in tasks.items()}


def ping() -> None:
    """Answer."""


def warm(group: Group) -> None:
    """Begin to import a group's modules."""
    shared().warm(group)


async def drain() -> None:
    """End idle children."""
    await asyncio.to_thread(shared().drain)


# -- files ----------------------------------------------------------------------------------------------------------


def missing(digests: list[str]) -> list[str]:
    """Which trees are neither read in place nor on the shelf."""
    return [d for d in digests if borrowed().place(d) is None and not shelf().has(d)]


async def borrow(root: str, digest: str) -> bool:
    """Whether a folder of the driver is on a disk that this worker shares, and the same: it is then read in place."""
    return await asyncio.to_thread(borrowed().take, root, digest)


def begin() -> str:
    """Begin to receive a tree."""
    with writing(shelf().folder):
        return shelf().begin()


async def receive(name: str, path: str, offset: int, data: bytes) -> None:
    """Take a piece of a file."""
    with writing(shelf().folder):
        await asyncio.to_thread(shelf().receive, name, path, offset, data)


async def finish(name: str, tree: dict[str, Any]) -> None:
    """Put a received tree on the shelf."""
    await asyncio.to_thread(shelf().finish, name, Tree.from_json(tree))


async def fetch(unit: str, path: str, offset: int, length: int) -> bytes:
    """A piece of a file a unit has written."""
    return await asyncio.to_thread(read_chunk, _written(unit) / path, offset, length)


async def release(unit: str, keep: list[tuple[str, dict[str, Any]]]) -> None:
    """Forget a unit's files; folders in ``keep`` go onto the shelf, since later tasks will read them."""
    await asyncio.to_thread(_release, unit, keep)


def _release(unit: str, keep: list[tuple[str, dict[str, Any]]]) -> None:
    for path, tree in keep:
        if not shelf().has(tree["digest"]):
            shelf().adopt(_written(unit) / path, Tree.from_json(tree))
    shutil.rmtree(_written(unit), ignore_errors=True)
    _kept.discard(unit)


def forget(wanted: set[Any]) -> None:
    """Drop what units have written whose drivers are gone."""
    for unit in [u for u in _kept if u not in wanted]:
        _release(unit, [])


def _written(unit: str) -> Path:
    return shelf().folder / "written" / unit


# -- tasks ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unit(Plain):
    """A task on its way to a worker.

    Attributes:
        name: Its identity, and the name of its folder.
        task: What to run; paths are the driver's.
        exclusive: Whether it owns the machine.
        reads: Path → (digest of the tree it is in, path in the tree).
        writes: Path → whether it is a folder.
    """

    name: str
    task: Task
    exclusive: bool
    reads: dict[str, tuple[str, str]]
    writes: dict[str, bool]


def run_unit(unit: Unit, report: Report, cancel: threading.Event) -> dict[str, Any]:
    """Run a unit.

    Args:
        unit: The task and its files.
        report: Called with its progress.
        cancel: Set when the result is no longer wanted.

    Returns:
        ``missing``: trees that are no longer here; or ``result`` or ``error`` (plain), with ``written``: path → (place,
        plain tree), and ``span``: when it began and ended on this machine's monotonic clock.
    """
    if absent := missing([digest for digest, _ in unit.reads.values()]):
        return {"missing": absent}
    places = {path: str(_tree(digest) / rest) for path, (digest, rest) in unit.reads.items()}
    folders: dict[str, str] = {}
    for number, (path, is_folder) in enumerate(unit.writes.items()):
        folders[path] = f"w{number}"
        folder = _written(unit.name) / folders[path]
        folder.mkdir(parents=True, exist_ok=True)
        places[path] = str(folder if is_folder else folder / Path(path).name)
    _kept.add(unit.name)
    task = Task.from_json(translate(unit.task.to_json(), places))
    began, answer = time.monotonic(), _supervised(unit, task, report, cancel)
    span = [began, time.monotonic()]
    back = {new: old for old, new in places.items()}
    written = {path: (name, describe(root, files_of(root)).to_json()) for path, name in folders.items()
               for root in [_written(unit.name) / name]}  # fmt: skip
    return {**_translated_back(answer, back), "written": written, "span": span}


def _tree(digest: str) -> Path:
    return borrowed().place(digest) or shelf().path(digest)


def _supervised(unit: Unit, task: Task, report: Report, cancel: threading.Event) -> dict[str, Any]:
    try:
        if unit.exclusive:
            return {"result": run_on_host(task, Host(shared(), cancel), report)}
        with together(cancel, lambda words: report(0, 0, words)):
            return {"result": shared().run(task, report, cancel)}
    except DeploykitError as error:
        return {"error": to_json(error)}


def _translated_back(answer: dict[str, Any], places: dict[str, str]) -> dict[str, Any]:
    """The answer with the driver's paths; errors name them in the middle of their text."""
    if "error" not in answer:
        found: dict[str, Any] = translate(answer, places)
        return found
    error = dict(answer["error"])
    for new, old in places.items():
        error = {k: v.replace(new, old) for k, v in error.items()}
    return {"error": error}

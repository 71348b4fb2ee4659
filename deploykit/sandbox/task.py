"""A task for a child process: plain data in, plain data out."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploykit.core.adapter import Group
from deploykit.core.errors import SettingError
from deploykit.core.serial import Plain

#: Modules of tasks that every group runs, and what they use: imported once by the parent, so that a child answers at
#: once. A module that has a function ``preload`` imports more by it, and one that has ``later`` names more for it to
#: import while it has nothing to do.
TASKS = (
    "deploykit.measuring.session_work",
    "deploykit.measuring.sessions.timing_work",
    "deploykit.sweeping.work",
    "isal.isal_zlib",
    "msgspec",
    "numpy.random",
    "psutil",
)

#: Passed to every task function: reports (done, total, words).
Report = Callable[[float, float, str], None]


@dataclass(frozen=True)
class Task(Plain):
    """A call of ``function(arguments, report)`` in a child.

    Attributes:
        function: ``"deploykit.package.module:function"``.
        arguments: Plain data.
        group: Import group of the child.
        deadline_s: Wall-clock seconds after which the child is killed.
        memory_bytes: Resident size above which the child is killed; 0: the supervisor's default.
        imports: Modules of the user that define custom layers.
        log: File that takes what the task writes to stdout and stderr; "" for the supervisor's own.
        name: What it does, in words, for messages.
        fresh: It needs a process of its own, for example because it sets a framework's number of threads.
        reads: Files and folders whose paths occur in the arguments and are read: an engine on another machine brings
            them there and puts its own paths into the arguments.
        writes: Files and folders it writes and the caller wants; an engine on another machine brings them back.
        devices: Devices it needs besides the CPU, by the names of ``Target.device``.
        on_target: It belongs where candidates are measured: it opens one on its runtime, or compiles for that machine.
            An engine that only measures elsewhere runs all other tasks here.
    """

    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    group: Group = "light"
    deadline_s: float = 600.0
    memory_bytes: int = 0
    imports: tuple[str, ...] = ()
    log: str = ""
    name: str = ""
    fresh: bool = False
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    on_target: bool = False


def resolve(function: str) -> Callable[[dict[str, Any], Report], dict[str, Any]]:
    """The function of a task; only functions of installed adapters and of deploykit are called."""
    module, _, attribute = function.partition(":")
    if not attribute or attribute.startswith("_"):
        raise SettingError(f"Not a task function: {function!r}.")
    found: Callable[[dict[str, Any], Report], dict[str, Any]] = getattr(importlib.import_module(module), attribute)
    return found


def parent_paths() -> list[str]:
    """The driver's import path, so that children find the user's modules."""
    return [p or str(Path.cwd()) for p in sys.path]

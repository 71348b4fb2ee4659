"""The program a child runs.

Three ways to start: ``spawn`` runs tasks in this very process; ``once`` does so without importing the group's modules
first; ``fork`` imports them once and forks a child for each request (see `deploykit.sandbox.supervisor`). In all of
them the child ends when its driver is gone.
"""

from __future__ import annotations

import array
import contextlib
import errno
import faulthandler
import gc
import importlib
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deploykit.core import errors
from deploykit.core.extras import explained, import_all
from deploykit.core.serial import parse
from deploykit.sandbox.groups._contract import GROUPS, ImportGroup
from deploykit.sandbox.task import TASKS, resolve
from deploykit.sandbox.wire import Wire
from deploykit.storage.disk import full, is_full

#: Descriptor of what a task writes to its log.
_LOG = 2
#: A parent that was asked nothing for so long has nothing to do.
_IDLE_S = 0.2
#: How long a child that was killed may take to end.
_REAP_S = 5.0


def preload(group: ImportGroup) -> None:
    """Import what the group's children need; packages that are not installed are passed over."""
    _import([*group.modules, *TASKS])


def _import(modules: Iterable[str]) -> None:
    import_all(modules)
    for module in TASKS:  # each time, since some packages lengthen the path on which adapters are looked for
        if hook := getattr(sys.modules.get(module), "preload", None):
            hook()
    # What was imported is never collected: children share its pages instead of copying them.
    gc.collect()
    gc.freeze()


def _work() -> Iterator[str]:
    """Modules that tasks import where their work starts; they are looked for when they are about to be imported."""
    for module in TASKS:
        if hook := getattr(sys.modules.get(module), "later", None):
            yield from hook()


def run_tasks(wire: Wire, own_log: str) -> None:
    """Run tasks until the driver closes the wire; a task without a log of its own writes to ``own_log``."""
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        while True:
            try:
                inbox.put(wire.receive())
            except EOFError:
                os._exit(0)  # the driver is gone: nothing this process does matters any more

    threading.Thread(target=listen, name="deploykit-wire", daemon=True).start()
    while True:
        answer = _run(inbox.get(), wire, own_log)
        try:
            wire.send(answer)
        except (TypeError, ValueError, OverflowError) as error:  # a result without a JSON form
            wire.send({"error": errors.to_json(errors.CandidateError(f"The task's result cannot be sent: {error}."))})


def _run(message: dict[str, Any], wire: Wire, own_log: str) -> dict[str, Any]:
    def report(done: float, total: float, words: str) -> None:
        wire.send({"progress": [done, total, words]})

    try:
        _redirect(message.get("log") or own_log)
        for path in message.get("paths", ()):
            if path not in sys.path:
                sys.path.append(path)
        for module in message.get("imports", ()):
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise errors.SettingError(
                    f"Cannot import {module!r} in a child process: {error}.",
                    remedy="put the module on the import path (sys.path), then pass imports=[…] again.",
                ) from error
        return {"result": resolve(message["function"])(message["arguments"], report)}
    except MemoryError:
        return {"error": errors.to_json(errors.CandidateMemory("Out of memory.", remedy="raise memory=."))}
    except BaseException as error:
        return {"error": errors.to_json(_clear(error))}
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


def _clear(error: BaseException) -> errors.DeploykitError:
    """What a task has raised, as an error for people."""
    import traceback

    with contextlib.suppress(OSError):  # a failed row's log says where it came from, unless it does not fit
        traceback.print_exception(error)
    if isinstance(error, errors.StoreError):
        return error
    if is_full(error):  # also where a library, or one of our own errors, has wrapped it
        return full("a folder that is written to", " ".join(str(error).split()))
    if isinstance(error, errors.DeploykitError):
        return error
    if isinstance(error, ModuleNotFoundError) and (missing := explained(error)):
        return missing
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return errors.StoreError(
            f"The disk is read-only: {error}.", remedy="choose a folder you can write to, then run it again."
        )
    text = " ".join(str(error).split())
    shown = text if len(text) < 600 else f"{text[:600]}…"
    return errors.CandidateError(f"{type(error).__name__}: {shown}")


def _redirect(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


def _detach_input() -> int:
    """A copy of stdin's descriptor; stdin itself becomes empty, so that no task can read the driver's messages."""
    copy = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return copy


def serve_forks(control: socket.socket, log: str, later: Iterable[str] = ()) -> None:
    """Fork a child for each request, and import ``later`` while there is none.

    Ends, with all children, when the driver closes ``control``.
    """
    children: set[int] = set()
    # What takes longest comes first: a child that is forked before it is there would import it by itself.
    waiting: list[Iterable[str]] = [*([module] for module in later), _work()]
    while True:
        while waiting and not select.select([control], [], [], _IDLE_S)[0]:
            _import(waiting.pop(0))
        try:
            message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 1)
        except OSError:
            message, descriptors = b"", []
        if not message:
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os._exit(0)
        request = parse(message)
        if "wait" in request:
            control.sendall(array.array("i", [_reap(request["wait"])]).tobytes())
            children.discard(request["wait"])
            continue
        pid = os.fork()
        if pid == 0:
            control.close()
            _become_child(socket.socket(fileno=descriptors[0]), log)
        os.close(descriptors[0])
        children.add(pid)
        control.sendall(array.array("i", [pid]).tobytes())


def _reap(pid: int) -> int:
    """The exit status of a child that was killed or has hung up; the system may take a while to end it."""
    end = time.monotonic() + _REAP_S
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return -signal.SIGKILL
        time.sleep(0.002)


def _become_child(connection: socket.socket, log: str) -> None:
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the forking parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run_tasks(Wire(connection.makefile("rb"), connection.makefile("wb")), log)
    finally:
        os._exit(1)


def main() -> None:
    """``python -m deploykit.sandbox.child fork|spawn|once GROUP LOG``."""
    method, name, log = sys.argv[1:4]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    # The log says where a crash, or a hang that the driver ends, has found the process.
    faulthandler.enable(_LOG)
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, _LOG)
    group = GROUPS.get(name)
    if method == "fork":
        control = socket.socket(fileno=_detach_input())
        _redirect(log)
        preload(group)
        control.sendall(b"r")
        serve_forks(control, log, group.later)
    else:
        reader, writer = os.fdopen(_detach_input(), "rb"), os.fdopen(os.dup(1), "wb")
        _redirect(log)
        if method == "spawn":
            preload(group)
        run_tasks(Wire(reader, writer), log)


if __name__ == "__main__":
    main()

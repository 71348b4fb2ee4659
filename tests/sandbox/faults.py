"""Tasks that run in children: some work, most misbehave."""

import contextlib
import ctypes
import json
import mmap
import os
import signal
import socket
import stat
import sys
import threading
import time
from pathlib import Path

import psutil

from deploykit.core import errors


def echo(arguments, report):
    return {"pid": os.getpid(), **arguments}


def imported(arguments, report):
    return {"pid": os.getpid(), "modules": sorted({name.partition(".")[0] for name in sys.modules})}


def steps(arguments, report):
    for i in range(3):
        report(i, 3, f"step {i}")
    return {}


def fail(arguments, report):
    raise getattr(errors, arguments["type"])("what was found.", remedy="do this.")


def surprise(arguments, report):
    raise ZeroDivisionError("a line\nand another")


def wrapped(arguments, report):
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise errors.CandidateError("it failed.") from error


def segfault(arguments, report):
    ctypes.string_at(0)


def leave(arguments, report):
    os._exit(3)


def hang_up(arguments, report):
    """Ends the conversation, but not the process: even the thread that would end it waits for ever."""
    os._exit = lambda _status: threading.Event().wait()
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                socket.socket(fileno=os.dup(descriptor)).shutdown(socket.SHUT_WR)
            else:
                os.close(descriptor)
    threading.Event().wait()


def hang(arguments, report):
    """Says that it runs, then waits for ever."""
    Path(arguments["started"]).write_text(str(os.getpid()))
    time.sleep(600)


def stop_itself(arguments, report):
    os.kill(os.getpid(), signal.SIGSTOP)
    return {}


def chatter(arguments, report):
    """Reports without end."""
    while True:
        report(0, 1, "still here")


def grow(arguments, report):
    """Grows by 100 MB at a time, and is killed before it reaches 20 GB."""
    held = []
    for _ in range(200):
        held.append(b"x" * 100_000_000)
        time.sleep(0.1)
    return {}


def read_mapped(arguments, report):
    """Reads a file through a memory map, and reports after each 10 MB."""
    with Path(arguments["path"]).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for start in range(0, len(mapped), 10_000_000):
            sum(mapped[start : start + 10_000_000 : mmap.PAGESIZE])
            report(start, len(mapped), "reading")
        return {"resident": psutil.Process().memory_info().rss}


def temporary(arguments, report):
    """Leaves a temporary folder behind, as a child does that is killed."""
    import tempfile

    return {"folder": tempfile.mkdtemp()}


def write(arguments, report):
    print(arguments["text"], flush=True)
    print(arguments["text"].upper(), file=sys.stderr, flush=True)
    os.system(f"echo from a program: {arguments['text']}")
    return {}


def read_input(arguments, report):
    return {"input": sys.stdin.read()}


def odd_result(arguments, report):
    return {"thing": object()}


def modules(arguments, report):
    return {"loaded": sorted(m for m in sys.modules if "." not in m), "environment": dict(os.environ)}


def custom(arguments, report):
    return {"value": sys.modules["my_layers"].VALUE}


def stubborn(arguments, report):
    """Ignores every signal that can be ignored."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    hang(arguments, report)


def drive(path, method):
    """A driver: starts one hanging task and an idle child, writes their process ids, and waits to be killed."""
    from deploykit.sandbox.supervisor import Supervisor
    from deploykit.sandbox.task import Task

    folder = Path(path)
    supervisor = Supervisor(folder / "logs", method)
    task = Task("faults:stubborn", {"started": str(folder / "busy")})
    threading.Thread(target=lambda: supervisor.run(task), daemon=True).start()
    idle = supervisor.run(Task("faults:echo"))["pid"]
    while not (folder / "busy").exists() or not (folder / "busy").read_text():
        time.sleep(0.02)
    (folder / "pids.tmp").write_text(json.dumps([idle, int((folder / "busy").read_text())]))
    (folder / "pids.tmp").rename(folder / "pids")
    time.sleep(600)


if __name__ == "__main__":
    drive(*sys.argv[1:])

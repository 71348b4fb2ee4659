"""A cluster of worker processes on this machine, for tests and benchmarks that kill some of them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

_START_S = 60.0


class Cluster:
    """A Dask scheduler and ``deploykit worker`` processes, each in a session of its own; a context manager.

    Args:
        folder: Logs, and the workers' files.
        workers: How many to start.
        slots: Slots of each.
        devices: Devices each offers besides the CPU.
        tls: Files (``ca_file``, ``cert``, ``key``) that encrypt its connections; None: they are not.
        shared: Folders that its workers read in place.

    Attributes:
        engine: What to pass as ``engine``.
    """

    def __init__(
        self, folder: Path, workers: int = 2, *, slots: int = 1, devices: tuple[str, ...] = (),
        tls: dict[str, str] | None = None, shared: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.folder = folder
        self._tls = [text for k, v in (tls or {}).items() for text in (f"--tls-{k.replace('_', '-')}", v)]
        self._shared = [option for folder in shared for option in ("--shared", folder)]
        self._wanted = (workers, slots, devices)
        self._processes: list[subprocess.Popen[bytes]] = []
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{probe.getsockname()[1]}"
        self.engine = f"dask://{self.address}"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        port = self.address.rpartition(":")[2]
        protocol = self.address.partition("://")[0]
        self._start(
            "scheduler", "dask", "scheduler", "--host", "127.0.0.1", "--port", port, "--protocol", protocol,
            "--no-dashboard", *self._tls,
        )  # fmt: skip
        count, slots, devices = self._wanted
        for _ in range(count):
            self.add(slots, devices)
        self.wait_for(count)
        return self

    def __exit__(self, *_exception: object) -> None:
        for process in self._processes:
            self._kill(process)

    def add(self, slots: int = 1, devices: tuple[str, ...] = (), *, cores: frozenset[int] | None = None) -> None:
        """Start a worker; one that may only use some ``cores`` is other hardware to deploykit."""
        number = len(self._processes)
        options = [option for device in devices for option in ("--device", device)]
        folder = str(self.folder / "shelf")
        self._start(
            f"worker-{number}", "deploykit", "worker", self.address, "--slots", str(slots), "--folder", folder,
            *options, *self._shared, *self._tls,
        )  # fmt: skip
        if cores is not None:  # before it has started a thread
            os.sched_setaffinity(self._processes[-1].pid, cores)

    def pids(self) -> dict[str, int]:
        """Process of each connected worker by its address."""
        with self._client() as client:
            found: dict[str, int] = client.run(os.getpid, on_error="ignore")
        return found

    def _client(self) -> Any:
        from distributed import Client
        from distributed.security import Security

        security = None
        if self._tls:
            _, ca_file, _, cert, _, key = self._tls
            security = Security(tls_ca_file=ca_file, tls_client_cert=cert, tls_client_key=key, require_encryption=True)
        return Client(self.address, timeout=_START_S, set_as_default=False, security=security)

    @staticmethod
    def send(pid: int, number: signal.Signals) -> None:
        """Send a signal to a worker, its nanny and its supervisor's parents.

        SIGKILL is the end of a machine. After SIGSTOP its connections stand and nothing answers, as when it is cut off.
        """
        for member in _session(os.getsid(pid)):
            os.kill(member, number)

    def wait_for(self, count: int) -> None:
        """Wait until so many workers are connected."""
        with self._client() as client:
            client.wait_for_workers(count, timeout=_START_S)

    def log(self, number: int) -> str:
        """What a process wrote; 0 is the scheduler."""
        return next(self.folder.glob(f"{number}-*.log")).read_text()

    def _start(self, name: str, module: str, *arguments: str) -> None:
        environment = {
            **os.environ,
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        with (self.folder / f"{len(self._processes)}-{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(  # noqa: S603  our own interpreter
                    [sys.executable, "-m", module, *arguments], stdout=log, stderr=log, start_new_session=True,
                    env=environment,
                )
            )  # fmt: skip

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        for pid in _session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _session(leader: int) -> list[int]:
    """Processes of the session that a process leads."""
    return [pid for pid, session in sessions().items() if session == leader]


def sessions() -> dict[int, int]:
    """The session of each living process of this machine."""
    import psutil

    found = {}
    for process in psutil.process_iter(["status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                found[process.pid] = os.getsid(process.pid)
    return found


def wait_until(holds: object, seconds: float = 30.0) -> bool:
    """Poll a condition (a function) until it holds; whether it did in time."""
    assert callable(holds)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return False

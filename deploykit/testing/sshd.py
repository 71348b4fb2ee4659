"""An SSH server on this machine, for tests and benchmarks of the engine that measures over SSH."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from deploykit.engines._openssh import COMMAND

_START_S = 20.0
#: Where servers are that are not on the PATH of users.
_SYSTEM = os.pathsep.join(("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"))


def find_sshd() -> str | None:
    """Path of OpenSSH's server, None where it is not installed, and on Windows."""
    if os.name == "nt":
        return None
    return shutil.which("sshd") or shutil.which("sshd", path=_SYSTEM)


class SshServer:
    """OpenSSH's own server on a free port of 127.0.0.1, with keys of its own; a context manager.

    While it runs, the client that deploykit starts reads a configuration of its own and none of the user's.

    Args:
        folder: Keys, configuration, log, and the worker's files.

    Attributes:
        port: Its port.
        engine: What to pass as ``engine``: this interpreter, with this import path.
        known_hosts: The client's file of known hosts.
        key: The client's private key; the server accepts it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known_hosts = folder / "known_hosts"
        self.key = folder / "id"
        self._process: subprocess.Popen[bytes] | None = None
        self._before: str | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self.engine = self.engine_with(Path(sys.executable))

    def engine_with(self, python: Path | str) -> str:
        """What to pass as ``engine`` for another interpreter, or a script that starts one; "" for none."""
        return f"ssh://127.0.0.1:{self.port}{python}"

    def __enter__(self) -> Self:
        program = find_sshd()
        if program is None:
            raise FileNotFoundError("OpenSSH's server is not installed (Debian: apt-get install openssh-server)")
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("host_key", "id"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)  # noqa: S603, S607
        paths = os.pathsep.join(p for p in sys.path if p)
        (self.folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host_key\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.folder}/id.pub\nStrictModes no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
            f'SetEnv "PYTHONPATH={paths}" "DEPLOYKIT_WORKER_FOLDER={self.folder}/shelf" PYTHONWARNINGS=ignore\n'
        )
        (self.folder / "ssh_config").write_text(
            f"IdentityFile {self.key}\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {self.known_hosts}\n"
            "GlobalKnownHostsFile none\n"
        )
        self.learn(self.folder / "host_key.pub")
        if os.getuid() == 0:  # it changes to another user's rights in this folder, and refuses to start without it
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "sshd.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  the server that was found
                [program, "-D", "-e", "-f", str(self.folder / "sshd_config")], stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._before = os.environ.get(COMMAND)
        os.environ[COMMAND] = f"ssh -F {shlex.quote(str(self.folder / 'ssh_config'))}"
        end = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            if self._process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise RuntimeError(f"sshd did not start: {(self.folder / 'sshd.log').read_text()}")
            time.sleep(0.02)

    def __exit__(self, *_exception: object) -> None:
        os.environ.pop(COMMAND, None)
        if self._before is not None:
            os.environ[COMMAND] = self._before
        if self._process is not None:
            self.cut()
            self._process.kill()
            self._process.wait()

    def learn(self, public_key: Path) -> None:
        """Let the client know the server by a public key, which may be wrong."""
        kind, text = public_key.read_text().split()[:2]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {text}\n")

    def sessions(self) -> list[int]:
        """Processes of all its connections, workers included."""
        import psutil

        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self._process.pid).children(recursive=True)
            return [p.pid for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        return []

    def cut(self) -> None:
        """End all connections, and what runs in them."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

"""The workers of a Dask cluster: ``engine="dask://scheduler:8786"``, or a connected ``distributed.Client``.

Dask trusts everything that reaches the ports of a scheduler or a worker: they run any code they are sent, as the user
who started them. Workers listen on the one interface that reaches their scheduler; on networks that others share use
``tls://`` addresses, with certificates from ``deploykit worker --tls-…`` or from Dask's own configuration
(``distributed.comm.tls``), which let in only who has one.

A worker needs deploykit in the driver's version, the same frameworks, and the Dask resource ``slot``, which counts
the tasks it takes at once. ``deploykit worker ADDRESS`` starts one; so does ``dask worker ADDRESS --resources
"slot=2"``. Devices are resources as well: ``"slot=2 cuda=1"``. Files travel over Dask's own connections, unless a
worker shares the disk that they are on (``deploykit worker ADDRESS --shared FOLDER``).
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploykit.core.errors import EngineError
from deploykit.engines._contract import Engine, Running
from deploykit.engines._remote import RemoteRunning
from deploykit.engines.local import slots as default_slots

_CONNECT_S = 10.0
#: How long a worker waits for its scheduler to be started.
_JOIN_S = 60.0
_SOCKETS = {"tcp", "tls"}


class _DaskRunning(RemoteRunning):
    def __init__(self, client: Any, cancel: threading.Event, *, owned: bool) -> None:
        from deploykit.engines._cluster import Cluster

        super().__init__(Cluster(client), cancel)
        self._client = client
        self._owned = owned

    def close(self) -> None:
        super().close()
        if self._owned:
            self._client.close()


class Dask(Engine):
    """Runs tasks on the workers of a Dask cluster."""

    name = "dask"
    label = "a Dask cluster"
    help = "The workers of a Dask cluster; start them with: deploykit worker ADDRESS."
    extra = "dask"
    requires = ("distributed",)
    has_workers = True
    schemes = ("tcp", "tls")

    def start(self, address: Any, cancel: threading.Event) -> Running:
        """Begin to work on the scheduler at ``address`` (``host:8786``, ``tls://host:8786``), or with a ``Client``."""
        if not isinstance(address, str):
            if address.asynchronous:
                raise EngineError(
                    "The Dask client is asynchronous.", remedy="pass one made with asynchronous=False, or its address."
                )
            return _DaskRunning(address, cancel, owned=False)
        from distributed import Client

        if not address:
            raise EngineError("The address of the Dask scheduler is missing.", remedy='engine="dask://host:8786".')
        try:
            client = Client(address, timeout=_CONNECT_S, set_as_default=False)
        except TypeError as error:  # Dask's word for certificates that are missing
            raise _untrusted(address, error) from error
        except (OSError, ValueError) as error:
            if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
                raise _untrusted(address, error) from error
            raise EngineError(
                f"No Dask scheduler answers at {address}: {error}.",
                remedy="start one (dask scheduler), or correct the address.",
            ) from error
        try:
            return _DaskRunning(client, cancel, owned=True)
        except BaseException:
            client.close()
            raise

    def work(
        self,
        address: str,
        slots: int,
        devices: Sequence[str],
        folder: str,
        *,
        host: str = "",
        tls: Mapping[str, str] | None = None,
        shared: Sequence[str] = (),
    ) -> int:
        """Run ``dask worker`` with what deploykit needs: slots and devices as resources, no limit on memory.

        The limit would only count the worker's own process: children are watched by their supervisor.

        Raises:
            EngineError: The address is none, no scheduler answers there within a minute, TLS files are missing, or a
                shared folder is not there.
        """
        from deploykit.engines import _borrowed
        from deploykit.engines._files import Shelf, default_shelf

        self.check_installed()
        secured = _secured(address, tls)
        if shared:
            os.environ[_borrowed.VARIABLE] = _borrowed.listed(shared)
        reached_from = _await_scheduler(address)
        if folder:
            os.environ["DEPLOYKIT_WORKER_FOLDER"] = str(Path(folder).absolute())
        Shelf(default_shelf()).trim()
        count = slots or default_slots()
        resources = " ".join([f"slot={count}", *(f"{device}=1" for device in devices)])
        command = [
            sys.executable, "-m", "dask", "worker", address, "--nworkers", "1", "--nthreads", str(count),
            "--resources", resources, "--memory-limit", "0", "--no-dashboard", "--death-timeout", "60", *secured,
            *_listening(host or reached_from),
        ]  # fmt: skip
        if sys.platform != "win32":
            os.execv(sys.executable, command)  # noqa: S606  our own interpreter; signals reach the worker itself
        return subprocess.call(command)  # noqa: S603

    def takes(self, thing: object) -> bool:
        """Whether it is a ``distributed.Client``."""
        return any(t.__module__.split(".")[0] == "distributed" and t.__name__ == "Client" for t in type(thing).__mro__)


def _untrusted(address: str, error: Exception) -> EngineError:
    return EngineError(
        f"The Dask scheduler at {address} cannot be trusted, or does not trust this client: {error}.",
        remedy="name the certificates in Dask's configuration: DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
        "…__TLS__CLIENT__CERT and …__TLS__CLIENT__KEY; or pass a connected distributed.Client.",
    )


def _listening(host: str) -> list[str]:
    """Options of ``dask worker`` to listen on one address; by default it and its web pages listen on all of them."""
    if not host:
        return []
    return ["--host", host, "--dashboard-address", f"[{host}]:0" if ":" in host else f"{host}:0"]


def _secured(address: str, tls: Mapping[str, str] | None) -> list[str]:
    """Options of ``dask worker`` for encrypted connections."""
    if tls is None:
        return []
    if not address.startswith("tls://"):
        raise EngineError(
            f"TLS files are given, but {address} is not encrypted.", remedy="give the address as tls://host:8786."
        )
    files = {"--tls-ca-file": tls["ca_file"], "--tls-cert": tls["cert"], "--tls-key": tls["key"]}
    for option, file in files.items():
        if not Path(file).is_file():
            raise EngineError(f"{option}: {file!r} is not a file.", remedy="give all three files, in PEM format.")
    return [text for pair in files.items() for text in pair]


def _await_scheduler(address: str) -> str:
    """Wait until something answers at an address: workers may be started before their scheduler.

    Returns:
        The address of this machine on the interface that reaches it, "" for protocols that have none.
    """
    from distributed.comm.addressing import parse_address, parse_host_port

    remedy = "start one (dask scheduler), or correct the address; it looks like tcp://host:8786."
    try:
        scheme, rest = parse_address(address)
        host, port = parse_host_port(rest)
    except ValueError as error:
        raise EngineError(f"{address!r} is not the address of a Dask scheduler: {error}.", remedy=remedy) from error
    if scheme not in _SOCKETS:
        return ""
    deadline, said = time.monotonic() + _JOIN_S, False
    while True:
        try:
            with socket.create_connection((host, port), timeout=_CONNECT_S) as connection:
                return str(connection.getsockname()[0])
        except OSError as error:
            if time.monotonic() >= deadline:
                raise EngineError(f"No Dask scheduler answers at {address}: {error}.", remedy=remedy) from error
        if not said:
            sys.stderr.write(f"waiting for a Dask scheduler at {address}\n")
            said = True
        time.sleep(0.5)


ADAPTER = Dask()

"""``dk.serve``: an artifact behind HTTP, in processes of its own."""

from __future__ import annotations

import atexit
import contextlib
import ipaddress
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.client import Client, as_array
from deploykit.core.errors import PortInUseError, RequestError, ServeError, SettingError, unknown_name
from deploykit.core.settings.limits import ServerLimits
from deploykit.core.tokens import SCOPES, Tokens
from deploykit.exporters._verify import verify
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.supervisor import shared
from deploykit.serving import traffic
from deploykit.serving.signals import Terminated, signals, terminable
from deploykit.serving.tls import Tls
from deploykit.serving.traffic import Traffic
from deploykit.serving.transport.listen import hold, is_loopback, listen
from deploykit.serving.wires._contract import WIRES, PortWire
from deploykit.serving.worker import log_file
from deploykit.serving.workers import Workers

#: Listening sockets by protocol, those of HTTP by "".
_Listeners = dict[str, list[socket.socket]]
#: Running servers of this process: one without references keeps running, and is stopped at the end.
_live: set[Server] = set()


class Server:
    """A running server, made by `serve`. As a context manager, it stops at the end.

    Attributes:
        artifact: The artifact it serves.
        host: Address it listens on.
        port: Port it listens on.
        ports: Further ports, of protocols that have their own, by name.
        log: File its workers write to.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/running", overwrite=True)
        >>> with dk.serve(artifact, port=0) as server:
        ...     server.artifact.path == artifact.path, server.host
        (True, '127.0.0.1')
    """

    def __init__(
        self, artifact: Artifact, host: str, ports: dict[str, int], listeners: _Listeners, workers: int,
        limits: ServerLimits, hosts: tuple[str, ...], tokens: Path | None, tls: Tls | None,
    ) -> None:  # fmt: skip
        self.artifact = artifact
        self.host = host
        self._limits = limits
        self._hosts = hosts
        self._tokens = tokens
        self._tls = tls
        own = Tokens()
        self._secret = "" if tokens is None else own.add("server", scopes=SCOPES)
        self._own = [token.to_json() for token in own.by_name.values()]
        self._hurry = threading.Event()
        self.port = port = ports.pop("")
        self.ports = ports
        self.log = log_file(shared().log_dir, port)
        self._counters = self.log.with_suffix(f".{secrets.token_hex(4)}.counters")
        traffic.create(self._counters, workers)
        self._listeners = listeners
        self._stopped = threading.Event()
        self._last: Traffic | None = None
        self._lock = threading.Lock()
        runtime = RUNTIMES.get(artifact.manifest.target.runtime)
        try:
            self._workers = Workers(listeners, workers, runtime, self.log, self.stop)
        except BaseException:
            traffic.remove(self._counters)
            raise

    def _start(self, *, trusted: bool) -> None:
        checked = verify(self.artifact, trusted=trusted)
        if not checked:
            raise ServeError(
                f"{checked.artifact} is not served: {' '.join(checked.problems)}", remedy="export it again."
            )
        self._workers.serve(
            {
                "artifact": str(self.artifact.path),
                "digest": self.artifact.digest,
                "host": self.host,
                "port": self.port,
                "ports": self.ports,
                "counters": str(self._counters),
                "limits": vars(self._limits),
                "hosts": list(self._hosts),
                "tokens": "" if self._tokens is None else str(self._tokens),
                "own": self._own,
                "tls": {} if self._tls is None else self._tls.to_json(),
            }
        )
        _live.add(self)

    @property
    def url(self) -> str:
        """Its address, for example ``http://127.0.0.1:8501``."""
        host = self.host
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(host)
            if address.is_unspecified:
                host = "127.0.0.1" if address.version == 4 else "::1"
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"

    @property
    def name(self) -> str:
        """The name the model is served under."""
        return self.artifact.manifest.name

    @property
    def alive(self) -> bool:
        """Whether all its workers are running."""
        return not self._stopped.is_set() and self._workers.alive

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return self._workers.pids

    @property
    def failure(self) -> str:
        """Why it stopped unexpectedly, or ""."""
        return str(self._workers.failure or "")

    def traffic(self) -> Traffic:
        """Its traffic since it was started, over all workers."""
        return self._last or traffic.read(self._counters)

    def predict(self, x: Any) -> Any:
        """Predict over HTTP, as any client would.

        Args:
            x: Raw examples, batch first: an array, or a dictionary by input name.

        Returns:
            The output, or a dictionary by name if there are several.

        Raises:
            RequestError: The examples are not what the model takes; the message says what was expected and given.
            ServeError: The server is not running.
        """
        if self._stopped.is_set():
            reason = f": {self._workers.failure}" if self._workers.failure else "."
            raise ServeError(f"{self!r} is not running{reason}", remedy="start it again with dk.serve.")
        manifest = self.artifact.manifest
        specs = {spec.name: spec for spec in manifest.inputs}
        needed = [i.name for i in manifest.contract.inputs if i.how not in ("constant", "state")]
        if not isinstance(x, Mapping) and len(needed) != 1:
            raise RequestError(
                f"The model takes {len(needed)} inputs: {', '.join(needed)}; got one array.",
                remedy="give a dictionary with one array for each input.",
            )
        given: Mapping[str, Any] = x if isinstance(x, Mapping) else {needed[0]: x}
        with Client(self.url, self._secret, None if self._tls is None else self._tls.own_context()) as client:
            found = client.infer(self.name, {name: as_array(v, specs.get(name)) for name, v in given.items()})
        return found if len(found) > 1 else next(iter(found.values()))

    def stop(self, *, grace_seconds: float = 0.0) -> None:
        """Stop the server: requests in progress are answered, the port is released, and all processes end.

        Args:
            grace_seconds: Time in which it still takes requests while it says that it is not ready, and that clients
                should connect elsewhere.
        """
        with self._lock:
            if self._stopped.is_set():
                return
            try:
                if grace_seconds:
                    self._workers.drain()
                    self._hurry.wait(grace_seconds)
                _close(self._listeners)
                self._workers.stop(self._limits.drain_seconds)
                self._last = traffic.read(self._counters)
                with contextlib.suppress(OSError):  # a file that is left over does no harm
                    traffic.remove(self._counters)
            finally:  # or those waiting for the server would wait forever
                self._stopped.set()
                _live.discard(self)

    def wait(self, ready: Callable[[], None] | None = None) -> None:
        """Block until the server is stopped: by Ctrl-C or SIGTERM (in the main thread), or by `stop` elsewhere.

        SIGTERM leaves it the limit ``grace_seconds``; a second signal ends that time.

        Args:
            ready: Called first, when Ctrl-C and SIGTERM can already stop the server, for example to print a message.

        Raises:
            ServeError: A worker could not be restarted; the server has stopped.
        """
        with terminable():
            try:
                if ready is not None:
                    ready()
                while not self._stopped.wait(0.2):  # a wait without end could not be interrupted on Windows
                    pass
            except KeyboardInterrupt as interrupt:
                grace = self._limits.grace_seconds if isinstance(interrupt, Terminated) else 0.0
                with signals(self._hurry.set, signal.SIGTERM, signal.SIGINT):
                    self.stop(grace_seconds=grace)
        if self._workers.failure is not None:
            raise self._workers.failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.alive else "stopped" if self._stopped.is_set() else "failing"
        return f"Server({self.name!r} at {self.url}, {state})"


def serve(
    artifact: Artifact | str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    ports: Mapping[str, int] | None = None,
    workers: int = 1,
    limits: Mapping[str, float] | None = None,
    hosts: Sequence[str] = (),
    tokens: str | Path | None = None,
    insecure: bool = False,
    tls_certificate: str | Path | None = None,
    tls_key: str | Path | None = None,
    tls_clients: str | Path | None = None,
    block: bool = False,
    ready: Callable[[Server], None] | None = None,
    trusted: bool = False,
) -> Server:
    """Serve an artifact over HTTP: TensorFlow Serving's REST protocol and the Open Inference Protocol v2.

    First a child process verifies the artifact (digests, golden outputs); only then do worker processes load it. This
    process never runs the model. A worker that dies is restarted, and all workers end with this process.

    With ``tokens``, every request but those for health needs one. Without, the server listens on loopback (the default)
    unless ``insecure`` is set. Tokens must not travel in the clear: give a certificate, or put a proxy in front.

    Args:
        artifact: What `export` returned, or its folder.
        host: Address to listen on; ``"0.0.0.0"`` for all.
        port: Port; 0 for any free one.
        ports: Ports of protocols that have their own, by the protocol's name; 0 for any free one. Those without a port
            are not served. Protocols over HTTP are always served, on ``port``.
        workers: Number of processes, each with the model in memory; one per core gives the highest throughput.
        limits: Limits by name, for example ``{"request_bytes": 1_000_000}``; ``deploykit serve --help`` lists them.
        hosts: Names that requests may ask for in their Host header, for example that of the proxy in front. Addresses
            and localhost are always taken. Without names, a server on loopback takes no others, so that a page on the
            web cannot reach it by a name of its own; a server on another address takes any.
        tokens: File of tokens, made with ``deploykit token``; it is read again when it changes.
        insecure: Allow another address than loopback without tokens, for example in a container that only a proxy
            reaches.
        tls_certificate: PEM file of the server's certificate, followed by those that lead to its authority; all ports
            then take TLS alone.
        tls_key: PEM file of its private key, without a password.
        tls_clients: PEM file of authorities: only clients with a certificate of theirs are let in.
        block: Serve until Ctrl-C, SIGTERM or `Server.stop`, as the command line does, instead of in the background.
        ready: Called with the server when it is ready, for example to print a message; for use with ``block``.
        trusted: Allow operators that touch files or run code. Can only be set in code.

    Returns:
        The server, which is ready, or stopped if ``block`` is set.

    Raises:
        PortInUseError: Another program uses the port; the message suggests a free one.
        ServeError: The artifact has changed since it was exported, or a worker could not start.
        ExportError: There is no artifact at that path.
        MissingExtraError: The runtime it needs is not installed.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/served", overwrite=True)
        >>> with dk.serve(artifact, port=0) as server:
        ...     server.predict(data.sample(2)).shape
        (2, 10)
    """
    opened = Artifact.open(artifact.path if isinstance(artifact, Artifact) else artifact)
    if type(workers) is not int or not 1 <= workers <= 256:
        raise SettingError(f"workers must be a whole number from 1 to 256, got {workers!r}.")
    if os.name == "nt" and workers != 1:
        raise SettingError("workers must be 1 on Windows, where processes cannot share a port.")
    allowed = ServerLimits.of(limits)
    tls = Tls.of(tls_certificate, tls_key, tls_clients)
    known_tokens = None if tokens is None else Path(tokens).absolute()
    if known_tokens is not None:
        Tokens.open(known_tokens)
    elif not insecure and not is_loopback(host) and (tls is None or tls.clients is None):
        raise SettingError(
            f"Without tokens, anyone who can reach {host} can use the model.",
            remedy="pass tokens= (--tokens FILE, see deploykit token) or tls_clients= (--tls-clients FILE), or "
            "insecure=True (--insecure) if only those can reach it who may.",
        )
    if isinstance(hosts, str) or not all(map(str.strip, hosts)):
        raise SettingError(f"The hosts must be a list of names, got {hosts!r}.")
    names = tuple(hosts) or ((host,) if is_loopback(host) else ())
    wanted = {"": port, **(ports or {})}
    known = [wire.name for wire in WIRES.all() if wire.own_port]
    for name in wanted:
        if name and name not in known:
            raise unknown_name("protocol with a port of its own", name, known)
        if name:
            WIRES.get(name).check_installed()
    listeners: _Listeners = {}
    try:
        for name, one in wanted.items():
            try:
                listeners[name] = hold(host, one) if _opens_port(name) else listen(host, one, workers)
            except PortInUseError as error:
                raise _named(error, one) from error
        bound = {name: int(some[0].getsockname()[1]) for name, some in listeners.items()}
        if os.name == "nt":  # sockets are not inherited: the worker binds the ports again
            _close(listeners)
            listeners = {}
        server = Server(opened, host, bound, listeners, workers, allowed, names, known_tokens, tls)
    except BaseException:
        _close(listeners)
        raise
    try:
        with terminable():
            server._start(trusted=trusted)
            if block:
                server.wait(None if ready is None else partial(ready, server))
    except BaseException as error:
        server.stop()
        if block and isinstance(error, KeyboardInterrupt):  # it came while the server started
            return server
        if isinstance(error, Terminated):  # as the signal would have it, but with no process left
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    if ready is not None and not block:
        ready(server)
    return server


def _opens_port(name: str) -> bool:
    wire = WIRES.get(name) if name else None
    return isinstance(wire, PortWire) and wire.opens_port


def _close(listeners: _Listeners) -> None:
    for some in listeners.values():
        for listener in some:
            listener.close()


def _named(error: PortInUseError, port: int) -> PortInUseError:
    """The same error, naming this process's own server where that has the port."""
    for server in tuple(_live):
        if port in (server.port, *server.ports.values()) and server.alive:
            return PortInUseError(
                f"{error.message[:-1]} by this process's own server of {server.name!r}.",
                remedy=f"stop that one first with its stop() method; or: {error.remedy}",
            )
    return error


@atexit.register
def _stop_all() -> None:
    for server in tuple(_live):
        server.stop()

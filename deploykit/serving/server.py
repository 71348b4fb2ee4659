"""A running server: models behind HTTP and gRPC, in processes of their own."""

from __future__ import annotations

import atexit
import contextlib
import ipaddress
import logging
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.client import Client, as_array
from deploykit.core.errors import PortInUseError, RequestError, ServeError, SettingError
from deploykit.core.security.tokens import SCOPES, Tokens
from deploykit.core.settings.limits import ServerLimits
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.supervisor import shared
from deploykit.serving import traffic
from deploykit.serving.processes.signals import Terminated, signals, terminable
from deploykit.serving.processes.systemd import Notices
from deploykit.serving.processes.watch import Watch
from deploykit.serving.processes.worker import log_file
from deploykit.serving.processes.workers import Workers
from deploykit.serving.protection.tls import Tls
from deploykit.serving.records.recorder import Act, Recorder
from deploykit.serving.records.settings import Recording
from deploykit.serving.sources.catalog import Catalog
from deploykit.serving.sources.wishes import read_sent_config
from deploykit.serving.splits import Split
from deploykit.serving.traffic import Traffic
from deploykit.serving.transport.listen import is_loopback
from deploykit.serving.watching.keeper import WATCHED, Keeper
from deploykit.serving.watching.plan import Monitoring

#: Listening sockets by protocol, those of HTTP by "".
Listeners = dict[str, list[socket.socket]]
#: Running servers of this process: one without references keeps running, and is stopped at the end.
_live: set[Server] = set()


class Server:
    """A running server, made by `serve`. As a context manager, it stops at the end.

    Attributes:
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
        self, catalog: Catalog, host: str, ports: dict[str, int], listeners: Listeners, workers: int,
        limits: ServerLimits, hosts: tuple[str, ...], tokens: Path | None, tls: Tls | None, poll_seconds: float,
        recording: Recording, monitoring: Monitoring, sockets: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._poll_seconds = poll_seconds
        self.host = host
        self._limits = limits
        self._hosts = hosts
        self._tokens = tokens
        self._tls = tls
        self._recording = recording
        self._auditor: Recorder | None = None
        self._monitoring = monitoring
        self._keeper: Keeper | None = None
        self._sockets = dict(sockets)
        own = Tokens()
        self._secret = "" if tokens is None else own.add("server", scopes=SCOPES)
        self._own = [token.to_json() for token in own.by_name.values()]
        self._hurry = threading.Event()
        self.port = port = ports.pop("")
        self.ports = ports
        self.log = log_file(shared().log_dir, port)
        self._counters = self.log.with_suffix(f".{secrets.token_hex(4)}.counters")
        self._listeners = listeners
        self._stopped = threading.Event()
        self._last: Traffic | None = None
        self._lock = threading.Lock()
        names = {artifact.manifest.target.runtime for artifact in catalog.artifacts}
        runtimes = [RUNTIMES.get(name) for name in sorted(names)]
        self._watch = Watch(self._counters, limits, tls)
        self._workers = Workers(listeners, workers, runtimes, self.log, self._control, self._watch, self.stop)
        traffic.create(self._counters, workers)

    def _start(self) -> None:
        self._keeper = self._monitoring.keeper(
            self._catalog, self._counters, lambda: self._workers.pids, self._workers.tell
        )
        self._workers.start()
        self._workers.serve(
            {
                "state": self._catalog.prove(),
                "host": self.host,
                # Orders are for those who could also stop this process, or who show that they may give them.
                "control": self._tokens is not None or is_loopback(self.host),
                "port": self.port,
                "ports": self.ports,
                "unix": self._sockets,
                "counters": str(self._counters),
                "limits": vars(self._limits),
                "hosts": list(self._hosts),
                "tokens": "" if self._tokens is None else str(self._tokens),
                "own": self._own,
                "tls": {} if self._tls is None else self._tls.to_json(),
                "recording": self._recording.to_json(),
                "monitor": self._monitoring.order,
            }
        )
        self._auditor = self._recording.auditor()
        self._catalog.serve(self._workers.become, self._record)
        if self._keeper is not None:
            self._keeper.start()
        _live.add(self)
        if self._poll_seconds:
            threading.Thread(target=self._poll, name="deploykit-serve-poll", daemon=True).start()

    def _poll(self) -> None:
        while not self._stopped.wait(self._poll_seconds):
            try:
                self._catalog.poll()
            except Exception:  # such as a child that could not be started: the next look may find it well
                logging.getLogger("deploykit.serving").exception("cannot look for new versions")

    def _record(self, what: str, facts: Mapping[str, Any]) -> None:
        """Record what becomes of a version; an order of a client that was the reason has a line of its own as well."""
        if self._auditor is not None:
            self._auditor.add(Act(at=round(time.time(), 3), action=what, by="server", token="", **facts))

    def _control(self, what: str, arguments: Mapping[str, Any]) -> Any:
        """Do what a client wants done; see `deploykit.serving.control`."""
        if what in WATCHED:
            return None if self._keeper is None else self._keeper.asked(what, arguments)
        actions: dict[str, Callable[..., Any]] = {
            "load": self.load,
            "unload": self.unload,
            "split": lambda name, split: self.split(name, Split.from_json(split)),
            "reload": lambda config: self._catalog.reload(read_sent_config(config)),
        }
        return actions[what](**arguments)

    @property
    def artifact(self) -> Artifact:
        """The artifact it serves; of several models the first one's highest version."""
        return self._catalog.first

    @property
    def models(self) -> list[dict[str, Any]]:
        """Models it serves or has served: name, versions with their states, labels, and how requests are spread."""
        return self._catalog.facts()

    def load(self, name: str) -> None:
        """Look for new versions of a model, and serve it again if it was unloaded.

        A version whose files have changed is loaded again. It is served when it has given its golden outputs in a child
        process and all workers have it warm; until then, the versions before it answer.

        Raises:
            SettingError: There is no such model.
            DeploykitError: The version that is wanted cannot be served; those before it still are.
        """
        self._catalog.load(name)

    def unload(self, name: str) -> None:
        """Serve a model no more, until `load`; requests in progress are answered.

        Raises:
            SettingError: There is no such model.
        """
        self._catalog.unload(name)

    def split(self, name: str, split: Split) -> None:
        """Spread the requests for a model that name no version over its versions, from now on.

        Raises:
            SettingError: There is no such model, or such a version is not served.
        """
        self._catalog.split(name, split)

    def rollback(self, name: str = "") -> None:
        """Let the version answer that did so before, or end a trial, in a folder of ``dk.Versions``.

        While the version before is still loaded, which is until it is given up with ``Versions.settle``, all workers
        change within milliseconds, and no request fails.

        Args:
            name: Name of the model; "" for the first one.

        Raises:
            SettingError: There is no such model, or nothing to go back to.
            DeploykitError: It cannot be loaded again; what was served still is.
        """
        self._catalog.rollback(name or self.name)

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
        """The name the model is served under; of several models the first one's."""
        return self._catalog.first_name

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

    def metrics(self) -> str:
        """What all its workers have counted, in Prometheus' text, as of the last second; asking takes no request."""
        from deploykit.serving.wires.metrics import text

        return text(traffic.meter_files(self._counters))

    def feedback(self, request_id: str, label: Any, *, name: str = "") -> int:
        """Give the true label of a request that was answered, for the monitor.

        Args:
            request_id: The id that the request had, in its header ``X-Request-ID`` or as `predict` was given it.
            label: A class (its index or name) or a number; a list with one for each example of the request.
            name: Name of the model; "" for the first one.

        Returns:
            How many examples have got their label.

        Raises:
            UnknownRequestError: No such request waits for a label.
            SettingError: The label is none, or the server has no monitor.
        """
        return self._watching.feedback(name or self.name, {request_id: label})

    @property
    def _watching(self) -> Keeper:
        """Its monitor.

        Raises:
            SettingError: It has none.
        """
        if self._keeper is None:
            raise SettingError(f"{self!r} has no monitor.", remedy="start it with monitor=True, the default.")
        return self._keeper

    def predict(self, x: Any, *, name: str = "", version: int | str = "", request_id: str = "") -> Any:
        """Predict over HTTP, as any client would.

        Args:
            x: Raw examples, batch first: an array, or a dictionary by input name.
            name: Name of the model; "" for the first one.
            version: Its version; "" for the one that answers such requests.
            request_id: An id for the request, by which `feedback` can give its label later.

        Returns:
            The output, or a dictionary by name if there are several.

        Raises:
            RequestError: The examples are not what the model takes; the message says what was expected and given.
            ServeError: The server is not running.
        """
        if self._stopped.is_set():
            reason = f": {self._workers.failure}" if self._workers.failure else "."
            raise ServeError(f"{self!r} is not running{reason}", remedy="start it again with dk.serve.")
        name = name or self.name
        manifest = self._catalog.artifact(name, str(version)).manifest
        specs = {spec.name: spec for spec in manifest.inputs}
        needed = manifest.contract.asked
        if not isinstance(x, Mapping) and len(needed) != 1:
            raise RequestError(
                f"The model takes {len(needed)} inputs: {', '.join(needed)}; got one array.",
                remedy="give a dictionary with one array for each input.",
            )
        given: Mapping[str, Any] = x if isinstance(x, Mapping) else {needed[0]: x}
        with Client(self.url, self._secret, None if self._tls is None else self._tls.own_context()) as client:
            arrays = {key: as_array(value, specs.get(key)) for key, value in given.items()}
            found = client.infer(name, arrays, str(version), request_id)
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
                self._watch.settle()
                close(self._listeners)
                self._workers.stop(self._limits.drain_seconds)
                if self._auditor is not None:
                    self._auditor.close()
                self._watch.close()
                if self._keeper is not None:
                    self._keeper.stop()
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
        notices = Notices()
        with terminable():
            try:
                if ready is not None:
                    ready()
                notices.ready()
                while not self._stopped.wait(0.2):  # a wait without end could not be interrupted on Windows
                    notices.living()
            except KeyboardInterrupt as interrupt:
                notices.stopping()
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


def close(listeners: Listeners) -> None:
    """Close sockets."""
    for some in listeners.values():
        for listener in some:
            listener.close()


def named(error: PortInUseError, port: int) -> PortInUseError:
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

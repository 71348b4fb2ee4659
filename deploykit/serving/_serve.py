"""``dk.serve``: starts a server."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from deploykit.artifacts.artifact import Artifact, is_artifact
from deploykit.core.errors import PortInUseError, SettingError, unknown_name
from deploykit.core.settings.limits import ServerLimits
from deploykit.core.settings.serving import ServingSettings
from deploykit.core.tokens import Tokens
from deploykit.serving.records.settings import Recording
from deploykit.serving.server import Listeners, Server, close, named
from deploykit.serving.signals import Terminated, terminable
from deploykit.serving.sources.catalog import Catalog
from deploykit.serving.sources.wishes import Wish, wishes_in
from deploykit.serving.tls import Tls
from deploykit.serving.transport.listen import hold, is_loopback, listen
from deploykit.serving.wires._contract import WIRES, PortWire


def serve(
    source: Artifact | str | Path | Mapping[str, str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    ports: Mapping[str, int] | None = None,
    workers: int | None = None,
    settings: ServingSettings | Mapping[str, int] | None = None,
    name: str = "",
    versions: str | Sequence[int] = "latest",
    labels: Mapping[str, int] | None = None,
    poll_seconds: float | None = None,
    limits: Mapping[str, float] | None = None,
    hosts: Sequence[str] = (),
    tokens: str | Path | None = None,
    insecure: bool = False,
    tls_certificate: str | Path | None = None,
    tls_key: str | Path | None = None,
    tls_clients: str | Path | None = None,
    access_log: str | Path | None = None,
    log_format: Literal["text", "json"] = "text",
    audit: str | Path | None = None,
    traces: bool = False,
    block: bool = False,
    ready: Callable[[Server], None] | None = None,
    trusted: bool = False,
) -> Server:
    """Serve models over HTTP: TensorFlow Serving's REST protocol and the Open Inference Protocol v2.

    First a child process verifies an artifact (digests, golden outputs); only then do worker processes load it. This
    process never runs the model. A worker that dies is restarted, and all workers end with this process.

    A folder with a folder for each version (``1``, ``2``, …) is looked at again and again: a new version is verified,
    loaded and warmed up while the one before it answers, then takes its place without a failed request.

    With ``tokens``, every request but those for health needs one. Without, the server listens on loopback (the default)
    unless ``insecure`` is set. Tokens must not travel in the clear: give a certificate, or put a proxy in front.

    Args:
        source: What `export` returned or its folder; a folder of a model's versions, or of such folders; a file
            ``models.config`` of TensorFlow Serving; or folders by the names to serve them by.
        host: Address to listen on; ``"0.0.0.0"`` for all.
        port: Port; 0 for any free one.
        ports: Ports of protocols that have their own, by the protocol's name; 0 for any free one. Those without a port
            are not served. Protocols over HTTP are always served, on ``port``.
        workers: Number of processes, each with the model in memory; None: that of the settings.
        settings: How models are served, for example ``{"workers": 2, "largest_batch": 16}``; None: each as its manifest
            says, by the most workers of any, or by one worker with the threads that were measured.
        name: Name to serve the one model by; "" for the artifact's, or the folder's.
        versions: Which versions of a folder: ``"latest"``, ``"latest:2"`` for the two highest, ``"all"``, or numbers.
        labels: Names for versions of the one model, for example ``{"stable": 1}``.
        poll_seconds: Time between looks for new versions; 0: only `Server.load` looks. None: 1 second for folders of
            versions and ``models.config``.
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
        access_log: File that gets a line for each request: its id, path, model, status, size, token and the times of
            its stages; never its content. ``"-"`` for standard output. It is rotated, see the limit ``log_bytes``.
        log_format: Form of the access log and of the server's own: ``"text"``, or ``"json"`` with an object in each
            line.
        audit: File that gets a line for each prediction, each request that was turned away and each order, by token;
            ``deploykit token audit`` shows whether any was changed or removed since.
        traces: Send OpenTelemetry traces to where the environment says (``OTEL_EXPORTER_OTLP_ENDPOINT``); takes
            deploykit[otel].
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
    wishes, config = _wishes(source, name, versions, labels)
    if poll_seconds is None:
        poll_seconds = 0.0 if all(is_artifact(wish.path) for wish in wishes) and config is None else 1.0
    if not 0 <= poll_seconds < 1e6:
        raise SettingError(f"The argument poll_seconds must be a number from 0 on, got {poll_seconds!r}.")
    chosen = None if settings is None else ServingSettings.of(settings)
    catalog = Catalog(wishes, config, trusted=trusted, settings=chosen)
    artifacts = catalog.open()
    if workers is None:
        workers = (
            1 if os.name == "nt" else max(a.manifest.serving.workers if a.manifest.serving else 1 for a in artifacts)
        )
    if type(workers) is not int or not 1 <= workers <= 256:
        raise SettingError(f"workers must be a whole number from 1 to 256, got {workers!r}.")
    if os.name == "nt" and workers != 1:
        raise SettingError("workers must be 1 on Windows, where processes cannot share a port.")
    allowed = ServerLimits.of(limits)
    tls = Tls.of(tls_certificate, tls_key, tls_clients)
    recording = Recording.of(access_log, log_format, audit, traces=traces)
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
    taken = tuple(hosts) or ((host,) if is_loopback(host) else ())
    wanted = {"": port, **(ports or {})}
    known = [wire.name for wire in WIRES.all() if wire.own_port]
    for protocol in filter(None, wanted):
        if protocol not in known:
            raise unknown_name("protocol with a port of its own", protocol, known)
        WIRES.get(protocol).check_installed()
    listeners: Listeners = {}
    server: Server | None = None
    try:
        with terminable():
            for protocol, one in wanted.items():
                try:
                    listeners[protocol] = hold(host, one) if _opens_port(protocol) else listen(host, one, workers)
                except PortInUseError as error:
                    raise named(error, one) from error
            bound = {protocol: int(some[0].getsockname()[1]) for protocol, some in listeners.items()}
            if os.name == "nt":  # sockets are not inherited: the worker binds the ports again
                close(listeners)
                listeners = {}
            server = Server(
                catalog, host, bound, listeners, workers, allowed, taken, known_tokens, tls, poll_seconds, recording
            )
            server._start()
            if block:
                server.wait(None if ready is None else partial(ready, server))
    except BaseException as error:
        close(listeners) if server is None else server.stop()
        if isinstance(error, Terminated) and not (block and server is not None and server._workers.serving):
            raise SystemExit(128 + signal.SIGTERM) from None  # as the signal would have it, but with no process left
        if block and isinstance(error, KeyboardInterrupt) and server is not None:  # it came while the server started
            return server
        raise
    if ready is not None and not block:
        ready(server)
    return server


def _wishes(
    source: Artifact | str | Path | Mapping[str, str | Path],
    name: str,
    versions: str | Sequence[int],
    labels: Mapping[str, int] | None,
) -> tuple[tuple[Wish, ...], Path | None]:
    """What is wanted, and the ``models.config`` that says so.

    Raises:
        DeploykitError: It is not there, or not as it must be.
    """
    if isinstance(source, Mapping):
        if name or labels:
            raise SettingError(
                "The arguments name and labels are for one model.", remedy="leave them out, or use a models.config."
            )
        found = [_wishes(path, key, versions, None)[0] for key, path in source.items()]
        if not found or any(len(some) != 1 for some in found):
            raise SettingError("Each name must have one model's folder.", remedy="give a dictionary name → folder.")
        return tuple(wish for some in found for wish in some), None
    path = source.path if isinstance(source, Artifact) else Path(source).expanduser().absolute()
    if is_artifact(path) or not path.exists():
        wishes: tuple[Wish, ...] = (Wish(name or Artifact.open(path).manifest.name, path),)
    else:
        wishes = wishes_in(path, name)
    if path.is_file():
        if name or labels or versions != "latest":
            raise SettingError("A models.config has names, versions and labels itself.", remedy="leave them out.")
        return wishes, path
    if len(wishes) > 1 and (name or labels):
        raise SettingError(f"{path} holds several models; name and labels are for one.", remedy="leave them out.")
    policy = _policy(versions)
    if not policy:
        return tuple(replace(wish, labels=dict(labels or wish.labels)) for wish in wishes), None
    return tuple(replace(wish, labels=dict(labels or wish.labels), **policy) for wish in wishes), None


def _policy(versions: str | Sequence[int]) -> dict[str, Any]:
    """Fields of a wish; none for what its folder says itself."""
    if versions == "latest":
        return {}
    if versions == "all":
        return {"policy": "all"}
    if isinstance(versions, str):
        word, _, count = versions.partition(":")
        if word == "latest" and count.isdigit() and int(count):
            return {"policy": "latest", "count": int(count)}
    elif versions and all(type(v) is int and v >= 0 for v in versions):
        return {"policy": "specific", "numbers": tuple(sorted(set(versions)))}
    raise SettingError(
        f"The argument versions must be 'latest', 'latest:N', 'all' or a list of numbers, got {versions!r}.",
        remedy="for example versions='latest:2' (--versions latest:2).",
    )


def _opens_port(name: str) -> bool:
    wire = WIRES.get(name) if name else None
    return isinstance(wire, PortWire) and wire.opens_port

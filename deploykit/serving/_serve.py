"""``dk.serve`` starts a server, and ``dk.check_server`` does all of it but that."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

from deploykit.artifacts.artifact import Artifact
from deploykit.core.security.keys import Key
from deploykit.core.settings.serving import ServingSettings
from deploykit.serving._prepare import Preparation, ServerCheck
from deploykit.serving.processes.signals import Terminated, terminable
from deploykit.serving.records.access import own_log
from deploykit.serving.server import Server


def serve(
    source: Artifact | str | Path | Mapping[str, str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    ports: Mapping[str, int] | None = None,
    sockets: Mapping[str, str | Path] | None = None,
    workers: int | None = None,
    settings: ServingSettings | Mapping[str, int] | None = None,
    name: str = "",
    versions: str | Sequence[int] = "latest",
    labels: Mapping[str, int] | None = None,
    key: str | Key | None = None,
    require_signature: str | Path | None = None,
    poll_seconds: float | None = None,
    reread: bool = True,
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
    monitor: bool | Mapping[str, float] = True,
    monitor_folder: str | Path | None = None,
    webhook: str = "",
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
            ``models.config`` of TensorFlow Serving; or folders by the names to serve them by. A model that was not
            exported (SavedModel, ONNX, TFLite), alone or as a version, takes what its file declares: it is proved by
            loading it and calling it, with its recorded warm-up requests where it has some.
        host: Address to listen on; ``"0.0.0.0"`` for all.
        port: Port; 0 for any free one.
        ports: Ports of protocols that have their own, by the protocol's name; 0 for any free one. Those without a port
            are not served. Protocols over HTTP are always served, on ``port``.
        sockets: Paths of Unix sockets of protocols that have ports, by the protocol's name, beside the port; with
            several workers the last one to start has it.
        workers: Number of processes, each with the model in memory; None: that of the settings.
        settings: How models are served, for example ``{"workers": 2, "largest_batch": 16}``; None: each as its manifest
            says, by the most workers of any, or by one worker with the threads that were measured.
        name: Name to serve the one model by; "" for the artifact's, or the folder's.
        versions: Which versions of a folder: ``"latest"``, ``"latest:2"`` for the two highest, ``"all"``, or numbers.
        labels: Names for versions of the one model, for example ``{"stable": 1}``.
        key: The place of the key to encrypted artifacts (``env:NAME``, ``file:PATH``, ``keyring:NAME`` or ``cmd:PROGRAM
            ARGUMENTS``); artifacts that are not encrypted are refused then. None: the key that ``source`` was exported
            or opened with.
        require_signature: PEM file of a public key: what is not signed by its private key, or has changed since, is
            not served.
        poll_seconds: Time between looks for new versions; 0: only `Server.load` looks. None: 1 second for folders of
            versions and ``models.config``.
        reread: Look at ``models.config`` as well, and serve other models when it changes.
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
        audit: File that gets a line for each prediction, each request that was turned away and each order, by token,
            and for each version that begins or ceases to be served; ``deploykit token audit`` shows whether any line
            was changed or removed since.
        traces: Send OpenTelemetry traces to where the environment says (``OTEL_EXPORTER_OTLP_ENDPOINT``); takes
            deploykit[otel].
        monitor: Watch latency, errors, resources, drift and accuracy, off the answers' path, see `monitor`; or its
            settings by name, for example ``{"slower": 3}``. ``deploykit serve --help`` lists them.
        monitor_folder: Folder where the monitor keeps alarms, its detectors' states and predictions that wait for
            labels, so that they survive a restart; None: in memory.
        webhook: Address that gets each alarm as JSON by POST, when it is raised and when it is over.
        block: Serve until Ctrl-C, SIGTERM or `Server.stop`, as the command line does, instead of in the background.
        ready: Called with the server when it is ready, for example to print a message; for use with ``block``.
        trusted: Allow operators that touch files or run code. Can only be set in code.

    Returns:
        The server, which is ready, or stopped if ``block`` is set.

    Raises:
        PortInUseError: Another program uses the port; the message suggests a free one.
        ServeError: The path holds no model, an artifact has changed since it was exported, or a worker could not
            start.
        MissingExtraError: The runtime it needs is not installed.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/served", overwrite=True)
        >>> with dk.serve(artifact, port=0) as server:
        ...     server.predict(data.sample(2)).shape
        (2, 10)
    """
    prepared = Preparation(
        source=source, host=host, port=port, ports=ports, sockets=sockets, workers=workers, settings=settings,
        name=name, versions=versions, labels=labels, key=key, require_signature=require_signature,
        poll_seconds=poll_seconds, reread=reread, limits=limits,
        hosts=hosts, tokens=tokens, insecure=insecure, tls_certificate=tls_certificate, tls_key=tls_key,
        tls_clients=tls_clients, access_log=access_log, log_format=log_format, audit=audit, traces=traces,
        monitor=monitor, monitor_folder=monitor_folder, webhook=webhook, trusted=trusted,
    )  # fmt: skip
    server: Server | None = None
    try:
        with terminable(), own_log(log_format) if block else nullcontext():
            for step in prepared.steps.values():
                step()
            server = prepared.server()
            server._start()
            if block:
                server.wait(None if ready is None else partial(ready, server))
    except BaseException as error:
        prepared.close() if server is None else server.stop()
        if isinstance(error, Terminated) and not (block and server is not None and server._workers.serving):
            raise SystemExit(128 + signal.SIGTERM) from None  # as the signal would have it, but with no process left
        if block and isinstance(error, KeyboardInterrupt) and server is not None:  # it came while the server started
            return server
        raise
    if ready is not None and not block:
        ready(server)
    return server


def check_server(source: Artifact | str | Path | Mapping[str, str | Path], **options: Any) -> ServerCheck:
    """Check everything that `serve` needs, without serving: models, packages, files and ports.

    Each model is verified (digests, golden outputs) in a child process, as `serve` does it.

    Args:
        source: As for `serve`.
        options: As for `serve`.

    Returns:
        What was checked, and what is wrong; true if nothing is.

    Raises:
        TypeError: `serve` has no such argument.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/checked", overwrite=True)
        >>> bool(dk.check_server(artifact, port=0))
        True
        >>> found = dk.check_server(artifact, port=0, tls_certificate="missing.pem", tls_key="missing.key")
        >>> [step for step, problem in found.steps.items() if problem]
        ['tls']
    """
    return Preparation(source=source, **options).check()

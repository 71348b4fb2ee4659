"""What happens before a server listens to clients, step by step: so that it can also be checked without serving."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from deploykit.artifacts.artifact import Artifact, is_artifact
from deploykit.artifacts.signing import PublicKey
from deploykit.core.errors import DeploykitError, PortInUseError, SettingError, unknown_name
from deploykit.core.security.keys import Key, read_key
from deploykit.core.security.tokens import Tokens
from deploykit.core.serial import Plain
from deploykit.core.settings.limits import ServerLimits
from deploykit.core.settings.serving import ServingSettings
from deploykit.serving.protection.tls import Tls
from deploykit.serving.records.settings import Recording
from deploykit.serving.server import Listeners, Server, close, named
from deploykit.serving.sources.catalog import Catalog
from deploykit.serving.sources.held import Terms
from deploykit.serving.sources.wishes import Wish, checked, labelled, stands_alone, wishes_in
from deploykit.serving.transport.listen import hold, is_loopback, listen
from deploykit.serving.watching.plan import Monitoring
from deploykit.serving.wires._contract import WIRES, PortWire


@dataclass(frozen=True)
class ServerCheck(Plain):
    """What `check_server` found. It is true if a server can start.

    Attributes:
        steps: What was checked → what is wrong with it, "" if nothing is.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/steps", overwrite=True)
        >>> print(dk.check_server(artifact, port=0))
        models: fine
        limits: fine
        tls: fine
        tokens: fine
        records: fine
        protocols: fine
        ports: fine
        proof: fine
    """

    steps: Mapping[str, str]

    def __bool__(self) -> bool:
        return not any(self.steps.values())

    def __str__(self) -> str:
        return "\n".join(f"{name}: {problem or 'fine'}" for name, problem in self.steps.items())


@dataclass
class Preparation:
    """Prepares a server. The fields are the arguments of `deploykit.serve`, which explains them."""

    source: Artifact | str | Path | Mapping[str, str | Path]
    host: str = "127.0.0.1"
    port: int = 8501
    ports: Mapping[str, int] | None = None
    sockets: Mapping[str, str | Path] | None = None
    workers: int | None = None
    settings: ServingSettings | Mapping[str, int] | None = None
    name: str = ""
    versions: str | Sequence[int] = "latest"
    labels: Mapping[str, int] | None = None
    key: str | Key | None = None
    require_signature: str | Path | None = None
    poll_seconds: float | None = None
    reread: bool = True
    limits: Mapping[str, float] | None = None
    hosts: Sequence[str] = ()
    tokens: str | Path | None = None
    insecure: bool = False
    tls_certificate: str | Path | None = None
    tls_key: str | Path | None = None
    tls_clients: str | Path | None = None
    access_log: str | Path | None = None
    log_format: str = "text"
    audit: str | Path | None = None
    traces: bool = False
    monitor: bool | Mapping[str, float] = True
    monitor_folder: str | Path | None = None
    webhook: str = ""
    trusted: bool = False
    _listeners: Listeners = field(init=False, default_factory=dict)
    _tls: Tls | None = field(init=False, default=None)

    @property
    def steps(self) -> Mapping[str, Callable[[], None]]:
        """What is to be done, in its order; each step raises a `DeploykitError` that says what is wrong."""
        return {
            "models": self._find_models,
            "limits": self._set_limits,
            "tls": self._read_certificates,
            "tokens": self._read_tokens,
            "records": self._open_records,
            "protocols": self._find_protocols,
            "ports": self._open_ports,
        }

    def check(self) -> ServerCheck:
        """Do all steps, whatever comes of the others; prove the models, and leave nothing behind."""
        found: dict[str, str] = {}
        try:
            for name, step in self.steps.items():
                found[name] = _problem(step)
            found["proof"] = "Without the models, nothing can be proved." if found["models"] else _problem(self._prove)
        finally:
            self.close()
        return ServerCheck(found)

    def server(self) -> Server:
        """The server, which has not been started."""
        bound = {protocol: int(some[0].getsockname()[1]) for protocol, some in self._listeners.items()}
        if os.name == "nt":  # sockets are not inherited: the worker binds the ports again
            self.close()
        return Server(
            self._catalog, self.host, bound, self._listeners, self._count, self._limits, self._taken, self._tokens,
            self._tls, self._poll_seconds, self._recording, self._monitoring,
            {name: str(Path(path).absolute()) for name, path in (self.sockets or {}).items()},
        )  # fmt: skip

    def close(self) -> None:
        """Give the ports back."""
        close(self._listeners)
        self._listeners = {}

    # -- steps --------------------------------------------------------------------------------------------------------

    def _find_models(self) -> None:
        self._count = self.workers if _is_count(self.workers) else 1
        wishes, config = _wishes(self.source, self.name, self.versions, self.labels)
        seconds = self.poll_seconds
        if seconds is None:
            seconds = 0.0 if all(stands_alone(wish.path) for wish in wishes) and config is None else 1.0
        if not 0 <= seconds < 1e6:
            raise SettingError(f"The argument poll_seconds must be a number from 0 on, got {seconds!r}.")
        self._poll_seconds = seconds
        chosen = None if self.settings is None else ServingSettings.of(self.settings)
        own = self.source.key if isinstance(self.source, Artifact) else None
        signer = None if self.require_signature is None else PublicKey.read(self.require_signature)
        terms = Terms(chosen, self.trusted, own if self.key is None else read_key(self.key), signer)
        self._catalog = Catalog(wishes, config if self.reread else None, terms)
        artifacts = self._catalog.open()
        if self.workers is None and os.name != "nt":
            self._count = max((a.manifest.serving.workers if a.manifest.serving else 1 for a in artifacts), default=1)

    def _set_limits(self) -> None:
        if self.workers is not None and not _is_count(self.workers):
            raise SettingError(f"workers must be a whole number from 1 to 256, got {self.workers!r}.")
        if os.name == "nt" and self._count != 1:
            raise SettingError("workers must be 1 on Windows, where processes cannot share a port.")
        self._limits = ServerLimits.of(self.limits)
        if isinstance(self.hosts, str):
            raise SettingError(f"The hosts must be a list of names, got {self.hosts!r}.")
        for host in self.hosts:
            if not _HOST.fullmatch(host):
                raise SettingError(
                    f"The hosts must be names, got {host!r}.",
                    remedy="give each as in model.example.org, without scheme and port; addresses are always taken.",
                )
        self._taken = tuple(self.hosts) or ((self.host,) if is_loopback(self.host) else ())

    def _read_certificates(self) -> None:
        self._tls = Tls.of(self.tls_certificate, self.tls_key, self.tls_clients)

    def _read_tokens(self) -> None:
        self._tokens = None if self.tokens is None else Path(self.tokens).absolute()
        if self._tokens is not None:
            Tokens.open(self._tokens)
        elif not self.insecure and not is_loopback(self.host) and (self._tls is None or self._tls.clients is None):
            raise SettingError(
                f"Without tokens, anyone who can reach {self.host} can use the model.",
                remedy="pass tokens= (--tokens FILE, see deploykit token) or tls_clients= (--tls-clients FILE), or "
                "insecure=True (--insecure) if only those can reach it who may.",
            )

    def _open_records(self) -> None:
        self._check_apart()
        self._recording = Recording.of(self.access_log, self.log_format, self.audit, traces=self.traces)
        self._monitoring = Monitoring.of(self.monitor, self.monitor_folder, self.webhook)

    def _check_apart(self) -> None:
        """Raise `SettingError` for a log whose lines would go into another of the files."""
        named = ("audit", "access_log", "tokens", "tls_certificate", "tls_key", "tls_clients", "source")
        places = {name: getattr(self, name) for name in named}
        files = {
            name: Path(one).resolve() for name, one in places.items() if isinstance(one, str | Path) and one != "-"
        }
        for log in ("audit", "access_log"):
            for name, file in files.items():
                if name != log and file == files.get(log):
                    raise SettingError(
                        f"The arguments {log} and {name} name one file, {file}.",
                        remedy="give the log a file of its own.",
                    )

    def _find_protocols(self) -> None:
        known = [wire.name for wire in WIRES.all() if wire.own_port]
        for protocol in self.sockets or {}:
            if protocol not in (self.ports or {}) or not _opens_port(protocol):
                raise SettingError(
                    f"The argument sockets has a path for {protocol!r}, which has no port, or cannot have both.",
                    remedy="give gRPC a port as well: ports={'grpc': 8500}.",
                )
            _check_socket(Path((self.sockets or {})[protocol]).absolute())
        for protocol in self.ports or {}:
            if protocol not in known:
                raise unknown_name("protocol with a port of its own", protocol, known)
            WIRES.get(protocol).check_installed()

    def _open_ports(self) -> None:
        wanted = {"": self.port, **(self.ports or {})}
        for protocol, port in wanted.items():
            if port and protocol and list(wanted.values()).count(port) > 1:
                raise SettingError(
                    f"Port {port} is to be that of {protocol} and of another protocol.", remedy="give each its own."
                )
            try:
                self._listeners[protocol] = (
                    hold(self.host, port) if _opens_port(protocol) else listen(self.host, port, self._count)
                )
            except PortInUseError as error:
                raise named(error, port) from error

    def _prove(self) -> None:
        """Only for a check: a server proves its models while its workers start."""
        self._catalog.prove()


#: Longest path of a Unix socket.
_SOCKET_BYTES = 107 if sys.platform == "linux" else 103
#: A name in a Host header.
_HOST = re.compile(r"[^\s/:@?#*\[\]]+")


def _problem(step: Callable[[], None]) -> str:
    """What is wrong with a step, "" if nothing is."""
    try:
        step()
    except DeploykitError as error:
        return str(error)
    return ""


def _check_socket(path: Path) -> None:
    """Raise `SettingError` unless a Unix socket can be made there; libraries do not say why not."""
    size = len(os.fsencode(path))
    if path.exists() and not path.is_socket():
        reason = f"a {'folder' if path.is_dir() else 'file'} is there"
    elif not path.parent.is_dir():
        reason = "its folder does not exist"
    elif size > _SOCKET_BYTES:
        reason = f"its path has {size} bytes, and this system takes {_SOCKET_BYTES}"
    else:
        return
    raise SettingError(f"The socket {path} cannot be made: {reason}.", remedy="choose another path.")


def _is_count(workers: Any) -> TypeGuard[int]:
    return type(workers) is int and 1 <= workers <= 256


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
    if source == "":  # which would be the current folder, as from a variable that is not set
        raise SettingError("The source is empty.", remedy="name what to serve; '.' is the current folder.")
    path = source.path if isinstance(source, Artifact) else Path(source).expanduser().absolute()
    if is_artifact(path):
        wishes: tuple[Wish, ...] = (Wish(checked(name or Artifact.open(path).manifest.name, path), path),)
    else:
        wishes = wishes_in(path, name)
    if path.is_file() and not stands_alone(path):
        if name or labels or versions != "latest":
            raise SettingError("A models.config has names, versions and labels itself.", remedy="leave them out.")
        return wishes, path
    if len(wishes) > 1 and (name or labels):
        raise SettingError(f"{path} holds several models; name and labels are for one.", remedy="leave them out.")
    if stands_alone(path) and (others := {v for v in (labels or {}).values() if v != 1}):
        raise SettingError(
            f"{path} is one model, version 1, and there are labels for {', '.join(map(str, others))}.",
            remedy="label version 1, or serve a folder of versions.",
        )
    wishes = tuple(replace(wish, **_policy(versions)) for wish in wishes)
    if labels:
        wishes = tuple(labelled(wish, labels.items(), f"Labels of {wish.name!r}") for wish in wishes)
    return wishes, None


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

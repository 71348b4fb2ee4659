"""``deploykit-model-server``: takes the flags that scripts have for ``tensorflow_model_server``.

It is not a verb: its name and its flags with underscores are what such scripts call.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import deploykit as dk
from deploykit._version import __version__
from deploykit.cli._shared.tensorflow_flags import FLAGS, Flag
from deploykit.core.errors import DeploykitError, SettingError
from deploykit.core.protos.messages import read_text
from deploykit.core.settings.limits import LIMITS
from deploykit.core.settings.ranged import parameters_of
from deploykit.core.settings.serving import ServingSettings

_PROGRAM = "deploykit-model-server"
_ERROR, _USAGE = 1, 2
#: Where TensorFlow Serving's metrics are unless its configuration names another path.
_METRICS = "/monitoring/prometheus/metrics"
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
#: Fields of BatchingParameters that have no counterpart.
_NO_BATCHING = {
    "batch_timeout_micros": "no request waits for others",
    "num_batch_threads": "each worker runs one batch of a model at a time; see --workers",
    "thread_pool_name": "batches have no threads of their own",
    "allowed_batch_sizes": "batches are not filled up",
    "pad_variable_length_inputs": "only examples of the same shape are joined",
    "enable_large_batch_splitting": "large requests run as they are",
    "max_execution_batch_size": "large requests run as they are",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM, and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    try:
        options, unknown = parser.parse_known_args(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else _USAGE
    if unknown:
        return _usage(_unknown(unknown[0]))
    if options.version:
        print(f"{_PROGRAM}: deploykit {__version__}")
        return 0
    given = Counter(argument.lstrip("-").partition("=")[0] for argument in arguments if argument.startswith("--"))
    for name, count in given.items():
        if count > 1:  # as where a script hands its own flags on behind those of an image
            _say(f"--{name} is given {count} times; the last one counts.")
    for flag in (flag for flag in FLAGS if flag.name in given and not flag.help):
        if flag.refused and getattr(options, flag.name) != flag.default:
            return _usage(f"--{flag.name}: {flag.note}.")
        _say(f"--{flag.name} does nothing: {flag.note}.")
    if not options.model_config_file and not options.model_base_path:
        return _usage("--model_base_path or --model_config_file is missing; see --help.")
    try:
        with _certificates(options.ssl_config_file) as tls:
            _serve(options, tls)
    except DeploykitError as error:
        print(f"Failed to start server. Error: {error}", file=sys.stderr)
        return _ERROR
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Serve models to the clients, and with the flags, of TensorFlow Serving's tensorflow_model_server.",
        epilog="Its other flags are taken with a note. Unlike it, this server listens on loopback unless --host says "
        "otherwise.",
        allow_abbrev=False,
    )
    for flag in FLAGS:
        _add(parser, flag)
    parser.add_argument("--version", action="store_true", help="show the version")
    own = parser.add_argument_group("flags of deploykit")
    own.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    own.add_argument("--tokens", metavar="FILE", help="let in only requests with a token of this file")
    own.add_argument("--insecure", action="store_true", help="listen on another address without tokens")
    own.add_argument("--workers", metavar="N", type=int, help="number of worker processes (default: 1)")
    return parser


def _add(parser: argparse.ArgumentParser, flag: Flag) -> None:
    default = f" (default: {str(flag.default).lower()})" if flag.default != "" else ""
    help_ = f"{flag.help}{default}" if flag.help else argparse.SUPPRESS
    if flag.kind is bool:
        parser.add_argument(f"--{flag.name}", nargs="?", const=True, default=flag.default, type=_truth, help=help_)
    else:
        metavar = {int: "N", float: "X"}.get(flag.kind, "FOLDER" if flag.name == "model_base_path" else "TEXT")
        metavar = "FILE" if flag.name.endswith(("_file", "_path")) and metavar == "TEXT" else metavar
        parser.add_argument(f"--{flag.name}", metavar=metavar, default=flag.default, type=flag.kind, help=help_)


def _truth(text: str) -> bool:
    if (found := _TRUTHS.get(text.lower())) is None:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return found


def _unknown(argument: str) -> str:
    name = argument.lstrip("-").partition("=")[0]
    close = difflib.get_close_matches(name, [flag.name for flag in FLAGS], n=1)
    return f"Unknown flag {argument!r}.{f' Did you mean --{close[0]}?' if close else ''} See --help."


def _serve(options: argparse.Namespace, tls: dict[str, Path]) -> None:
    limits: dict[str, float] = {"answer_seconds": options.rest_api_timeout_in_ms / 1000}
    settings: dict[str, int] = {}
    if options.workers is not None:
        settings["workers"] = options.workers
    if threads := options.tensorflow_intra_op_parallelism or options.tensorflow_session_parallelism:
        settings["threads"] = threads
    if options.batching_parameters_file:
        _batch(options, limits, settings)
    if options.monitoring_config_file:
        _monitor(Path(options.monitoring_config_file))
    several, reread = bool(options.model_config_file), options.model_config_file_poll_wait_seconds
    if several and options.model_base_path:
        _say("--model_base_path does nothing beside --model_config_file.")
    if reread > 0 >= options.file_system_poll_wait_seconds:
        _say("--model_config_file_poll_wait_seconds also has new versions looked for.")
    dk.serve(
        options.model_config_file if several else options.model_base_path,
        name="" if several else options.model_name,
        host=options.host,
        port=options.rest_api_port,
        ports={"grpc": options.port} if options.port else None,
        sockets={"grpc": options.grpc_socket_path} if options.grpc_socket_path else None,
        poll_seconds=max(options.file_system_poll_wait_seconds, 0) or max(reread, 0),
        reread=reread > 0,
        limits=limits,
        settings=settings or None,
        tokens=options.tokens,
        insecure=options.insecure,
        tls_certificate=tls.get("server_cert"),
        tls_key=tls.get("server_key"),
        tls_clients=tls.get("custom_ca"),
        block=True,
        ready=_announce,
    )


def _announce(server: dk.Server) -> None:
    if server.host == "127.0.0.1":
        _say("Listening on 127.0.0.1 alone; see --host, --tokens and --insecure.")
    for name, port in server.ports.items():
        _say(f"Running {name} server at {server.host}:{port}")
    _say(f"Exporting HTTP/REST API at {server.url} (log {server.log})")


def _batch(options: argparse.Namespace, limits: dict[str, float], settings: dict[str, int]) -> None:
    """Take what a file says of batches."""
    kind = "tensorflow.serving.BatchingParameters"
    found = read_text(kind, Path(options.batching_parameters_file), "the batching parameters", SettingError)
    if not options.enable_batching:
        _say("--batching_parameters_file does nothing without --enable_batching.")
        return
    if found.HasField("max_batch_size"):
        settings["largest_batch"] = _within(parameters_of(ServingSettings), "largest_batch", found.max_batch_size.value)
    if found.HasField("max_enqueued_batches"):
        limits["waiting"] = _within(LIMITS, "waiting", found.max_enqueued_batches.value)
    for field, _ in found.ListFields():
        if field.name in _NO_BATCHING:
            _say(f"{options.batching_parameters_file}: {field.name} does nothing: {_NO_BATCHING[field.name]}.")


def _within(parameters: Sequence[Any], name: str, value: int) -> int:
    """A number, or the nearest one that is allowed."""
    allowed = next(parameter for parameter in parameters if parameter.name == name)
    found = int(min(max(value, allowed.minimum), allowed.maximum))
    if found != value:
        _say(f"{value} batches or examples are not possible: {found} is the nearest number that is.")
    return found


def _monitor(file: Path) -> None:
    """Check where metrics shall be."""
    found = read_text("tensorflow.serving.MonitoringConfig", file, "the monitoring configuration", SettingError)
    path = found.prometheus_config.path or _METRICS
    if found.prometheus_config.enable and path not in (_METRICS, "/metrics"):
        raise SettingError(
            f"{file}: prometheus_config.path is {path!r}; metrics are at {_METRICS} and /metrics.",
            remedy="use one of these, or have a proxy rewrite the path.",
        )


@contextmanager
def _certificates(file: str) -> Iterator[dict[str, Path]]:
    """Files with what an SSLConfig holds, which go when the server ends."""
    if not file:
        yield {}
        return
    found = read_text("tensorflow.serving.SSLConfig", Path(file), "the TLS configuration", SettingError)
    if found.client_verify and not found.custom_ca:
        raise SettingError(f"{file}: client_verify needs custom_ca.", remedy="give the authorities' certificates.")
    names = ["server_key", "server_cert", *(["custom_ca"] if found.client_verify else [])]
    with tempfile.TemporaryDirectory(prefix="deploykit-tls-") as folder:
        files = {name: Path(folder, f"{name}.pem") for name in names}
        for name, path in files.items():
            path.touch(mode=0o600)
            path.write_text(getattr(found, name), "utf-8")
        yield files


def _say(text: str) -> None:
    print(f"{_PROGRAM}: {text}", file=sys.stderr, flush=True)


def _usage(text: str) -> int:
    _say(text)
    return _USAGE


if __name__ == "__main__":
    sys.exit(main())

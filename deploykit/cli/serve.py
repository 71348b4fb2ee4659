"""``deploykit serve SOURCE``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import deploykit as dk
from deploykit.cli._shared.inputs import add_key
from deploykit.cli._shared.once import Pairs
from deploykit.cli._shared.show import show
from deploykit.core.parameter import Parameter
from deploykit.core.registry import registry
from deploykit.core.settings.limits import LIMITS
from deploykit.core.settings.monitoring import MONITOR_SETTINGS

HELP = "Serve models over HTTP (TensorFlow Serving's REST protocol and Open Inference v2) until Ctrl-C."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source", metavar="SOURCE",
        help="artifact folder, folder of a model's versions or of several such folders, models.config, or a model "
        "(SavedModel, ONNX, TFLite)",
    )  # fmt: skip
    parser.add_argument(
        "--name", default="", help="name to serve the one model by (default: the artifact's, or folder's)"
    )
    parser.add_argument(
        "--versions", default="latest", type=_versions,
        help="versions of a folder: latest, latest:N, all, or numbers such as 1,3 (default: latest)",
    )  # fmt: skip
    parser.add_argument(
        "--label", metavar="LABEL=VERSION", action=Pairs, default={}, type=_label,
        help="name for a version of the one model; may be repeated",
    )  # fmt: skip
    add_key(parser)
    parser.add_argument(
        "--poll-seconds", metavar="S", type=float,
        help="time between looks for new versions; 0: never (default: 1 for folders of versions and models.config)",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8501, help="port to listen on; 0 picks a free one (default: 8501)")
    for wire in _with_ports():
        parser.add_argument(
            f"--{wire.name.replace('_', '-')}-port", metavar="PORT", type=int, dest=f"port_of_{wire.name}",
            help=f"also serve {wire.label} on this port; 0 picks a free one",
        )  # fmt: skip
    parser.add_argument(
        "--workers", metavar="N", type=int,
        help="number of worker processes (default: what deploykit tune found for the artifact, or 1)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-host", metavar="NAME", action="append", default=[],
        help="take requests for this name, beside addresses and localhost; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--tokens", metavar="FILE",
        help="let in only requests with a token of this file; see deploykit token",
    )  # fmt: skip
    parser.add_argument(
        "--insecure", action="store_true",
        help="listen on another address than loopback without tokens, where only a proxy can reach it",
    )  # fmt: skip
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate (PEM); all ports then take TLS alone")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key (PEM), without a password")
    parser.add_argument(
        "--tls-clients", metavar="FILE", help="let in only clients with a certificate of these authorities (PEM)"
    )
    parser.add_argument(
        "--check", action="store_true",
        help="do everything short of serving: verify the models, read all files, open the ports; one line for each",
    )  # fmt: skip
    parser.add_argument("--access-log", metavar="FILE", help="write a line for each request; - for standard output")
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text",
        help="form of the access log and the server's own log (default: text)",
    )  # fmt: skip
    parser.add_argument(
        "--audit", metavar="FILE",
        help="write who asked for which predictions, gave which orders, and which versions were served; see deploykit "
        "token audit",
    )  # fmt: skip
    parser.add_argument(
        "--traces", action="store_true",
        help="send OpenTelemetry traces to where OTEL_EXPORTER_OTLP_ENDPOINT says (deploykit[otel])",
    )  # fmt: skip
    parser.add_argument("--no-monitor", action="store_true", help="do not watch requests, answers and resources")
    parser.add_argument(
        "--monitor-folder", metavar="FOLDER",
        help="keep alarms, detectors and predictions that wait for labels in this folder, over restarts",
    )  # fmt: skip
    parser.add_argument("--webhook", metavar="URL", default="", help="send each alarm to this address as JSON")
    parser.add_argument(
        "--monitor-setting", metavar="NAME=VALUE", action=Pairs, default={}, type=_limit,
        help="set what the monitor looks for; may be repeated. " + " ".join(map(_described, MONITOR_SETTINGS)),
    )  # fmt: skip
    parser.add_argument(
        "--limit", metavar="NAME=VALUE", action=Pairs, default={}, type=_limit,
        help="set a limit; may be repeated. " + " ".join(_described(limit) for limit in LIMITS),
    )  # fmt: skip


def _with_ports() -> list[Any]:
    """Protocols with a port of their own."""
    return [wire for wire in registry("deploykit.serving.wires", "protocol").all() if wire.own_port]


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    asked = {wire.name: getattr(options, f"port_of_{wire.name}") for wire in _with_ports()}
    ports = {name: port for name, port in asked.items() if port is not None}

    def announce(server: dk.Server) -> None:
        facts = {
            "url": server.url,
            "ports": server.ports,
            "name": server.name,
            "models": [one["name"] for one in server.models],
            "pids": server.pids,
            "log": str(server.log),
        }
        more = "".join(f"\n{name} on port {port}" for name, port in server.ports.items())
        served = "\n".join(f"{one['name']} at {server.url}/v1/models/{one['name']}:predict" for one in server.models)
        served = served or f"no models at {server.url} yet"
        show(options, f"{served}{more}\nlog {server.log}", facts)
        sys.stdout.flush()

    arguments: dict[str, Any] = {
        "host": options.host,
        "port": options.port,
        "ports": ports,
        "workers": options.workers,
        "name": options.name,
        "versions": options.versions,
        "labels": options.label,
        "key": options.key,
        "require_signature": options.require_signature,
        "poll_seconds": options.poll_seconds,
        "limits": options.limit,
        "hosts": options.allow_host,
        "tokens": options.tokens,
        "insecure": options.insecure,
        "tls_certificate": options.tls_cert,
        "tls_key": options.tls_key,
        "tls_clients": options.tls_clients,
        "access_log": options.access_log,
        "log_format": options.log_format,
        "audit": options.audit,
        "traces": options.traces,
        "monitor": False if options.no_monitor else options.monitor_setting or True,
        "monitor_folder": options.monitor_folder,
        "webhook": options.webhook,
    }
    if options.check:
        found = dk.check_server(options.source, **arguments)
        show(options, found, found)
        return 0 if found else 1
    dk.serve(options.source, **arguments, block=True, ready=announce)
    return 0


def _described(limit: Parameter) -> str:
    return f"{limit.name} ({limit.default:g}): {limit.help}"


def _versions(text: str) -> str | list[int]:
    if not text.isascii() or not text.replace(",", "").isdigit():
        return text
    if not all(numbers := text.split(",")):
        raise argparse.ArgumentTypeError(f"expected numbers separated by single commas, got {text!r}")
    return [int(one) for one in numbers]


def _label(text: str) -> tuple[str, int]:
    label, _, version = text.partition("=")
    if not label or not version.isascii() or not version.isdigit():
        raise argparse.ArgumentTypeError(f"expected LABEL=VERSION, got {text!r}")
    return label, int(version)


def _limit(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=NUMBER, got {text!r}") from None
    return name.strip(), int(number) if number.is_integer() else number

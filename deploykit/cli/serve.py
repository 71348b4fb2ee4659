"""``deploykit serve ARTIFACT``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import deploykit as dk
from deploykit.cli._show import show
from deploykit.core.parameter import Parameter
from deploykit.core.registry import registry
from deploykit.core.settings.limits import LIMITS

HELP = "Serve an artifact over HTTP (TensorFlow Serving's REST protocol and Open Inference v2) until Ctrl-C."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("artifact", metavar="ARTIFACT", help="artifact folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8501, help="port to listen on; 0 picks a free one (default: 8501)")
    for wire in _with_ports():
        parser.add_argument(
            f"--{wire.name.replace('_', '-')}-port", metavar="PORT", type=int, dest=f"port_of_{wire.name}",
            help=f"also serve {wire.label} on this port; 0 picks a free one",
        )  # fmt: skip
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="number of worker processes (default: 1)")
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
        "--limit", metavar="NAME=VALUE", action="append", default=[], type=_limit,
        help="set a limit; may be repeated. " + " ".join(_described(limit) for limit in LIMITS),
    )  # fmt: skip


def _with_ports() -> list[Any]:
    """Protocols with a port of their own."""
    return [wire for wire in registry("deploykit.serving.wires", "protocol").all() if wire.own_port]


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    asked = {wire.name: getattr(options, f"port_of_{wire.name}") for wire in _with_ports()}
    ports = {name: port for name, port in asked.items() if port is not None}

    def announce(server: dk.Server) -> None:
        facts = {
            "url": server.url,
            "ports": server.ports,
            "name": server.name,
            "pids": server.pids,
            "log": str(server.log),
        }
        more = "".join(f"\n{name} on port {port}" for name, port in server.ports.items())
        show(options, f"{server.name} at {server.url}/v1/models/{server.name}:predict{more}\nlog {server.log}", facts)
        sys.stdout.flush()

    dk.serve(
        options.artifact,
        host=options.host,
        port=options.port,
        ports=ports,
        workers=options.workers,
        limits=dict(options.limit),
        hosts=options.allow_host,
        tokens=options.tokens,
        insecure=options.insecure,
        tls_certificate=options.tls_cert,
        tls_key=options.tls_key,
        tls_clients=options.tls_clients,
        block=True,
        ready=announce,
    )


def _described(limit: Parameter) -> str:
    return f"{limit.name} ({limit.default:g}): {limit.help}"


def _limit(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=NUMBER, got {text!r}") from None
    return name.strip(), int(number) if number.is_integer() else number

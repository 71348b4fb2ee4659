"""``deploykit serve ARTIFACT``."""

from __future__ import annotations

import argparse
import sys

import deploykit as dk
from deploykit.cli._show import show

HELP = "Serve an artifact over HTTP (TensorFlow Serving's REST protocol and Open Inference v2) until Ctrl-C."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("artifact", metavar="ARTIFACT", help="artifact folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8501, help="port to listen on; 0 picks a free one (default: 8501)")
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="number of worker processes (default: 1)")


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    server = dk.serve(options.artifact, host=options.host, port=options.port, workers=options.workers)
    facts = {"url": server.url, "name": server.name, "pids": server.pids, "log": str(server.log)}

    def announce() -> None:
        show(options, f"{server.name} at {server.url}/v1/models/{server.name}:predict\nlog {server.log}", facts)
        sys.stdout.flush()

    server.wait(announce)

"""``deploykit verify ARTIFACT``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.inputs import add_key
from deploykit.cli._shared.show import show

HELP = "Check an artifact's digests and golden outputs, and optionally the outputs of a server that runs it."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("artifact", metavar="ARTIFACT", help="artifact folder")
    parser.add_argument(
        "--url",
        help="also check the server at this address, for example http://127.0.0.1:8501 or grpc://127.0.0.1:8500",
    )

    add_key(parser)


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    found = dk.verify(options.artifact, url=options.url, key=options.key, require_signature=options.require_signature)
    show(options, found, found)
    return 0 if found.ok else 1

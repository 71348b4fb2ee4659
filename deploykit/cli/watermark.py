"""``deploykit watermark SOURCE --key PLACE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.show import show

HELP = "Check whether an artifact, a model file or a server is the model that a secret key has marked."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source", metavar="SOURCE", help="artifact folder; or, with --like, a model file or the address of a server"
    )
    parser.add_argument(
        "--key", metavar="PLACE", required=True,
        help="where the secret key is: env:NAME, file:PATH, keyring:NAME or cmd:PROGRAM ARGUMENTS",
    )  # fmt: skip
    parser.add_argument("--like", metavar="ARTIFACT", help="your own artifact of the marked model")


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    found = dk.check_watermark(options.source, options.key, like=options.like)
    show(options, found, found)
    return 0 if found else 1

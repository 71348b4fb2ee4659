"""``deploykit clean STORE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.show import show

HELP = "Delete what no row of a store needs: intermediate artifacts, unfinished files, logs of work that succeeded."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", metavar="STORE", help="the sweep's store")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="only drop damaged rows, so that the next sweep redoes them, and upgrade a store from an older version",
    )


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    cleaned = dk.clean(options.store, repair=options.repair)
    show(options, cleaned, cleaned)

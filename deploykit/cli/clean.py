"""``deploykit clean STORE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._show import show

HELP = "Free what no row of a store needs: intermediate artifacts, unfinished files, logs of work that went well."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", metavar="STORE", help="folder of the sweep")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="only drop rows that are damaged, so that the next sweep makes them again, and bring a store of an older "
        "version up to date",
    )


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    cleaned = dk.clean(options.store, repair=options.repair)
    show(options, cleaned, cleaned)

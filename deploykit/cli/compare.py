"""``deploykit compare A B``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.show import note, show

HELP = "Compare the results of two sweeps, for example from two days or two machines."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("a", metavar="A", help="folder of the first sweep")
    parser.add_argument("b", metavar="B", help="folder of the second sweep")
    parser.add_argument("--html", metavar="FILE", help="also write a self-contained HTML page with both charts")


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    compared = dk.compare_reports(options.a, options.b)
    if options.html:
        compared.to_html(options.html)
        note(options, f"wrote {options.html}")
    show(options, str(compared), compared.to_json())

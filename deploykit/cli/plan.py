"""``deploykit plan MODEL --data DATA``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.choices import describe
from deploykit.cli._shared.inputs import add_candidates, add_data, add_model, add_space, model_and_data, space
from deploykit.cli._shared.options import add_options, given
from deploykit.cli._shared.show import show
from deploykit.core.settings.options import SweepOptions

HELP = "Show what a sweep would run, what it cannot run and why, and how long it will take. Nothing is built."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_space(parser)
    add_candidates(parser)
    parser.add_argument(
        "--store", metavar="FOLDER", help="store of the sweep: finished work is left out of the estimate"
    )
    parser.add_argument(
        "--no-check",
        action="store_true",
        help="skip running the original model on a few examples: faster, but less certain",
    )
    add_data(parser, synthesis=True)
    add_options(parser, SweepOptions)
    describe(parser, "techniques", "transforms", "technique")
    describe(parser, "runtimes", "runtimes", "runtime")


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    planned = dk.plan(
        *model_and_data(options),
        space(options),
        store=options.store,
        check=not options.no_check,
        candidates=options.candidate,
        **given(options, SweepOptions),
    )
    show(options, planned, planned)

"""``deploykit plan MODEL --data DATA``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._choices import describe
from deploykit.cli._inputs import add_data, add_model, add_space, data, meaning, model, space
from deploykit.cli._show import show
from deploykit.cli._watch import add_limits, limits

HELP = "Show what a sweep would run, what it cannot run and why, and how long it will take. Nothing is built."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_space(parser)
    parser.add_argument(
        "--store", metavar="FOLDER", help="store of the sweep: finished work is left out of the estimate"
    )
    parser.add_argument(
        "--launches", metavar="N", type=int, default=10, help="timing launches per session (default: 10)"
    )
    parser.add_argument(
        "--max-drop",
        metavar="X",
        type=float,
        help="check whether there are enough examples to confirm a drop of at most X, for example 0.01",
    )
    parser.add_argument(
        "--no-check",
        action="store_true",
        help="skip running the original model on a few examples: faster, but less certain",
    )
    add_limits(parser)
    add_data(parser)
    describe(parser, "techniques", "transforms", "technique")
    describe(parser, "runtimes", "runtimes", "runtime")


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    planned = dk.plan(
        model(options),
        data(options),
        space(options),
        store=options.store,
        launches=options.launches,
        max_drop=options.max_drop,
        seed=options.seed,
        check=not options.no_check,
        **meaning(options),
        **limits(options),
    )
    show(options, planned, planned)

"""``deploykit plan MODEL --data DATA``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._choices import describe
from deploykit.cli._inputs import add_data, add_model, add_space, data, model, space
from deploykit.cli._show import show

HELP = "Show what a sweep would run, what it cannot run and why; nothing is built."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_space(parser)
    add_data(parser)
    describe(parser, "techniques", "transforms", "technique")
    describe(parser, "runtimes", "runtimes", "runtime")


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    planned = dk.plan(model(options), data(options), space(options), seed=options.seed)
    show(options, planned, planned)

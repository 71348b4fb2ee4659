"""``deploykit sweep MODEL --data DATA --store STORE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.choices import describe
from deploykit.cli._shared.inputs import add_candidates, add_data, add_model, add_space, model_and_data, space
from deploykit.cli._shared.options import add_options, given
from deploykit.cli._shared.show import show
from deploykit.cli._shared.watch import Watch, add_store
from deploykit.core.settings.options import SweepOptions

HELP = "Build, evaluate and time every candidate. A second sweep on the same store does only what is new."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_store(parser)
    add_space(parser)
    add_candidates(parser)
    add_data(parser, synthesis=True)
    add_options(parser, SweepOptions)
    describe(parser, "metrics", "metrics", "metric")
    describe(parser, "techniques", "transforms", "technique")


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    watch = Watch()
    report = dk.sweep(
        *model_and_data(options),
        space(options),
        store=options.store,
        progress=watch,
        candidates=options.candidate,
        **given(options, SweepOptions),
    )
    show(options, report, report.to_json())
    return watch.status(options.store)

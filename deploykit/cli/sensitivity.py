"""``deploykit sensitivity MODEL --data DATA --store STORE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.choices import names
from deploykit.cli._shared.inputs import add_data, add_model, add_settings, model_and_data
from deploykit.cli._shared.options import add_options, given
from deploykit.cli._shared.show import note, show
from deploykit.cli._shared.watch import Watch, add_store
from deploykit.core.settings.options import SensitivityOptions

HELP = "Measure which layers and operator types a technique harms: applied to one at a time, and to all but one."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_store(parser)
    parser.add_argument(
        "--technique",
        choices=names("transforms", "technique"),
        metavar="NAME",
        default="quantize_static",
        help="technique to test; it must be able to leave layers out (default: quantize_static)",
    )
    add_settings(parser, "technique")
    parser.add_argument("--runtime", metavar="NAME", help="runtime to evaluate on (default: the first one that can)")
    parser.add_argument(
        "--by",
        choices=("layer", "type"),
        action="append",
        help="measure only by layer or only by operator type (default: both)",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=int,
        default=32,
        help="largest number of layers measured one by one, biggest first (default: 32)",
    )
    parser.add_argument(
        "--recipes", metavar="FILE", help="write the suggested recipes as a space (.json or .yaml), for sweep --space"
    )
    add_data(parser, synthesis=True)
    add_options(parser, SensitivityOptions)


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    watch = Watch()
    found = dk.sensitivity(
        *model_and_data(options),
        options.technique,
        parameters=options.set,
        runtime=options.runtime,
        store=options.store,
        by=options.by or ("layer", "type"),
        limit=options.limit,
        progress=watch,
        **given(options, SensitivityOptions),
    )
    if options.recipes:
        dk.Space(found.recipes()).save(options.recipes)
        note(options, f"wrote {options.recipes}")
    show(options, found, found.to_json())
    return watch.status(options.store)

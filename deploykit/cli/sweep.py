"""``deploykit sweep MODEL --data DATA --store STORE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._choices import describe, names
from deploykit.cli._inputs import add_data, add_model, add_space, data, meaning, model, space
from deploykit.cli._show import show
from deploykit.cli._watch import Watch, add_limits, add_metric, add_store, limits

HELP = "Build, evaluate and time every candidate. A second sweep on the same store does only what is new."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_store(parser)
    add_space(parser)
    add_data(parser)
    add_metric(parser)
    parser.add_argument(
        "--engine",
        metavar="NAME[://ADDRESS]",
        default="local",
        help=f"where tasks run: {', '.join(names('engines', 'engine'))} (default: local)",
    )
    add_limits(parser)
    parser.add_argument(
        "--launches",
        metavar="N",
        type=int,
        default=10,
        help="timing launches per session (default: 10; 0 skips latency)",
    )
    parser.add_argument(
        "--max-drop",
        metavar="D",
        type=float,
        help="drop candidates early once they are confirmed to lose more than D; they are not timed",
    )
    parser.add_argument(
        "--no-racing", action="store_true", help="evaluate every candidate on all of the data, whatever --max-drop says"
    )
    parser.add_argument(
        "--no-adaptive", action="store_true", help="time all candidates equally often, even those far from the front"
    )
    parser.add_argument(
        "--search",
        metavar="NAME",
        default="grid",
        help="grid tries the whole space; random, tpe and nsga2 let Optuna pick candidates within it (default: grid)",
    )
    parser.add_argument(
        "--budget",
        metavar="B",
        help='budget of a search: seconds, "10 min" or "40 candidates" (default: 30 candidates)',
    )
    parser.add_argument(
        "--sensitivity",
        action="store_true",
        help="find the layers a technique harms most and try leaving them out (see deploykit sensitivity)",
    )
    describe(parser, "metrics", "metrics", "metric")
    describe(parser, "techniques", "transforms", "technique")


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    watch = Watch()
    report = dk.sweep(
        model(options),
        data(options),
        space(options),
        store=options.store,
        metric=options.metric,
        engine=options.engine,
        seed=options.seed,
        **limits(options),
        launches=options.launches,
        max_drop=options.max_drop,
        racing=not options.no_racing,
        adaptive=not options.no_adaptive,
        search=options.search,
        budget=options.budget,
        sensitivity=options.sensitivity,
        **meaning(options),
        progress=watch,
    )
    show(options, report, report.to_json())
    return watch.status(options.store)

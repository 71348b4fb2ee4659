"""``deploykit capacity ARTIFACT --rate R --p99 MS``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.show import show
from deploykit.cli._shared.watch import Watch

HELP = (
    "Plan how many workers, cores and bytes a rate of requests needs so that the 99th percentile of latency holds: one "
    "worker is measured here, and a queueing model does the rest."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("artifact", metavar="ARTIFACT", help="artifact folder")
    parser.add_argument("--rate", metavar="N", type=float, required=True, help="requests a second, of one example each")
    parser.add_argument("--p99", metavar="MS", type=float, required=True, help="99th percentile that must hold")
    parser.add_argument(
        "--headroom", metavar="S", type=float, default=0.3,
        help="share of a worker's highest rate that is kept free (default: 0.3)",
    )  # fmt: skip
    parser.add_argument(
        "--requests", choices=("binary", "json"), default="binary",
        help="what is sent: binary tensors of Open Inference v2, or TensorFlow Serving's JSON (default: binary)",
    )  # fmt: skip
    parser.add_argument("--price", metavar="P", type=float, help="price of a core for an hour, in any currency")
    parser.add_argument(
        "--check",
        action="store_true",
        help="also ask the real server at 50, 70 and 85 %% load: pauses of a shared machine are not in the plan",
    )
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="rounds of each load (default: 3)")
    parser.add_argument("--seconds", metavar="S", type=float, default=0.5, help="length of a round (default: 0.5)")


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    plan = dk.capacity(
        options.artifact,
        rate=options.rate,
        p99_ms=options.p99,
        headroom=options.headroom,
        requests=options.requests,
        price=options.price,
        check=options.check,
        rounds=options.rounds,
        seconds=options.seconds,
        progress=Watch(),
    )
    show(options, plan, plan.to_json())

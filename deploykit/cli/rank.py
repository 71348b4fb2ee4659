"""``deploykit rank STORE …``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.show import show
from deploykit.reporting.devices import prices_of

HELP = "Rank machines and devices by their best candidate, under limits on latency, energy and cost."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("stores", metavar="STORE", nargs="+", help="folders of sweeps of one model, by machine")
    parser.add_argument(
        "--minimize", metavar="COST", help="latency (ms), energy, cost, size, …; without it, that of the first sweep"
    )
    parser.add_argument("--max-drop", metavar="SHARE", type=float, help="largest loss of the metric; 0.01 is one point")
    parser.add_argument("--max-p50-ms", metavar="MS", type=float, help="largest median latency")
    parser.add_argument("--max-energy-mj", metavar="MJ", type=float, help="largest energy of a prediction")
    parser.add_argument("--max-cost", metavar="AMOUNT", type=float, help="largest cost of a million predictions")
    parser.add_argument(
        "--price", metavar="[NAME=]AMOUNT", action="append", default=[],
        help="price of an hour: of all machines, or of a device, host or CPU, such as cuda=2.5; may be repeated",
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    ranking = dk.rank_devices(
        *options.stores, minimize=options.minimize, max_drop=options.max_drop, max_p50_ms=options.max_p50_ms,
        max_energy_mj=options.max_energy_mj, max_cost_per_million=options.max_cost,
        price_per_hour=prices_of(options.price),
    )  # fmt: skip
    show(options, ranking, ranking.to_json())

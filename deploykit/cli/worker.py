"""``deploykit worker ADDRESS``."""

from __future__ import annotations

import argparse

from deploykit.core.registry import registry

HELP = "Make this machine a worker of a cluster: it takes the tasks of sweeps that run with --engine NAME://ADDRESS."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    known = tuple(e.name for e in registry("deploykit.engines", "engine").all() if e.has_workers)
    parser.add_argument("address", metavar="ADDRESS", help="the scheduler, for example tcp://host:8786")
    parser.add_argument("--slots", metavar="N", type=int, default=0, help="tasks at once (default: one for each core)")
    parser.add_argument(
        "--device", metavar="NAME", action="append", default=[], help="offer a device besides the CPU, for example cuda"
    )
    parser.add_argument(
        "--folder", metavar="FOLDER", default="", help="keeps the files tasks need (default: in the user's cache)"
    )
    parser.add_argument("--engine", choices=known, default=known[0], help=f"whose worker (default: {known[0]})")


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    engine = registry("deploykit.engines", "engine").get(options.engine)
    return int(engine.work(options.address, options.slots, options.device, options.folder))

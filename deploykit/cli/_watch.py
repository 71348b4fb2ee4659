"""What the verbs that run for long share: the store, the metric, the tasks' limits, progress, and Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import Any

from deploykit.cli._choices import names
from deploykit.reporting.events import Progress
from deploykit.reporting.progress import Lines, TerminalBar


def add_store(parser: argparse.ArgumentParser) -> None:
    """Declare the store."""
    parser.add_argument(
        "--store", metavar="FOLDER", default="runs", help="store: the folder for all results (default: runs)"
    )


def add_metric(parser: argparse.ArgumentParser) -> None:
    """Declare the metric that decides."""
    parser.add_argument(
        "--metric",
        choices=("auto", *names("metrics", "metric")),
        metavar="NAME",
        default="auto",
        help="quality to preserve (default: auto, chosen from the labels)",
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Declare the limits of a task."""
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=float,
        help="time limit per task in seconds (default: 600; 60 to 300 for reading the model)",
    )
    parser.add_argument(
        "--memory", metavar="GB", type=float, help="memory limit per child process in gigabytes (default: 6.4)"
    )


def limits(options: argparse.Namespace) -> dict[str, Any]:
    """The limits of a task, as arguments of the public functions that have a default; those not given are left out."""
    given = {"timeout": options.timeout, "memory": options.memory}
    return {name: value for name, value in given.items() if value is not None}


class Watch:
    """Shows progress on stderr, and remembers whether the work was interrupted."""

    def __init__(self) -> None:
        self._show = TerminalBar(sys.stderr) if sys.stderr.isatty() else Lines(sys.stderr)
        self._cancelled = False

    def __call__(self, state: Progress) -> None:
        """Take a change."""
        self._cancelled = self._cancelled or state.phase == "cancelled"
        if state.phase == "cancelled" and state.doing.startswith("stopped: "):
            state = replace(state, doing="stopped")  # the error itself is printed once, at the end
        self._show(state)

    def status(self, store: str) -> int:
        """The exit status; prints how to resume after an interruption."""
        if self._cancelled:
            print(f"deploykit: interrupted. Rerun the same command to resume from {store}.", file=sys.stderr)
        return 130 if self._cancelled else 0

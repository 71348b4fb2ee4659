"""What the verbs that run for long share: the store, progress, and Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from deploykit.reporting.events import Progress
from deploykit.reporting.progress import Lines, TerminalBar


def add_store(parser: argparse.ArgumentParser) -> None:
    """Declare the store."""
    parser.add_argument(
        "--store", metavar="FOLDER", default="runs", help="store: the folder for all results (default: runs)"
    )


class Watch:
    """Shows progress on stderr, and remembers whether the work was interrupted."""

    def __init__(self) -> None:
        self._show = TerminalBar(sys.stderr) if sys.stderr.isatty() else Lines(sys.stderr)
        self._cancelled = False

    def __call__(self, state: Progress) -> None:
        """Take a change."""
        self._cancelled = self._cancelled or state.phase == "cancelled"
        if state.phase == "failed":
            state = replace(state, doing="")  # the error itself is printed once, at the end
        self._show(state)

    def status(self, store: str) -> int:
        """The exit status; prints how to resume after an interruption."""
        if self._cancelled:
            print(f"deploykit: interrupted. Rerun the same command to resume from {store}.", file=sys.stderr)
        return 130 if self._cancelled else 0

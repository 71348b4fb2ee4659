"""``deploykit devices``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.show import show

HELP = "List every runtime with every device it knows: ready, not installed or no such hardware, with the remedy."


def arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    found = dk.devices()
    show(options, found, found)

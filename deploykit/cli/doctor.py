"""``deploykit doctor``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.show import show

HELP = "Show what this machine and installation can do; include it in a bug report."


def arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    found = dk.doctor()
    show(options, found, found)

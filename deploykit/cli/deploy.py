"""``deploykit deploy ARTIFACT WAY``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.choices import describe, names
from deploykit.cli._shared.inputs import add_settings
from deploykit.cli._shared.show import show

HELP = "Show the commands that deploy an artifact and the files they use; nothing is run without --run."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("artifact", metavar="ARTIFACT", help="artifact folder")
    parser.add_argument("way", choices=names("deploying", "way of deploying"), help="where to")
    add_settings(parser, "way")
    parser.add_argument("--run", action="store_true", help="run the commands: build, push and apply")
    describe(parser, "ways", "deploying", "way of deploying")


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    done = dk.deploy(options.artifact, options.way, dry_run=not options.run, parameters=options.set)
    show(options, done, done)

"""``deploykit versions FOLDER``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.show import note, show

HELP = "List the versions of a model: what is served, kept and prunable. Servers follow what is changed here."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", metavar="FOLDER", help="the model's folder, made by the first --add")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--add", metavar="ARTIFACT", help="keep a copy of an artifact; the first one is served")
    group.add_argument("--try", dest="try_out", metavar="N", type=int, help="load version N as a shadow")
    group.add_argument("--promote", metavar="N", type=int, help="let version N answer")
    group.add_argument("--rollback", action="store_true", help="end a trial, or let the version before answer again")
    group.add_argument("--settle", action="store_true", help="have servers give up the version before")
    group.add_argument("--prune", action="store_true", help="remove the folders of versions that are not kept")
    parser.add_argument(
        "--canary", metavar="SHARE", type=float, help="with --try: as a canary that answers this share of the requests"
    )
    parser.add_argument("--note", metavar="TEXT", default="", help="with --add: where it comes from")


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    if options.canary is not None and options.try_out is None:
        raise argparse.ArgumentTypeError("--canary applies only with --try.")
    if options.note and not options.add:
        raise argparse.ArgumentTypeError("--note applies only with --add.")
    versions = dk.Versions(options.folder) if options.add else dk.Versions.open(options.folder)
    if options.add:
        note(options, f"added version {versions.add(options.add, note=options.note)}")
    elif options.try_out is not None:
        versions.try_out(options.try_out, share=options.canary or 0.0)
    elif options.promote is not None:
        versions.promote(options.promote)
    elif options.rollback:
        note(options, f"version {versions.rollback()} answers")
    elif options.settle:
        versions.settle()
    elif options.prune:
        gone = ", ".join(map(str, versions.prune())) or "none"
        note(options, f"removed: {gone}")
    show(options, versions, {"folder": str(versions.folder), "serving": versions.serving, "versions": versions.rows()})

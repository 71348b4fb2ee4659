"""``deploykit export STORE --out ARTIFACT``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.choices import describe, names
from deploykit.cli._shared.inputs import add_device, add_goal, add_settings
from deploykit.cli._shared.show import note, show

HELP = (
    "Export a candidate as a folder that can be served. The export is reloaded and compared before it counts as done."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", metavar="STORE", help="the sweep's store")
    parser.add_argument("--out", metavar="ARTIFACT", required=True, help="folder to create")
    parser.add_argument(
        "--candidate", metavar="KEY", help="key of a candidate, or the start of one (default: the best)"
    )
    parser.add_argument(
        "--layout",
        choices=names("exporters", "layout"),
        default="folder",
        help="layout of the artifact (default: folder)",
    )
    add_settings(parser, "layout")
    parser.add_argument("--name", help="name to serve the model under (default: the model's name)")
    parser.add_argument(
        "--license", default="", help="license of the model, for its card: an SPDX expression or a name"
    )
    parser.add_argument(
        "--encrypt", metavar="PLACE",
        help="encrypt the model and the golden data with the key at this place: env:NAME, file:PATH, keyring:NAME or "
        "cmd:PROGRAM ARGUMENTS; see deploykit key",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace an existing artifact")
    parser.add_argument("--require", action="store_true", help="fail if no candidate is confirmed to meet the goal")
    add_goal(parser)
    add_device(parser)
    describe(parser, "layouts", "exporters", "layout")


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    report = dk.Report.open(options.store)
    goal = {"minimize": options.minimize, "max_drop": options.max_drop}
    if options.candidate:
        choice = report.choice_for(options.candidate, **goal)
    else:
        choice = report.best(layout=options.layout, device=options.device, **goal)
    if options.require:
        choice.require()
    note(options, choice.explain())
    artifact = dk.export(
        choice,
        options.out,
        layout=options.layout,
        name=options.name,
        parameters=options.set,
        license=options.license,
        encrypt=options.encrypt,
        overwrite=options.overwrite,
    )
    show(
        options,
        f"exported {artifact.path}\nserve it with: deploykit serve {artifact.path}",
        {"path": str(artifact.path), "candidate": choice.key, "met": choice.met, "manifest": artifact.manifest},
    )

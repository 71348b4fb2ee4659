"""``deploykit report STORE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.choices import describe, names
from deploykit.cli._shared.inputs import add_goal, add_settings
from deploykit.cli._shared.show import note, show
from deploykit.core.errors import CandidateError

HELP = "Show the results of a sweep, finished or not, and which candidate is best so far and why."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", metavar="STORE", help="the sweep's store")
    parser.add_argument("--html", metavar="FILE", help="also write a self-contained HTML page with chart and table")
    parser.add_argument("--save", metavar="FILE", help="also write the results as JSON")
    parser.add_argument(
        "--log-to",
        metavar="TRACKER[=PLACE]",
        type=_tracker,
        help="also log the sweep to an experiment tracker, for example mlflow=sqlite:///mlflow.db or "
        "tensorboard=FOLDER; what is there already is not logged again",
    )
    add_settings(parser, "tracker")
    add_goal(parser)
    describe(parser, "trackers", "trackers", "tracker")


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    report = dk.Report.open(options.store)
    if options.html:
        report.to_html(options.html, minimize=options.minimize, max_drop=options.max_drop)
        note(options, f"wrote {options.html}")
    if options.save:
        report.save(options.save)
        note(options, f"wrote {options.save}")
    facts = report.to_json()
    if options.set and not options.log_to:
        raise argparse.ArgumentTypeError("--set applies only with --log-to.")
    if options.log_to:
        tracker, place = options.log_to
        logged = report.log_to(tracker, place, minimize=options.minimize, max_drop=options.max_drop, **options.set)
        note(options, f"logged to {logged}")
        facts |= {"logged": logged}
    text = str(report)
    if any(row.status == "measured" for row in report.rows):
        try:
            best = report.best(minimize=options.minimize, max_drop=options.max_drop)
        except CandidateError as error:  # nothing has what is to be minimized: the table is worth showing all the same
            text += f"\n\n{error}"
        else:
            facts |= {"best": best.key, "met": best.met, "reason": best.reason}
            said = [line for line in best.explain().split("\n") if line not in report.notes]  # they are shown above
            text += "\n\n" + "\n".join(said)
    show(options, text, facts)


def _tracker(text: str) -> tuple[str, str]:
    """A tracker and where it writes, "" for its own default."""
    name, _, place = text.partition("=")
    known = names("trackers", "tracker")
    if name not in known:
        raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
    return name, place

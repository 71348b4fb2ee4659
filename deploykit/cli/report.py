"""``deploykit report STORE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.inputs import add_goal
from deploykit.cli._shared.show import note, show
from deploykit.core.errors import CandidateError

HELP = "Show the results of a sweep, finished or not, and which candidate is best so far and why."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", metavar="STORE", help="the sweep's store")
    parser.add_argument("--html", metavar="FILE", help="also write a self-contained HTML page with chart and table")
    parser.add_argument("--save", metavar="FILE", help="also write the results as JSON")
    add_goal(parser)


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

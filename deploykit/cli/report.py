"""``deploykit report STORE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.choices import describe, names
from deploykit.cli._shared.inputs import add_device, add_goal, add_price, add_settings
from deploykit.cli._shared.show import note, show
from deploykit.core.errors import CandidateError
from deploykit.reporting.views import footprint

HELP = "Show the results of a sweep, finished or not, and which candidate is best so far and why."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", metavar="STORE", help="the sweep's store")
    parser.add_argument("--html", metavar="FILE", help="also write a self-contained HTML page with chart and table")
    parser.add_argument(
        "--footprint", action="store_true", help="also show load time, first inference, throughput, memory and energy"
    )
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
    add_device(parser)
    add_price(parser)
    describe(parser, "trackers", "trackers", "tracker")


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    report = dk.Report.open(options.store)
    if options.html:
        report.to_html(
            options.html, minimize=options.minimize, max_drop=options.max_drop, price_per_hour=options.price_per_hour
        )
        note(options, f"wrote {options.html}")
    if options.save:
        report.save(options.save)
        note(options, f"wrote {options.save}")
    facts = report.to_json(price_per_hour=options.price_per_hour)
    if options.set and not options.log_to:
        raise argparse.ArgumentTypeError("--set applies only with --log-to.")
    if options.log_to:
        tracker, place = options.log_to
        logged = report.log_to(tracker, place, minimize=options.minimize, max_drop=options.max_drop, **options.set)
        note(options, f"logged to {logged}")
        facts |= {"logged": logged}
    text = str(report)
    if options.footprint or options.price_per_hour:
        text += f"\n\n{footprint.text_table(report.rows, options.price_per_hour) or 'No footprint was measured.'}"
    if any(row.status == "measured" for row in report.rows):
        try:
            best = report.best(
                minimize=options.minimize, max_drop=options.max_drop, price_per_hour=options.price_per_hour,
                device=options.device,
            )  # fmt: skip
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

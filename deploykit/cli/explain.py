"""``deploykit explain STORE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.inputs import add_goal
from deploykit.cli._shared.show import columns, note, show

HELP = "Explain why a candidate is or is not faster: the layers, kernels and settings behind it, and what would help."
_MOST = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", metavar="STORE", help="the sweep's store")
    parser.add_argument(
        "--candidate", metavar="KEY", help="key of a candidate, or the start of one (default: the best)"
    )
    parser.add_argument(
        "--fixes", metavar="FILE", help="write recipes that would help as a space (.json or .yaml), for sweep --space"
    )
    add_goal(parser)


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    report = dk.Report.open(options.store)
    goal = {"minimize": options.minimize, "max_drop": options.max_drop}
    choice = report.choice_for(options.candidate, **goal) if options.candidate else report.best(**goal)
    fixes = choice.suggested()
    profiled = choice.measurement is not None and bool(choice.measurement.profile)
    layers = choice.layers() if profiled else []
    text = choice.explain()
    if layers:
        text += f"\n\n{_table(layers)}"
    changed = choice.changed()
    if changed:
        text += "\n\nWhat it changes:\n" + "\n".join(f"  {line}" for line in changed)
    if options.fixes and fixes:
        dk.Space(tuple(fixes), (choice.result.candidate.target,)).save(options.fixes)
        note(options, f"wrote {options.fixes}")
    elif options.fixes:
        note(options, f"no untried recipe is known to help: {options.fixes} was not written")
    if fixes:
        file = options.fixes or "fixes.json"
        write = f"deploykit explain {options.store} --candidate {choice.key} --fixes {file} && "
        sweep = f"deploykit sweep MODEL --data DATA --store {options.store} --space {file}"
        text += f"\n\nTo try what would help: {'' if options.fixes else write}{sweep}"
    facts = {
        "key": choice.key,
        "explanation": choice.explain().split("\n"),
        "findings": [f.to_json() for f in choice.measurement.findings] if choice.measurement else [],
        "suggested": [recipe.to_json() for recipe in fixes],
        "layers": layers,
        "changed": changed,
    }
    show(options, text, facts)


def _table(layers: list[dict[str, object]]) -> str:
    def slow(row: dict[str, object]) -> float:
        return -max(float(str(row["float_ms"] or 0)), float(str(row["ms"] or 0)))

    def number(value: object, digits: int) -> str:
        return "" if value is None else f"{float(str(value)):.{digits}f}"

    shown = sorted(layers, key=slow)[:_MOST]
    body = [
        (str(r["layer"]), str(r["kernel"] or "not present"), number(r["float_ms"], 4), number(r["ms"], 4),
         number(r["ratio"], 2))
        for r in shown
    ]  # fmt: skip
    table = columns([("slowest layers", "kernel", "float32, ms", "candidate, ms", "ratio"), *body], right=(2, 3, 4))
    left = len(layers) - len(shown)
    return f"{table}\n… and {left} more; --json lists all" if left else table

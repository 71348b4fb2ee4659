"""``deploykit explain STORE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.inputs import add_goal
from deploykit.cli._shared.show import columns, note, show
from deploykit.core.errors import SettingError

HELP = (
    "Explain why a candidate is or is not faster: the layers, kernels and settings behind it, and what would help. "
    "With --example: what its answer to one example rests on, beside the original's."
)
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
    parser.add_argument(
        "--example", metavar="N", type=int, help="explain the answer to this example, by its number in the split"
    )
    parser.add_argument("--split", choices=("evaluation", "test"), help="the split of --example (default: evaluation)")
    parser.add_argument("--answer", metavar="CLASS", help="with --example: the class by name or number (default: the "
                        "original's answer)")  # fmt: skip
    parser.add_argument("--html", metavar="FILE", help="with --example: also write charts and values as a page")
    add_goal(parser)


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    report = dk.Report.open(options.store)
    goal = {"minimize": options.minimize, "max_drop": options.max_drop}
    choice = report.choice_for(options.candidate, **goal) if options.candidate else report.best(**goal)
    if options.example is not None:
        _example(options, choice)
        return
    if alone := [name for name in ("split", "answer", "html") if getattr(options, name)]:
        raise SettingError(f"--{alone[0]} applies only with --example.", remedy="add --example N.")
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


def _example(options: argparse.Namespace, choice: dk.Choice) -> None:
    """What the answers to one example rest on."""
    original = choice.key == choice.report.baseline
    found = dk.explain_example(
        choice, options.example, against=None if original else "original", split=options.split or "evaluation",
        answer=_number(options.answer),
    )  # fmt: skip
    names = ["part", choice.result.label, *([] if original else ["original"])]
    rows = [
        (row["name"], *(f"{row[key]:.4f}".replace("-", "−") for key in ("value", "against") if key in row))
        for row in found.strongest()
    ]
    text = f"{found}\n\n{columns([tuple(names), *rows], right=range(1, len(names)))}" if rows else str(found)
    if options.html:
        found.to_html(options.html)
        note(options, f"wrote {options.html}")
    show(options, text, found.to_json())


def _number(answer: str | None) -> str | int | None:
    return int(answer) if answer is not None and answer.isdecimal() else answer


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

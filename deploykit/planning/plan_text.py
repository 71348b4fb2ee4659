"""A plan for people: as text, and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from deploykit.choosing.goals import limit
from deploykit.core import tables
from deploykit.core.budget import DEFAULT_CANDIDATES
from deploykit.core.parameter import Value
from deploykit.reporting.progress import duration

if TYPE_CHECKING:
    from deploykit.planning.plan import Plan

#: Candidates and reasons that are shown; the rest is counted.
_CANDIDATES, _REASONS, _LABELS = 200, 40, 4
_STAGES = {"build": "building", "accuracy": "evaluating", "latency": "timing"}
_KNOWN = {
    "this model": "from earlier sweeps of this model here",
    "other models": "from earlier sweeps of other models here",
    "typical": "from typical durations: no sweep has run on this machine yet",
}


def text(plan: Plan) -> str:
    """A plan as lines."""
    lines = [_counts(plan), *costs(plan), *filter(None, [resolution(plan), _second(plan), *with_options(plan)])]
    lines += [f"  {said}" for said in (plan.reading.lines if plan.reading else ())]
    lines += [f"  {heading}: {said}" for heading, said in meaning(plan)]
    lines += [f"  {c.key}  {c.label} on {c.candidate.target}" for c in plan.candidates]
    said = {"left out": [(o.reason, o.label) for o in plan.left_out]}
    said |= {s: [(r.reason, r.label) for r in plan.remarks if r.severity == s] for s in ("pointless", "note")}
    for word, reasons in said.items():
        lines += [f"  {word}: {label}: {reason}" for reason, label in grouped(reasons)]
    return "\n".join(lines)


def html(plan: Plan) -> str:
    """A plan as a card with folded tables."""
    warned = {r.key: r.reason for r in reversed(plan.remarks)}
    candidates = tables.table(
        ("candidate", "runs on", "builds on", "remark"),
        [
            (c.label, str(c.candidate.target), " → ".join(plan.steps[k].words for k in c.steps) or "—",
             warned.get(c.key, ""))
            for c in plan.candidates[:_CANDIDATES]
        ],
    )  # fmt: skip
    hidden = len(plan.candidates) - _CANDIDATES
    parts = [_line(said) for said in [*costs(plan), _second(plan), *with_options(plan)] if said]
    if plan.examined is not None:
        parts.append(tables.notes(plan.examined.warnings))
        parts.append(
            tables.fold("how inputs, labels and outputs are read", tables.table(("what", "is taken as"), meaning(plan)))
        )
    if plan.reading is not None:
        read = tables.table(("what was read",), [(said,) for said in plan.reading.lines])
        parts += [tables.notes(plan.reading.notes), tables.fold("what was read", read)]
    said = resolution(plan)
    parts.append(_line(said) if plan.can_resolve else tables.notes([said]))
    more = f" (the first {_CANDIDATES})" if hidden > 0 else ""
    parts.append(tables.fold(f"{_count(len(plan.candidates), 'candidate')}{more}", candidates))
    parts += [
        _reasons("left out: cannot be built or run", ((o.reason, o.label) for o in plan.left_out)),
        _reasons("pointless", ((r.reason, r.label) for r in plan.pointless)),
        _reasons("worth knowing", ((r.reason, r.label) for r in plan.remarks if r.severity == "note")),
    ]
    return tables.card("Plan of a sweep", _counts(plan), *parts)


def resolution(plan: Plan) -> str:
    """What the evaluation examples can tell; "" when that is not known."""
    if not plan.resolves:
        return ""
    how = "as in earlier sweeps" if plan.flips_measured else "as is typical"
    said = f"{plan.evaluation_examples:,} evaluation examples resolve ±{100 * plan.resolves:.2f} pp"
    basis = f" (when {100 * plan.flips:.1f} % of the answers change, {how})"
    if plan.max_drop is None:
        return said + basis
    if not plan.max_drop:
        return f"{said}: no number of examples can confirm that nothing at all is lost{basis}"
    drop = f"a drop of {limit(plan.max_drop)}"
    if plan.resolves <= plan.max_drop:
        return f"{said}: enough to confirm that {drop} is not exceeded{basis}"
    return f"{said}: {drop} cannot be confirmed; about {_rounded(plan.examples_needed):,} would{basis}"


def meaning(plan: Plan) -> list[tuple[str, str]]:
    """The contract and the check of the original model, as pairs of a heading and a sentence."""
    if plan.examined is None:
        return []
    found = plan.examined
    lines = [*found.contract.lines, *(("check", said) for said in found.check.lines)]
    return [*lines, ("check", found.failure)] if found.failure else lines


def _counts(plan: Plan) -> str:
    shared = sum(len(c.steps) for c in plan.candidates) - len(plan.steps)
    parts = [
        _count(len(plan.candidates), "candidate"),
        f"{_count(len(plan.steps), 'build step')} ({shared} shared)",
        f"{_count(len(plan.left_out), 'combination')} left out",
        f"{_count(plan.duplicates, 'duplicate')} merged",
    ]
    if plan.pointless:
        parts.append(f"{len({r.key for r in plan.pointless})} pointless")
    return ", ".join(parts)


def costs(plan: Plan) -> list[str]:
    """Expected time and disk; empty if it was not requested."""
    expected = plan.expected
    if expected is None:
        return []
    if not (expected.steps or expected.evaluations or expected.sessions):
        return ["nothing left to do: the store already holds all of it"]
    stages = ", ".join(f"{word} {duration(expected.stages[name])}" for name, word in _STAGES.items())
    left = f"{_count(expected.steps, 'build step')}, {_count(expected.evaluations, 'evaluation')} to do"
    return [
        f"about {duration(expected.seconds)} ({duration(expected.low)} to {duration(expected.high)}): {stages}; "
        f"{left}; {_KNOWN[expected.known_from]}",
        f"about {max(1, round(expected.disk_bytes / 1e6)):,} MB of disk",
    ]


def _second(plan: Plan) -> str:
    if not plan.refine.top:
        return ""
    threads = ", ".join(map(str, plan.refine.threads))
    return f"then the best {plan.refine.top} again with {threads} threads"


def with_options(plan: Plan) -> list[str]:
    """The options that differ from their defaults, and what they add to the candidates or take from them."""
    if not plan.options:
        return []
    lines = ["options: " + ", ".join(f"{name} {_value(value)}" for name, value in plan.options.items())]
    if "search" in plan.options:
        budget = plan.options.get("budget") or f"{DEFAULT_CANDIDATES} candidates"
        budget = budget if isinstance(budget, str) else duration(budget)
        lines.append(f"the search tries some of these candidates and stops after {budget}; the time above is for all")
    if plan.options.get("sensitivity"):
        lines.append("then the layers each technique harms most are found and left out; the time above leaves that out")
    return lines


def _value(value: Value) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def grouped(reasons: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each reason once, with the labels it is for."""
    found: dict[str, list[str]] = {}
    for reason, label in reasons:
        found.setdefault(reason, []).append(label)
    return [
        (reason, "; ".join(labels[:_LABELS]) + (f" and {len(labels) - _LABELS} more" if len(labels) > _LABELS else ""))
        for reason, labels in found.items()
    ]


def _reasons(title: str, reasons: Iterable[tuple[str, str]]) -> str:
    given = list(reasons)
    if not given:
        return ""
    found = grouped(given)
    content = tables.table(("what", "why"), [(label, reason) for reason, label in found[:_REASONS]])
    return tables.fold(f"{_count(len(given), 'combination')} {title}", content)


def _line(said: str) -> str:
    return f"<div>{escape(said)}</div>" if said else ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def _rounded(number: int) -> int:
    """Two digits: more would claim more than is known."""
    digits: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // digits) * digits

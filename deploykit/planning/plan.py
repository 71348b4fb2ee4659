"""A plan of a sweep, and how it reads: as text, and as HTML for notebooks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

from deploykit.choosing.goals import limit
from deploykit.core import tables
from deploykit.core.check import Examined
from deploykit.core.contract import Contract
from deploykit.core.parameter import Value
from deploykit.core.resolution import TYPICAL_FLIPS
from deploykit.core.result import GROUPS
from deploykit.core.serial import Plain
from deploykit.core.settings.budget import DEFAULT_CANDIDATES
from deploykit.core.space import Refine
from deploykit.data.reading import Reading
from deploykit.planning.planned import Expected, LeftOut, Planned, Remark
from deploykit.planning.steps import BuildStep
from deploykit.reporting.progress import duration

#: Candidates and reasons that are shown; the rest is counted.
_CANDIDATES, _REASONS, _LABELS = 200, 40, 4
_STAGES = {"build": "building", "accuracy": "evaluating", "latency": "timing"}
_KNOWN = {
    "this model": "from earlier sweeps of this model here",
    "other models": "from earlier sweeps of other models here",
    "typical": "from typical durations: no sweep has run on this machine yet",
}


@dataclass(frozen=True, repr=False)
class Plan(Plain):
    """What would run.

    Attributes:
        candidates: In order; the baseline is among them.
        baseline: Key of the original model on its own runtime: what the others are compared with.
        steps: Key → build step, inputs before outputs.
        left_out: Combinations that cannot be built, with the reason.
        duplicates: How many combinations were the same as another one.
        refine: Second round, planned when the first is measured.
        resolves: Half-width, as a share, to which the evaluation split can resolve an accuracy change; 0 when the
            labels are not classes.
        evaluation_examples: Size of the evaluation split.
        evaluation_groups: How many groups they come in, such as videos whose frames they are, which ``resolves``
            counts; 0 where examples stand for themselves.
        remarks: What is known of candidates that are kept, and plainly said before the work.
        flips: Share of examples whose answer a candidate changes, which ``resolves`` rests on.
        flips_measured: Whether ``flips`` was measured on earlier candidates in the store, or is a typical value.
        max_drop: Largest loss the user allows, None when that was not said.
        options: Options of the sweep that differ from their defaults, by name.
        expected: What it will take, None if it was not requested.
        examined: What model and data are taken to mean, and whether the model does its job on them.
        reading: What was read as data, split and left out.
        examples: Sizes of the splits. If no technique trains the model, more of the examples compare candidates.

    Example:
        >>> plan = dk.plan(model, data, "quick", launches=5)
        >>> plan.options, plan.can_resolve
        ({'launches': 5}, True)
    """

    candidates: tuple[Planned, ...]
    baseline: str
    steps: dict[str, BuildStep]
    left_out: tuple[LeftOut, ...] = ()
    duplicates: int = 0
    refine: Refine = field(default_factory=Refine)
    resolves: float = 0.0
    evaluation_examples: int = 0
    remarks: tuple[Remark, ...] = ()
    flips: float = TYPICAL_FLIPS
    flips_measured: bool = False
    max_drop: float | None = None
    options: dict[str, Value] = field(default_factory=dict)
    expected: Expected | None = None
    examined: Examined | None = None
    reading: Reading | None = None
    examples: dict[str, int] = field(default_factory=dict)
    evaluation_groups: int = 0

    @property
    def contract(self) -> Contract | None:
        """What inputs, labels and outputs are taken to mean."""
        return self.examined.contract if self.examined else None

    @property
    def seconds(self) -> float:
        """Expected wall-clock time; 0 if it was not requested."""
        return self.expected.seconds if self.expected else 0.0

    @property
    def disk_bytes(self) -> int:
        """Expected growth of the store; 0 if it was not requested."""
        return self.expected.disk_bytes if self.expected else 0

    @property
    def pointless(self) -> tuple[Remark, ...]:
        """Candidates that will not be faster or better than what is cheaper."""
        return tuple(r for r in self.remarks if r.severity == "pointless")

    @property
    def examples_needed(self) -> int:
        """Evaluation examples, or groups, that would confirm ``max_drop``; 0 when that cannot be determined."""
        return math.ceil(1.96**2 * self.flips / self.max_drop**2) if self.max_drop and self.resolves else 0

    @property
    def can_resolve(self) -> bool:
        """Whether the evaluation examples can confirm that ``max_drop`` is not passed."""
        return self.max_drop is None or not self.resolves or self.resolves <= self.max_drop

    @property
    def costs(self) -> tuple[str, ...]:
        """Expected time and disk in words."""
        return tuple(_costs(self))

    @property
    def resolution(self) -> str:
        """What the evaluation examples can resolve, in words; "" when that is not known."""
        return _resolution(self)

    @property
    def reasons(self) -> tuple[tuple[str, str], ...]:
        """What is said of candidates, gravest first: each reason once, with the candidates it is for."""
        order = sorted(self.remarks, key=lambda r: r.severity != "pointless")
        return tuple(_grouped((r.reason, r.label) for r in order))

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return _text(self)

    def _repr_html_(self) -> str:
        return _html(self)


def _text(plan: Plan) -> str:
    """A plan as lines."""
    lines = [_counts(plan), *_costs(plan), *filter(None, [_resolution(plan), _second(plan), *_with_options(plan)])]
    lines += [f"  {said}" for said in (plan.reading.lines if plan.reading else ())]
    lines += [f"  {heading}: {said}" for heading, said in _meaning(plan)]
    lines += [f"  {c.key}  {c.label} on {c.candidate.target}" for c in plan.candidates]
    said = {"left out": [(o.reason, o.label) for o in plan.left_out]}
    said |= {s: [(r.reason, r.label) for r in plan.remarks if r.severity == s] for s in ("pointless", "note")}
    for word, reasons in said.items():
        lines += [f"  {word}: {label}: {reason}" for reason, label in _grouped(reasons)]
    return "\n".join(lines)


def _html(plan: Plan) -> str:
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
    parts = [_line(said) for said in [*_costs(plan), _second(plan), *_with_options(plan)] if said]
    if plan.examined is not None:
        parts.append(tables.notes(plan.examined.warnings))
        parts.append(
            tables.fold(
                "how inputs, labels and outputs are read", tables.table(("what", "is taken as"), _meaning(plan))
            )
        )
    if plan.reading is not None:
        read = tables.table(("what was read",), [(said,) for said in plan.reading.lines])
        parts += [tables.notes(plan.reading.notes), tables.fold("what was read", read)]
    said = _resolution(plan)
    parts.append(_line(said) if plan.can_resolve else tables.notes([said]))
    more = f" (the first {_CANDIDATES})" if hidden > 0 else ""
    parts.append(tables.fold(f"{_count(len(plan.candidates), 'candidate')}{more}", candidates))
    parts += [
        _reasons("left out: cannot be built or run", ((o.reason, o.label) for o in plan.left_out)),
        _reasons("pointless", ((r.reason, r.label) for r in plan.pointless)),
        _reasons("worth knowing", ((r.reason, r.label) for r in plan.remarks if r.severity == "note")),
    ]
    return tables.card("Plan of a sweep", _counts(plan), *parts)


def _resolution(plan: Plan) -> str:
    """What the evaluation examples can resolve; "" when that is not known."""
    if not plan.resolves:
        return ""
    how = "as in earlier sweeps" if plan.flips_measured else "as is typical"
    of = f" of {plan.evaluation_groups:,} {GROUPS}" if plan.evaluation_groups else ""
    said = f"{plan.evaluation_examples:,} evaluation examples{of} resolve ±{100 * plan.resolves:.2f} pp"
    basis = f" (when {100 * plan.flips:.1f} % of the answers change, {how})"
    if plan.max_drop is None:
        return said + basis
    if not plan.max_drop:
        return f"{said}: no number of examples can confirm that nothing at all is lost{basis}"
    drop, needed = f"a drop of {limit(plan.max_drop)}", f" {GROUPS}" if plan.evaluation_groups else ""
    if plan.resolves <= plan.max_drop:
        return f"{said}: enough to confirm that {drop} is not exceeded{basis}"
    return f"{said}: {drop} cannot be confirmed; about {_rounded(plan.examples_needed):,}{needed} would{basis}"


def _meaning(plan: Plan) -> list[tuple[str, str]]:
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
    if compiled := sum(step.kind == "compile" for step in plan.steps.values()):
        parts.append(f"{compiled} compiled for this machine")
    if plan.pointless:
        parts.append(f"{len({r.key for r in plan.pointless})} pointless")
    return ", ".join(parts)


def _costs(plan: Plan) -> list[str]:
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


def _with_options(plan: Plan) -> list[str]:
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


def _grouped(reasons: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
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
    found = _grouped(given)
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

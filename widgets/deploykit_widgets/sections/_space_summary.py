"""The plan for the Space panel: counts, time, what is left out and why, and whether it can be run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.settings.budget import DEFAULT_CANDIDATES
from deploykit.reporting.progress import duration
from deploykit_widgets.actions.inputs import being_read
from deploykit_widgets.space.options import value_of, whole
from deploykit_widgets.state import State

if TYPE_CHECKING:
    from deploykit import Plan

#: Reasons that are listed; the rest is counted.
_MOST_REASONS = 60
#: More candidates than this are better run in batch.
_MANY = 2000
#: Labels that are named with a reason; the rest is counted.
_MOST_LABELS = 4


def counts(state: State) -> dict[str, Any]:
    """See ``IPlan`` in space/summary.tsx."""
    plan = state.plan
    wrong = [state.problems.get(name, "") for name in ("space", "plan")]
    said: dict[str, Any] = {
        "known": plan is not None,
        "fresh": not state.planning,
        "missing": _missing(state),
        "problems": [sentence(words) for words in wrong if words],
    }
    if plan is None:
        return said
    reused = len(_measured(state) & {c.key for c in plan.candidates})
    left_out = [(o.reason, o.label) for o in plan.left_out]
    pointless = len({r.key for r in plan.pointless})
    example = plan.left_out[0] if plan.left_out else None
    return said | {
        "candidates": len(plan.candidates),
        "reused": reused,
        "time": _time(state),
        "many": len(plan.candidates) > _MANY,
        "more": _more(state, plan),
        "costs": list(plan.costs),
        "resolution": plan.resolution,
        "resolves": plan.can_resolve,
        "leftOut": len(plan.left_out),
        "example": f"{example.label}: {example.reason}" if example else "",
        "leftOutBy": _reasons(_grouped(left_out)),
        "duplicates": plan.duplicates,
        "pointless": pointless,
        "remarks": _reasons(list(plan.reasons)),
    }


def button(state: State) -> dict[str, str]:
    """The button's label, and why it is disabled."""
    if state.sweeping:
        return {"label": "Sweep is running", "reason": "Pause or cancel it in the strip above."}
    if words := being_read(state):
        return {"label": "Run sweep", "reason": sentence(words)}
    if missing := _missing(state):
        return {"label": "Run sweep", "reason": f"Load {missing} first."}
    wrong = state.problems.get("space") or state.problems.get("plan")
    if wrong or state.space is None:
        return {"label": "Run sweep", "reason": sentence(wrong) if wrong else "Nothing to run."}
    if _all_done(state):
        return {"label": "No changes to apply", "reason": "Everything in this space is measured already."}
    return {"label": _work(state), "reason": ""}


def _work(state: State) -> str:
    """What a click starts: how many candidates are left to measure, and how long that takes."""
    plan = state.plan
    if plan is None or state.planning or "search" in state.options:
        return "Run sweep"
    left = len({c.key for c in plan.candidates} - _measured(state))
    seconds = _seconds(state)
    what = f"Run {_count(left, 'candidate')}" if left else "Run sweep"
    return f"{what}, about {duration(seconds)}" if seconds else what


def line(state: State, preset: str, changes: int, ticked: Mapping[str, bool], runtimes: int) -> str:
    """The space in one line."""
    plan = state.plan
    name = preset.capitalize() or "Given in code"
    parts = [
        name + (f", {_count(changes, 'change')}" if changes else ""),
        _count(sum(ticked.values()), "technique"),
        _count(runtimes, "runtime"),
    ]
    if state.problems.get("space"):
        parts.append("needs attention")
    elif plan is not None and not state.planning:
        parts.append(_count(len(plan.candidates), "candidate"))
    return " · ".join(parts)


def uses(state: State, technique: str) -> int | None:
    """Candidates that use a technique; None when there is no plan."""
    if state.plan is None:
        return None
    return sum(any(s.technique == technique for s in c.candidate.recipe.steps) for c in state.plan.candidates)


def sentence(words: str) -> str:
    """The text with a capital first letter."""
    return words[:1].upper() + words[1:]


def _missing(state: State) -> str:
    return " and ".join(n for n, v in (("a model", state.model), ("data", state.data)) if v is None)


def _measured(state: State) -> set[str]:
    """Keys of candidates whose results are reused."""
    stops = "max_drop" in state.options and value_of(state.options, "racing")
    final = {"measured", "stopped"} if stops else {"measured"}
    return {r.key for r in (state.report.rows if state.report else ()) if r.status in final}


def _all_done(state: State) -> bool:
    plan, report = state.plan, state.report
    if plan is None or report is None or state.planning or not whole(state.options) or plan.expected is None:
        return False
    expected = plan.expected
    finished = _measured(state) | {r.key for r in report.rows if r.status == "failed"}
    return (
        not (expected.steps or expected.evaluations or expected.sessions)
        and {c.key for c in plan.candidates} <= finished
    )


def _time(state: State) -> str:
    seconds = _seconds(state)
    if seconds is None:
        return ""
    return f"about {duration(seconds)}" if seconds else "nothing left to do"


def _seconds(state: State) -> float | None:
    """How long what is left takes: 0 if nothing is left, None if that is not known."""
    expected = state.plan.expected if state.plan is not None else None
    if expected is None or "search" in state.options:
        return None
    if not (expected.steps or expected.evaluations or expected.sessions):
        return 0.0
    return max(expected.seconds, 1.0)


def _more(state: State, plan: Plan) -> str:
    """What happens in addition to the candidates that are counted."""
    if "search" in state.options:
        budget = state.options.get("budget") or f"{DEFAULT_CANDIDATES} candidates"
        return f"The search proposes candidates from these values and stops after {budget}."
    said = []
    if plan.refine.top:
        threads = ", ".join(map(str, plan.refine.threads))
        said.append(f"Then the best {plan.refine.top} are timed again with {threads} threads.")
    if "sensitivity" in state.options:
        said.append("Then the sensitivity of each layer is measured, and the most promising exclusions are tried.")
    return " ".join(said)


def _grouped(reasons: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each reason once, with the labels it applies to."""
    found: dict[str, list[str]] = {}
    for reason, label in reasons:
        found.setdefault(reason, []).append(label)
    return [(reason, _listed(labels)) for reason, labels in found.items()]


def _listed(labels: list[str]) -> str:
    more = len(labels) - _MOST_LABELS
    return "; ".join(labels[:_MOST_LABELS]) + (f" and {more} more" if more > 0 else "")


def _reasons(found: list[tuple[str, str]]) -> list[dict[str, str]]:
    listed = [{"reason": reason, "labels": labels} for reason, labels in found[:_MOST_REASONS]]
    more = len(found) - _MOST_REASONS
    return [*listed, {"reason": f"and {more} more reasons", "labels": ""}] if more > 0 else listed


def _count(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}".replace(",", "\u2009")

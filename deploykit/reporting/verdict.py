"""The verdict on a candidate, and on two: one sentence that people read first, with its numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from deploykit.choosing.goals import Goal
from deploykit.core.candidate import Target
from deploykit.core.result import Interval, Latency, Measurement, Result, Score
from deploykit.core.serial import Plain
from deploykit.measuring.ratios import MARGIN
from deploykit.reporting import numbers, speed
from deploykit.reporting.effects import has_effect, packed_bytes, storage

Kind = Literal[
    "baseline", "faster", "maybe inside", "outside", "not faster", "slower", "noisy", "inconclusive", "target missed",
    "not timed", "failed", "stopped", "screened", "pending",
]  # fmt: skip

#: Kinds that are good news, and those that need a look; the others are neither.
GOOD: frozenset[Kind] = frozenset({"faster"})
BAD: frozenset[Kind] = frozenset({"failed", "outside", "slower", "stopped", "target missed"})
_RUNTIME = "The runtime is slower for this model, not the technique."
#: More samples than this are not asked for.
_MOST_SAMPLES = 10_000_000


@dataclass(frozen=True)
class Verdict(Plain):
    """What may be said of a candidate.

    Attributes:
        kind: Which sentence it is.
        headline: The beginning of it, a sentence of its own, for bold type.
        detail: The rest, "" when that is all.
    """

    kind: Kind
    headline: str
    detail: str = ""

    @property
    def tone(self) -> Literal["good", "bad", "neutral"]:
        """Whether it is good news."""
        return "good" if self.kind in GOOD else "bad" if self.kind in BAD else "neutral"

    def __str__(self) -> str:
        return f"{self.headline} {self.detail}".strip()


def verdict(
    row: Result,
    goal: Goal,
    *,
    relative: bool,
    baseline: bool = False,
    best: bool = False,
    causes: bool = True,
    home: Target | None = None,
) -> Verdict:
    """The verdict on a row: on what its technique does, against the same original model on the same target.

    Args:
        row: The row.
        goal: What is wanted.
        relative: Whether changes of the metric are relative (errors) rather than differences (accuracies).
        baseline: Whether it is the original model.
        best: Whether it was chosen for the goal: then a missed goal is the verdict.
        causes: Whether to name what the profile has found; not where all of that stands below.
        home: Where the original model was timed: a candidate elsewhere owes a part of its speed-up to the move.
    """
    said = _verdict(row, goal, relative=relative, baseline=baseline, best=best, causes=causes, home=home)
    lost = row.measurement.collapsed if row.measurement is not None and not baseline else ()
    return replace(said, detail=_joined(*lost, said.detail)) if lost else said


def _verdict(
    row: Result, goal: Goal, *, relative: bool, baseline: bool, best: bool, causes: bool, home: Target | None
) -> Verdict:
    if baseline:
        return Verdict("baseline", "This is the original model: the baseline of all comparisons.")
    measurement = row.measurement
    if row.status == "failed":
        failure = row.failure
        parts = [failure.cause, failure.remedy] if failure else []
        return Verdict("failed", "Failed.", _joined(*(text[:1].upper() + text[1:] for text in parts)))
    if row.status == "stopped":
        return Verdict("stopped", "Stopped early.", f"{row.stopped[:1].upper()}{row.stopped[1:]}.")
    if measurement is None:
        return Verdict("pending", "Not measured yet.")
    if row.status == "pending":
        return _so_far(row, measurement, goal, relative=relative, home=home)
    if why := measurement.ruined(goal.max_output_error, goal.min_agreement):
        said = _quality(measurement, goal, relative=relative)[1]
        return Verdict("outside", "Ruins another output.", f"{why[:1].upper()}{why[1:]}. The scored one: {said}")
    if best and measurement.score.drop.high > goal.max_drop:
        return _missed(row, measurement, goal, relative=relative)
    if measurement.latency is None:
        return Verdict("not timed", "Not timed.", _quality(measurement, goal, relative=relative)[1])
    return _timed(row, measurement, measurement.latency, goal, relative=relative, causes=causes, home=home)


def _so_far(row: Result, measurement: Measurement, goal: Goal, *, relative: bool, home: Target | None) -> Verdict:
    """Of a candidate that is still being measured: its numbers, and no claim."""
    said, latency = _quality(measurement, goal, relative=relative)[1], measurement.latency
    if latency is None:
        return Verdict("pending", "Not timed yet.", said)
    launches = f"{latency.launches} launch{'' if latency.launches == 1 else 'es'}"
    if latency.claim == "baseline":
        return Verdict("screened", f"The same file as the original model, after {launches}; still measuring.", said)
    return Verdict("screened", f"So far {speed.parts(row, home)}, after {launches}; still measuring.", said)


def _timed(
    row: Result,
    measurement: Measurement,
    latency: Latency,
    goal: Goal,
    *,
    relative: bool,
    causes: bool,
    home: Target | None,
) -> Verdict:
    if latency.claim == "baseline":  # a step that changed nothing: there is one measurement of both
        said = _quality(measurement, goal, relative=relative)[1]
        return Verdict("not faster", "Not faster: its file is the same as the original model's.", said)
    own, claim, than = speed.own(latency), speed.claim(latency), speed.than(row, home)
    noisy, whole = _noise(latency), f"{speed.parts(row, home)}."
    if "inconclusive" in latency.flags and claim not in ("faster", "slower"):
        half = 100 * (own.high - own.low) / (2 * max(own.value, 1e-9))
        return Verdict(
            "inconclusive", f"Inconclusive: still ±{half:.0f} % after {latency.launches} launches.",
            f"{whole} No claim is made. {_quality(measurement, goal, relative=relative)[1]}".strip(),
        )  # fmt: skip
    cause = _because(measurement, latency) if causes or not measurement.findings else ""
    rest = whole if than else ""  # else the headline has said it
    if claim == "slower":
        return Verdict("slower", f"Slower{than}: {numbers.times(own)}.", _joined(rest, cause, noisy))
    if latency.claim == "slower":
        said = f"Slower in total: {numbers.times(latency.speedup)}."
        return Verdict("slower", said, _joined(rest, cause or _RUNTIME, noisy))
    if claim == "same":
        said = f"Not faster{than}: {numbers.times(own)}."
        return Verdict("not faster", said, _joined(rest, cause, _smaller(row, measurement), noisy))
    if claim == "unclear":
        if noisy:
            return Verdict("noisy", noisy.partition(". ")[0].rstrip(".") + ".", f"{whole} No claim is made.")
        what = f" whether it is faster{than}" if than else ""
        floor = 100 * max(MARGIN, min(latency.noise_floor, 10.0))
        why = f"No claim is made: only differences above {floor:.0f} % count here."
        return Verdict("inconclusive", f"Inconclusive{what}: {numbers.times(own)}.", _joined(rest, why))
    kind, quality = _quality(measurement, goal, relative=relative)
    limit = numbers.limit(goal.max_drop, relative=relative)
    faster = "Faster" if row.candidate.recipe.steps else "Faster by its runtime"
    headline = {
        "inside": f"{faster}, and within your limit (95 % confidence).",
        "maybe": f"{faster}, but may lose more than {limit}.",
        "outside": f"{faster}, but loses more than {limit}.",
    }[kind]
    names: dict[str, Kind] = {"inside": "faster", "maybe": "maybe inside", "outside": "outside"}
    return Verdict(names[kind], headline, _joined(whole, quality, noisy))


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def compare(a: Result, b: Result, goal: Goal, *, relative: bool) -> str:
    """What may be said of B beside A, in a sentence or two.

    Both were measured against the same baseline, in the same launches where they were in one group. The interval of
    their ratio is made of both intervals as if they were independent, which is wider than the truth where the same
    disturbance of the machine hit both.
    """
    left, right = a.measurement, b.measurement
    if left is None or right is None:
        row = a if left is None else b
        return f"{'A' if left is None else 'B'} ({row.label}) has not been measured, so there is nothing to compare."
    measuring = [name for name, one in (("A", a), ("B", b)) if one.status == "pending"]
    parts = [_speed(left.latency, right.latency), _loss(left, right, goal, relative=relative)]
    if measuring:
        parts.append(f"This is not final: still measuring {' and '.join(measuring)}.")
    smaller = right.compressed_bytes / left.compressed_bytes if left.compressed_bytes else 1.0
    if abs(smaller - 1) >= 0.02:
        parts.append(
            f"Its file is {'smaller' if smaller < 1 else 'larger'}: {numbers.kilobytes(left.compressed_bytes)} → "
            f"{numbers.kilobytes(right.compressed_bytes)} kB compressed."
        )
    return " ".join(filter(None, parts))


def _speed(left: Latency | None, right: Latency | None) -> str:
    if left is None or right is None:
        return "The latency of one of them is not known."
    if left.claim == right.claim == "baseline":
        return "Both are the original model."
    ratio = ratio_of(right.speedup, left.speedup)
    if ratio.low > 1:
        return f"B is {numbers.times(ratio)} as fast as A."
    if ratio.high < 1:
        return f"B is slower than A: {numbers.times(ratio)}."
    return f"No difference in speed between A and B is confirmed: {numbers.times(ratio)}."


def _loss(left: Measurement, right: Measurement, goal: Goal, *, relative: bool) -> str:
    unit = "%" if relative else "pp"
    ours, theirs = (_quality(m, goal, relative=relative)[0] for m in (left, right))
    change = numbers.points(right.score.change)
    limit = numbers.limit(goal.max_drop, relative=relative)
    if ours == theirs:
        words = {
            "inside": f"Both are within {limit} (95 % confidence)",
            "maybe": f"Both may lose more than {limit}",
            "outside": f"Both lose more than {limit}",
        }[ours]
        return f"{words} (A {numbers.points(left.score.change)}, B {change} {unit})."
    words = {
        "inside": f"B is within {limit} (95 % confidence)",
        "maybe": f"B may lose more than {limit}",
        "outside": f"B loses more than {limit}",
    }[theirs]
    return f"{words} ({change} {unit})."


def ratio_of(upper: Interval, lower: Interval) -> Interval:
    """Ratio of two speed-ups, their logarithms taken as independent."""

    def halves(x: Interval) -> tuple[float, float]:
        value = max(x.value, 1e-12)
        return math.log(value / max(x.low, 1e-12)), math.log(max(x.high, 1e-12) / value)

    value = upper.value / max(lower.value, 1e-12)
    up_low, up_high = halves(upper)
    down_low, down_high = halves(lower)
    return Interval(value, value * math.exp(-math.hypot(up_low, down_high)),
                    value * math.exp(math.hypot(up_high, down_low)))  # fmt: skip


def samples_needed(score_drop: Interval, examples: int, limit: float) -> int | None:
    """Examples that would settle whether a loss is within a limit, to two digits; None when no number would.

    The half-width of an interval falls with the square root of the number of examples.
    """
    room = limit - score_drop.value
    half = score_drop.high - score_drop.value
    if room <= 0 or half <= room:
        return None
    wanted = examples * (half / room) ** 2
    if wanted > _MOST_SAMPLES:
        return None
    places = 10 ** max(0, math.floor(math.log10(wanted)) - 1)
    return int(math.ceil(wanted / places) * places)


def _quality(measurement: Measurement, goal: Goal, *, relative: bool) -> tuple[str, str]:
    """``"inside"``, ``"maybe"`` or ``"outside"`` the limit, and the numbers in a sentence."""
    score = measurement.score
    change = f"{numbers.points(score.change)} {'%' if relative else 'pp'}"
    if score.drop.high <= goal.max_drop:
        return "inside", f"Change {change}."
    if score.drop.low > goal.max_drop:
        return "outside", f"Change {change}."
    return "maybe", f"Change {change}.{_settled(score, goal)}"


def _missed(row: Result, measurement: Measurement, goal: Goal, *, relative: bool) -> Verdict:
    limit = numbers.limit(goal.max_drop, relative=relative)
    unit = "%" if relative else "pp"
    change = f"{numbers.points(measurement.score.change)} {unit}"
    said = f"Closest: {row.label}, {change}.{_settled(measurement.score, goal)}"
    return Verdict("target missed", f"No candidate is confirmed to stay within {limit}.", said)


def _settled(score: Score, goal: Goal) -> str:
    count, what = score.counted
    more = samples_needed(score.drop, count, goal.max_drop)
    return f" About {more:,} {what} would settle it." if more else ""


def _noise(latency: Latency) -> str:
    if "noisy" not in latency.flags:
        return ""
    return (
        f"Noisy: two copies of the same model differed by up to {100 * latency.noise_floor:.0f} %. "
        f"Measured {latency.launches} launches."
    )


def _because(measurement: Measurement, latency: Latency) -> str:
    """The weightiest reason, and what helps."""
    found = measurement.findings
    if not found:
        same = latency.speedup_same_runtime
        if latency.claim == "slower" and same is not None and same.low <= 1 <= same.high:
            return _RUNTIME
        return ""
    fix = next((f.remedy for f in found if f.remedy), "")
    return f"{found[0].text}{f' What helps: {fix}' if fix else ''}"


def _smaller(row: Result, measurement: Measurement) -> str:
    compressed = f"{numbers.kilobytes(measurement.compressed_bytes)} kB"
    if packed_bytes(row) is not None:
        return f"Smaller when compressed: {storage(row)}."
    if has_effect(row.candidate.recipe, "sparse"):
        return f"Smaller when compressed: {compressed}."
    return f"{numbers.kilobytes(measurement.size_bytes)} kB, {compressed} compressed."

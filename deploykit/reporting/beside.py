"""Two reports side by side: yesterday and today, this machine and that. Never one front: what differs is named first.

Candidates are paired by recipe and target. Speed-ups are compared rather than milliseconds, since each is paired with
the original model in its own sweep: whatever slowed the whole machine down divides out. Claims are made at the 95 %
level over all pairs together (Bonferroni), and only beyond 2 % and the noise floors of both sweeps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from deploykit.choosing.pareto import HARDWARE, hardware
from deploykit.core.result import Interval, Result
from deploykit.measuring.ratios import MARGIN
from deploykit.reporting import numbers
from deploykit.reporting.places import place
from deploykit.reporting.verdict import ratio_of

if TYPE_CHECKING:
    from deploykit.reporting.report import Report

Claim = Literal["better", "worse", "same", "not compared"]
#: Of each pair: quality, latency and size.
_QUANTITIES = 3


@dataclass(frozen=True)
class Changed:
    """What became of one quantity from A to B.

    Attributes:
        claim: What may be said, as seen by the user: faster, smaller and more accurate are ``"better"``.
        by: B minus A in percentage points (percent for errors), or B's speed-up or size divided by A's, with its 95 %
            interval; None where nothing may be compared.
        why: Why nothing may be compared, in a few words.
    """

    claim: Claim
    by: Interval | None = None
    why: str = ""


@dataclass(frozen=True)
class Pair:
    """One candidate in both reports, or in one of them.

    Attributes:
        key: The candidate's key, the digest of recipe and target.
        a: Its row in A; None when it is only in B.
        b: Its row in B; None when it is only in A.
        quality: Change of the metric against the original model.
        latency: Speed-up against the original model.
        size: Size of the file.
    """

    key: str
    a: Result | None
    b: Result | None
    quality: Changed
    latency: Changed
    size: Changed

    @property
    def row(self) -> Result:
        """The row of the side that has one."""
        found = self.a or self.b
        assert found is not None
        return found

    @property
    def where(self) -> str:
        """Where it runs, for people."""
        return place(self.row.candidate.target)


def pairs(a: Report, b: Report) -> list[Pair]:
    """All candidates of both reports, those of both first, in A's order and then B's."""
    other = {obstacle.kind: obstacle.short for obstacle in obstacles(a, b)}
    ours, theirs = ({row.key: row for row in report.rows} for report in (a, b))
    both = [key for key in ours if key in theirs]
    z = _widened(len(both))
    found = []
    for key in [*both, *(k for k in ours if k not in theirs), *(k for k in theirs if k not in ours)]:
        left, right = ours.get(key), theirs.get(key)
        is_baseline = key in (a.baseline, b.baseline)
        found.append(
            Pair(
                key, left, right,
                _quality(left, right, other, z, baseline=is_baseline),
                _latency(left, right, other, z, baseline=is_baseline),
                _size(left, right, other),
            )
        )  # fmt: skip
    return found


@dataclass(frozen=True)
class Obstacle:
    """What keeps two reports, or a part of them, from being compared.

    Attributes:
        kind: ``"model"``, ``"data"``, ``"metric"``, ``"baseline"`` or ``"machine"``.
        short: ``"other machine"``.
        text: A sentence with both sides.
    """

    kind: str
    short: str
    text: str


def obstacles(a: Report, b: Report) -> list[Obstacle]:
    """What must not be compared, the weightiest first; empty when everything may be."""
    found = []
    if a.model.digest != b.model.digest:
        found.append(
            Obstacle("model", "other model", f"The models differ: {a.model.name} ({a.model.digest[:12]}) in A, "
                     f"{b.model.name} ({b.model.digest[:12]}) in B. Their numbers are shown side by side, without "
                     "a claim about the change.")
        )  # fmt: skip
    if Path(a.facts["data"]).name != Path(b.facts["data"]).name:
        found.append(
            Obstacle("data", "other data", "The data differ, or they are read or split differently: changes of quality "
                     "are not compared.")
        )  # fmt: skip
    if a.metric != b.metric:
        found.append(
            Obstacle("metric", "other metric", f"The metric is {a.metric} in A and {b.metric} in B: quality is not "
                     "compared.")
        )  # fmt: skip
    if a.baseline != b.baseline:
        found.append(
            Obstacle("baseline", "other baseline", "The original model runs on different runtimes in A and B: "
                     "neither changes nor speed-ups are compared.")
        )  # fmt: skip
    if (own := machine(a)) != (their := machine(b)) and own and their:
        found.append(
            Obstacle("machine", "other machine", f"The machines differ: {in_words(own, their)} in A, "
                     f"{in_words(their, own)} in B. Latencies are shown side by side, without a claim about "
                     "the change.")
        )  # fmt: skip
    return found


def machine(report: Report) -> dict[str, str]:
    """What is known of the hardware that timed the original model; empty when nothing was timed."""
    timed = sorted(report.rows, key=lambda row: row.key != report.baseline)
    facts = next(filter(None, map(hardware, timed)), None)
    return dict(zip(HARDWARE, facts, strict=True)) if facts else {}


def in_words(own: dict[str, str], other: dict[str, str]) -> str:
    """A machine by its CPU and cores, and by whatever else differs from another one."""
    said = f"{own['cpu']}, {own['cores']} cores"
    more = [f"{name} {own[name]}" for name in HARDWARE[2:] if own[name] != other.get(name)]
    return f"{said} ({'; '.join(more)})" if more else said


def _widened(count: int) -> float:
    """How much wider intervals are when all of so many shall hold together."""
    normal = NormalDist()
    return normal.inv_cdf(1 - 0.025 / max(1, count)) / normal.inv_cdf(0.975)


def _missing(left: Result | None, right: Result | None) -> str:
    if left is None or right is None:
        return "only in B" if left is None else "only in A"
    for row, side in ((left, "A"), (right, "B")):
        if row.status != "measured" or row.measurement is None:
            return f"{row.status} in {side}"
    return ""


def _quality(left: Result | None, right: Result | None, other: dict[str, str], z: float, *, baseline: bool) -> Changed:
    why = _missing(left, right) or next((other[k] for k in ("model", "data", "metric", "baseline") if k in other), "")
    if why or left is None or right is None or left.measurement is None or right.measurement is None:
        return Changed("not compared", why=why)
    if baseline:
        return Changed("same", Interval(0.0, 0.0, 0.0))
    own, their = left.measurement.score, right.measurement.score
    value = their.change.value - own.change.value
    below = math.hypot(their.change.value - their.change.low, own.change.high - own.change.value)
    above = math.hypot(their.change.high - their.change.value, own.change.value - own.change.low)
    by = Interval(100 * value, 100 * (value - below), 100 * (value + above))
    up = _beyond(value - z * below, value + z * above, 0.0)
    if not own.higher_is_better:
        up = -up
    return Changed(_CLAIMS[up], by)


def _latency(left: Result | None, right: Result | None, other: dict[str, str], z: float, *, baseline: bool) -> Changed:
    why = _missing(left, right) or next((other[k] for k in ("model", "baseline", "machine") if k in other), "")
    own = left.measurement.latency if left and left.measurement else None
    their = right.measurement.latency if right and right.measurement else None
    if why or own is None or their is None:
        return Changed("not compared", why=why or "not timed")
    if baseline:
        return Changed("same", Interval(1.0, 1.0, 1.0))
    by = ratio_of(their.speedup, own.speedup)
    middle = math.log(max(by.value, 1e-12))
    low, high = (middle + z * (math.log(max(end, 1e-12)) - middle) for end in (by.low, by.high))
    margin = math.log1p(max(MARGIN, own.noise_floor, their.noise_floor))
    return Changed(_CLAIMS[_beyond(low, high, margin)], by)


def _size(left: Result | None, right: Result | None, other: dict[str, str]) -> Changed:
    why = _missing(left, right) or other.get("model", "")
    if why or left is None or right is None or left.measurement is None or right.measurement is None:
        return Changed("not compared", why=why)
    own, their = left.measurement.size_bytes, right.measurement.size_bytes
    ratio = their / max(own, 1)
    claim = _CLAIMS[_beyond(1 - ratio, 1 - ratio, _ROUNDED)]
    return Changed(claim, Interval(ratio, ratio, ratio))


#: A change of size that is written as 1.00×: names and versions in a file differ.
_ROUNDED = 0.005
_CLAIMS: dict[int, Claim] = {-1: "worse", 0: "same", 1: "better"}


def _beyond(low: float, high: float, margin: float) -> int:
    """1 where all of an interval is above a margin, -1 where all of it is below minus the margin."""
    return (low > margin) - (high < -margin)


def drift(a: Report, b: Report) -> float | None:
    """How many times as long the original model took in B as in A; None when it was not timed in both."""
    found = []
    for report in (a, b):
        row = report.rows.get(report.baseline)
        if row is None or row.measurement is None or row.measurement.latency is None:
            return None
        found.append(row.measurement.latency.p50_ms.value)
    return found[1] / found[0]


def versions(a: Report, b: Report) -> list[str]:
    """Packages whose versions differ: ``onnxruntime 1.20 → 1.22``."""
    own, their = (_packages(report) for report in (a, b))
    names = sorted({*own, *their})
    return [f"{n} {own.get(n, 'none')} → {their.get(n, 'none')}" for n in names if own.get(n) != their.get(n)]


def _packages(report: Report) -> dict[str, str]:
    row = next((r for r in report.rows if r.measurement and r.measurement.environment), None)
    if row is None or row.measurement is None:
        return {}
    facts = row.measurement.environment
    found = dict(facts.get("packages") or {})
    return {**found, **({"deploykit": str(facts["deploykit"])} if "deploykit" in facts else {})}


def records(found: Sequence[Pair]) -> list[dict[str, Any]]:
    """One flat record for each pair, with the same keys; unknown values are None; units are in the names."""
    return [
        {
            "key": pair.key,
            "candidate": pair.row.label,
            "where": pair.where,
            "status_a": pair.a.status if pair.a else None,
            "status_b": pair.b.status if pair.b else None,
            **_sides(pair),
            **_changed("quality", "change_difference", pair.quality),
            **_changed("latency", "speedup_ratio", pair.latency),
            **_changed("size", "size_ratio", pair.size),
        }
        for pair in found
    ]


def _sides(pair: Pair) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for side, row in (("a", pair.a), ("b", pair.b)):
        measured = row.measurement if row else None
        latency = measured.latency if measured else None
        score = measured.score if measured else None
        found[f"value_{side}"] = score.value if score else None
        found[f"size_bytes_{side}"] = measured.size_bytes if measured else None
        for name, interval in (
            ("change", score.change if score else None),
            ("p50_ms", latency.p50_ms if latency else None),
            ("speedup", latency.speedup if latency else None),
        ):
            found |= _ends(f"{name}_{side}", interval)
    return found


def _changed(kind: str, name: str, changed: Changed) -> dict[str, Any]:
    return {**_ends(name, changed.by), f"{kind}_claim": changed.claim, f"{kind}_why": changed.why}


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {
        name: interval.value if interval else None,
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }


def in_one_line(pair: Pair, unit: str) -> str:
    """What changed of a pair, in words; "no change found" when everything was compared and is the same."""
    said = []
    for changed, better, worse, shown in (
        (pair.latency, "faster", "slower", numbers.times(pair.latency.by)),
        (pair.quality, "more accurate", "less accurate", _points(pair.quality.by, unit)),
        (pair.size, "smaller", "larger", numbers.times(_exact(pair.size.by))),
    ):
        if changed.claim in ("better", "worse"):
            said.append(f"{better if changed.claim == 'better' else worse} {shown}")
    reasons: dict[str, list[str]] = {}
    for name, changed in (("quality", pair.quality), ("latency", pair.latency), ("size", pair.size)):
        if changed.why:
            reasons.setdefault(changed.why, []).append(name)
    for why, names in reasons.items():
        whole = len(names) == _QUANTITIES
        said.append(f"not compared: {why}" if whole else f"{' and '.join(names)} not compared: {why}")
    return "; ".join(said) or "no change found"


def _exact(interval: Interval | None) -> Interval | None:
    """An exact ratio, which is written without brackets."""
    return None if interval is None else replace(interval, high=math.inf)


def _points(interval: Interval | None, unit: str) -> str:
    if interval is None:
        return numbers.DASH
    share = Interval(interval.value / 100, interval.low / 100, interval.high / 100)
    return f"{numbers.points(share)} {unit}"

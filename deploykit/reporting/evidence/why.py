"""Why a candidate is faster or slower, as rows: time of each layer before and after, and the cause in a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from deploykit.core.layers.kinds import HEAVY
from deploykit.core.result import LayerTime, Result
from deploykit.core.serial import Plain
from deploykit.measuring.profile_match import Comparison
from deploykit.reporting import speed
from deploykit.reporting.evidence.naming import named
from deploykit.reporting.swept import Swept
from deploykit.runtimes._contract import RUNTIMES
from deploykit.storage.store import Store

if TYPE_CHECKING:
    import pandas as pd

_FALLBACK = "computes in float32, while others run int8 kernels"
#: Share of the gain from which one layer is named.
_NAMED = 0.2


@dataclass(frozen=True)
class LayerCost(Plain):
    """A layer, or a group the runtime has fused.

    Attributes:
        layer: Name for people; text from outside.
        names: Names it is known by in the candidate's file, for the graph.
        operator: What is executed.
        kernel: What the runtime says about the kernel.
        before_us: Microseconds in float32 on the same runtime; None for nodes that were added, and in an estimate.
        after_us: Microseconds in the candidate; None for nodes it lacks, and in an estimate.
        state: ``"kept"``; ``"added"`` (quantize, reorder, …); ``"gone"``, fused into another or removed.
        quantized: Whether the candidate computes it in integers.
        fallback: Why it runs in float though the rest is quantized; "" when it does not.
        share: In an estimate: its share of the float32 model's time on another runtime; else None.
    """

    layer: str
    names: tuple[str, ...]
    operator: str
    kernel: str
    before_us: float | None
    after_us: float | None
    state: Literal["kept", "added", "gone"]
    quantized: bool = False
    fallback: str = ""
    share: float | None = None

    @property
    def difference_us(self) -> float:
        """After minus before: negative is faster."""
        return (self.after_us or 0.0) - (self.before_us or 0.0)


@dataclass(frozen=True)
class Why(Plain):
    """Where the time goes, the largest difference first. See ``Choice.why``.

    Attributes:
        cause: One line.
        rows: The layers.
        before_us: One inference of float32 on the same runtime, without the profiler; 0 when not known.
        after_us: One inference of the candidate.
        estimate: Rows are shares of the float32 model's time on another runtime, since this one has no profiler.
        note: What is missing, and why; "" when nothing is.
        remedy: What would make it faster; "" when nothing is known.
    """

    cause: str
    rows: tuple[LayerCost, ...]
    before_us: float = 0.0
    after_us: float = 0.0
    estimate: bool = False
    note: str = ""
    remedy: str = ""

    def __iter__(self) -> Iterator[LayerCost]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def records(self) -> list[dict[str, Any]]:
        """One flat record for each layer; unknown values are None, ``share`` is known in an estimate only."""
        return [
            {
                "layer": r.layer, "operator": r.operator, "kernel": r.kernel, "state": r.state,
                "before_us": r.before_us, "after_us": r.after_us,
                "difference_us": r.difference_us if r.share is None else None,
                "quantized": r.quantized, "fallback": r.fallback, "share": r.share,
            }
            for r in self.rows
        ]  # fmt: skip

    def to_frame(self) -> pd.DataFrame:
        """The rows as a data frame; the index is the layer."""
        import pandas as pd

        columns = ("operator", "kernel", "state", "before_us", "after_us", "difference_us", "quantized", "fallback",
                   "share")  # fmt: skip
        return pd.DataFrame.from_records(self.records(), columns=["layer", *columns]).set_index("layer")

    def __str__(self) -> str:
        return " ".join(filter(None, (self.cause, self.note, self.remedy)))


def explain(report: Swept, row: Result) -> Why:
    """Why a candidate is as fast as it is; see ``Choice.why``."""
    measurement = row.measurement
    findings = measurement.findings if measurement else ()
    held_back = next((f for f in findings if f.remedy), None)
    remedy = f"What helps: {held_back.remedy}" if held_back else ""
    label = RUNTIMES.get(row.candidate.target.runtime).label
    if row.key == report.baseline:
        return Why("This is the original model.", ())
    comparison = _profile(report, measurement.profile) if measurement and measurement.profile else None
    if comparison is not None:
        rows = tuple(sorted(map(_cost, comparison.layers), key=lambda r: (-abs(r.difference_us), r.layer)))
        rows = tuple(replace(r, fallback=_FALLBACK) if _fell_back(r, comparison) else r for r in rows)
        claim = speed.claim(measurement.latency) if measurement and measurement.latency else "unclear"
        cause = _cause(claim, rows, [f.text for f in findings])
        if held_back is not None and held_back.text != cause:
            remedy = f"What holds it back: {held_back.text} {remedy}"
        return Why(cause, rows, 1e3 * comparison.float_ms, 1e3 * comparison.ms, remedy=remedy)
    profiles = RUNTIMES.get(row.candidate.target.runtime).profiles
    reason = (
        "There is no profile of this candidate: nothing was changed, or float32 was not measured on this runtime."
        if profiles
        else f"{label} has no per-layer profiler."
    )
    # What holds it back is not the reason for a candidate that is faster.
    latency = measurement.latency if measurement is not None else None
    faster = latency is not None and speed.claim(latency) == "faster"
    cause = "" if faster else findings[0].text if findings else ""
    if faster and held_back is not None:
        remedy = f"What holds it back: {held_back.text} {remedy}"
    found = _elsewhere(report)
    if found is None:
        return Why(cause, (), note=reason, remedy=remedy)
    other, shares = found
    shown = RUNTIMES.get(other.candidate.target.runtime).label
    note = f"{reason} Estimate: shares of the float32 model's time on {shown}."
    return Why(cause, shares, estimate=True, note=note, remedy=remedy)


def _profile(report: Swept, key: str) -> Comparison | None:
    record = Store(report.path).record("profile", key)
    return None if record is None else named(Comparison.from_json(record), report.model.layers)


def _cost(x: LayerTime) -> LayerCost:
    state: Literal["kept", "added", "gone"] = "gone" if x.ms is None else "added" if x.float_ms is None else "kept"
    names = tuple(dict.fromkeys(n for n in (x.node, x.name) if n))
    return LayerCost(
        x.name or x.operator, names, x.operator, x.kernel, None if x.float_ms is None else 1e3 * x.float_ms,
        None if x.ms is None else 1e3 * x.ms, state, x.quantized,
    )  # fmt: skip


def _fell_back(row: LayerCost, comparison: Comparison) -> bool:
    """Whether a heavy operator computes in float in a candidate that computes others in integers."""
    heavy = {x.node for x in comparison.layers if x.kind in HEAVY and x.ms is not None}
    some = any(x.quantized for x in comparison.layers if x.kind in HEAVY)
    return some and not row.quantized and bool(heavy & set(row.names)) and row.after_us is not None


def _cause(claim: str, rows: Sequence[LayerCost], findings: Sequence[str]) -> str:
    """The line above the bars: what runs in integers, and which layer makes most of the difference."""
    saved = sum(max(0.0, -r.difference_us) for r in rows)
    added = sum(max(0.0, r.difference_us) for r in rows)
    if saved > added and claim != "slower":
        parts = [_integers(rows)]
        first = min(rows, key=lambda r: r.difference_us)
        share = -first.difference_us / saved if saved else 0.0
        if share >= _NAMED and len(rows) > 1:
            parts.append(f"{100 * share:.0f} % of the gain is {first.layer}.")
        return " ".join(filter(None, parts)) or (findings[0] if findings else "Many layers gain a little.")
    if findings:
        return findings[0]
    worst = max(rows, key=lambda r: r.difference_us, default=None)
    if worst is None or worst.difference_us <= 0:
        return "No layer takes more or less time than in float32."
    return f"{worst.layer} takes {worst.difference_us:.0f} µs longer."


def _integers(rows: Sequence[LayerCost]) -> str:
    run = [r for r in rows if r.state == "kept"]
    whole = [r for r in run if r.quantized]
    if not whole:
        return ""
    if len(whole) == len(run):
        return f"All {len(run)} layers run int8 kernels." if len(run) > 1 else "The layer runs an int8 kernel."
    return f"{len(whole)} of {len(run)} layers run int8 kernels."


def _elsewhere(report: Swept) -> tuple[Result, tuple[LayerCost, ...]] | None:
    """Shares of the float32 model's time by layer, from a profile of another candidate; None when there is none."""
    with Store(report.path) as store:
        for row in report.rows:
            key = row.measurement.profile if row.measurement else ""
            record = store.record("profile", key) if key else None
            if record is not None:
                comparison = named(Comparison.from_json(record), report.model.layers)
                break
        else:
            return None
    layers = [x for x in comparison.layers if x.float_ms]
    whole = sum(x.float_ms or 0.0 for x in layers) or 1.0
    shares = (
        LayerCost(
            x.name or x.operator, (x.name,), x.operator, "", None, None, "kept", share=(x.float_ms or 0.0) / whole
        )
        for x in layers
    )
    return row, tuple(sorted(shares, key=lambda r: -(r.share or 0.0)))

"""Why a candidate is what it is, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping

from deploykit.choosing.goals import Decision
from deploykit.core.candidate import Target
from deploykit.core.registry import registry
from deploykit.core.result import GROUPS, Finding, Footprint, Latency, LayerTime, Measurement, Result, Score
from deploykit.reporting import numbers, speed
from deploykit.reporting.effects import has_effect, packed_bytes
from deploykit.reporting.places import place
from deploykit.reporting.verdict import Verdict


def sentences(
    row: Result,
    decision: Decision | None,
    verdict: Verdict,
    *,
    relative: bool,
    known: Mapping[str, Result] | None = None,
    home: Target | None = None,
    price_per_hour: float | None = None,
) -> list[str]:
    """The explanation of a row, most important first.

    Args:
        row: The row.
        decision: Why it was chosen, None when it was picked by its key.
        verdict: What may be said of it for the goal.
        relative: Whether changes of the metric are relative.
        known: Rows on the same target by the key of their recipe, to say what came of a fix.
        home: Where the original model was timed.
        price_per_hour: Of the machine; None: not known.
    """
    lines = [f"{row.label} on {place(row.candidate.target)} ({row.key})", str(verdict)]
    if decision is not None:
        said = "Chosen" if decision.met else "Goal missed"
        lines.append(f"{said}: {decision.reason}")
    measurement = row.measurement
    if measurement is None:
        return lines
    lines += _quality(measurement, relative=relative)
    lines += [*_others(measurement), *_attacked(measurement)]
    if measurement.latency is not None:
        lines += _speed(row, measurement.latency, str(verdict), home)
    if measurement.footprint is not None:
        lines += _footprint(measurement.footprint, price_per_hour)
    if measurement.lengths:
        parts = [f"{t.length}: {numbers.amount(t.p50_ms)} ms ({numbers.times(t.speedup)})" for t in measurement.lengths]
        lines.append(f"By length, {'; '.join(parts)}; speed-ups are against the original model at the same length.")
    for finding in measurement.findings:
        lines += _finding(finding, measurement.latency, known or {})
    lines.append(
        f"Size {numbers.kilobytes(measurement.size_bytes)} kB, {numbers.kilobytes(measurement.compressed_bytes)} kB "
        "after gzip."
    )
    if (packed := packed_bytes(row)) is not None:
        lines.append(
            f"With as few bits for each weight as it needs, it would take {numbers.kilobytes(packed)} kB: computed, "
            "since the file stores float weights and no runtime here reads others."
        )
    sparse = has_effect(row.candidate.recipe, "sparse") and not measurement.findings
    if sparse and measurement.latency is not None and speed.claim(measurement.latency) != "faster":
        note = getattr(registry("deploykit.runtimes", "runtime").get(row.candidate.target.runtime), "note", "")
        lines.append(f"Pruned weights are zeros, which this runtime still multiplies. {note}".strip())
    for lost in row.lost_workers:
        lines.append(f"A worker was lost during the sweep and its work was repeated: {lost.rstrip('.')}.")
    if row.same_as:
        lines.append(f"Its file is byte for byte the same as that of {row.same_as}, so it was measured once.")
    return lines


def _quality(measurement: Measurement, *, relative: bool) -> list[str]:
    score = measurement.score
    name = score.metric.replace("_", " ")
    value = numbers.score(score.value, relative=relative) + ("" if relative else " %")
    unit = "%" if relative else "pp"
    lines = [
        f"{name[:1].upper()}{name[1:]} {value} on {score.examples:,} evaluation examples, change "
        f"{numbers.points(score.change)} {unit} (paired, 95 % interval{_resampled(score)})."
    ]
    if count := measurement.changed:
        get = "example gets" if count == 1 else "examples get"
        lines.append(f"{count:,} {get} a different answer than from the original model.")
    if (confirmed := measurement.confirmation) is not None:
        agrees = confirmed.change.low <= score.change.value <= confirmed.change.high
        lines.append(
            f"On {confirmed.examples:,} held-out examples{_of_groups(confirmed)} the change is "
            f"{numbers.points(confirmed.change)} {unit}"
            + ("." if agrees else ": the evaluation split was too optimistic.")
        )
    return lines


def _resampled(score: Score) -> str:
    """What the interval counts where it is not examples."""
    return f" resampled by video: {score.groups:,} {GROUPS}" if score.groups else ""


def _of_groups(score: Score) -> str:
    return f" of {score.groups:,} {GROUPS}" if score.groups else ""


def _others(measurement: Measurement) -> list[str]:
    """Outputs that are not scored, and how it was run."""
    lines = []
    if measurement.same_function and measurement.latency is not None and measurement.latency.claim != "baseline":
        lines.append("All outputs equal the original's up to rounding: the conversion lost nothing.")
    for name, judged in measurement.others.items():
        lines.append(f"Output {name!r}, not scored: {judged.words}.")
    if measurement.placed:
        lines.append(f"{measurement.placed[:1].upper()}{measurement.placed[1:]}.")
    if why := measurement.ruined():
        lines.append(f"It is not chosen while another candidate fits: {why}.")
    if measurement.batch_dependent:
        lines.append(
            f"Its answers depend on the batch: quality was measured with {measurement.batch} example"
            f"{'s' if measurement.batch != 1 else ''} at once, as it runs."
        )
    return lines


def _attacked(measurement: Measurement) -> list[str]:
    """Accuracy on inputs that were changed on purpose."""
    robust = measurement.scored("robust_accuracy")
    if robust is None:
        return []
    square, transferred = (measurement.scored(f"accuracy_under_{name}") for name in ("square", "pgd"))
    parts = [
        f"{numbers.score(score.value, relative=False)} % {words}"
        for score, words in ((transferred, "on those made against the original (PGD)"), (square, "after Square's"))
        if score is not None
    ]
    return [
        f"Robust accuracy {numbers.score(robust.value, relative=False)} % on {robust.examples:,} examples that were "
        f"attacked, change {numbers.points(robust.change)} pp (paired, 95 % interval{_resampled(robust)}): "
        f"{', '.join(parts)}."
    ]


def _speed(row: Result, latency: Latency, said: str, home: Target | None) -> list[str]:
    p50 = latency.p50_ms
    lines = [
        f"p50 {numbers.milliseconds(p50)} ms, p90 {numbers.beside(latency.p90_ms, p50)} ms, "
        f"{numbers.beside(latency.cpu_ms, p50)} ms of CPU time; {latency.runs:,} runs in {latency.launches} launches, "
        f"noise floor ±{100 * latency.noise_floor:.1f} %."
    ]
    same = latency.speedup_same_runtime
    if same is not None and home is not None and speed.moves(row, home):
        lines.append(
            f"In total {numbers.times(latency.speedup)} against the original model on {place(home)}; "
            f"{numbers.times(same)} against the original model on {place(row.candidate.target)}."
        )
    if "noisy" in latency.flags and "Noisy" not in said:
        lines.append("Noisy: two copies of the same model could not be shown to be equally fast within 2 %.")
    if "inconclusive" in latency.flags and "Inconclusive" not in said:
        known = f"It is {latency.claim} in total (95 % confidence), but by how much is not settled"
        begin = known if latency.claim in {"faster", "slower"} else "Inconclusive"
        lines.append(f"{begin}: the interval of the total speed-up is wider than ±10 %.")
    if "not warm" in latency.flags:
        lines.append("Not warm: latency had not settled after two seconds of warm-up.")
    if "throttled" in latency.flags:
        lines.append(
            "Throttled: the machine slowed itself down while it measured, because of heat or a weak power supply. The "
            "comparison holds, since all candidates were measured by turns; its milliseconds are those of a machine in "
            "that state."
        )
    return lines


def _footprint(found: Footprint, price: float | None) -> list[str]:
    """Loading, throughput, energy and cost; what is not measurable is left to the table that gives the reason."""
    parts = [
        f"{words} {numbers.amount(value)}{unit}"
        for words, value, unit in (
            ("loads in", found.load_ms, " ms"),
            ("from disk in", found.cold_load_ms, " ms"),
            ("first inference", found.first_ms, " ms"),
            ("throughput", found.throughput, " examples/s"),
            ("writes", found.tokens_per_second, " tokens/s"),
            ("energy", found.energy_mj, f" mJ for each ({found.energy_from})"),
        )
        if value is not None
    ]
    lines = [f"{', '.join(parts)[:1].upper()}{', '.join(parts)[1:]} (95 % intervals over launches)."] if parts else []
    if price and (cost := found.cost_per_million(price)) is not None:
        lines.append(
            f"A million predictions cost {numbers.amount(cost)} at {price:g} per hour, one batch after another."
        )
    return lines


def _finding(finding: Finding, own: Latency | None, known: Mapping[str, Result]) -> list[str]:
    """What was found, the layers it is about, and what to do about it."""
    lines = [f"{finding.cause.capitalize()}: {finding.text}"]
    if len(finding.layers) > 1 or (finding.layers and finding.layers[0].float_ms is not None):
        lines.append("  " + "; ".join(map(_layer, finding.layers)))
    if finding.remedy:
        lines.append(f"  What helps: {finding.remedy}{_fix(finding, own, known)}")
    return lines


def _layer(layer: LayerTime) -> str:
    after = f"{numbers.significant(layer.ms or 0.0, 3)} ms"
    before = "" if layer.float_ms is None else f"{numbers.significant(layer.float_ms, 3)} → "
    return f"{layer.name or layer.operator} {before}{after} ({layer.kernel or layer.operator})"


def _fix(finding: Finding, own: Latency | None, known: Mapping[str, Result]) -> str:
    """The recipe to try, or what came of it."""
    if finding.fix is None:
        return ""
    row = known.get(finding.fix.key)
    if row is None:
        return f" To try: {finding.fix}."
    latency = row.measurement.latency if row.measurement else None
    if latency is None or own is None:
        return f" Tried already: {row.label} ({row.key}), {row.status}."
    helped = (
        "it helped" if latency.speedup.low > own.speedup.high
        else "it did not help" if latency.speedup.high < own.speedup.low
        else "no difference is confirmed"
    )  # fmt: skip
    return f" Tried already: {row.label} ({row.key}), {numbers.times(speed.own(latency))}; {helped}."

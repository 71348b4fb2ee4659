"""The model card of an artifact: the facts that are known of it, and which are not.

Source: Mitchell et al., "Model Cards for Model Reporting" (2019), for what a card tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deploykit.artifacts.artifact import Manifest
from deploykit.core.class_change import ClassChange
from deploykit.core.result import Interval, Latency, Measurement, Score
from deploykit.exporters._contract import Draft
from deploykit.exporters._texts import meaning, tensors
from deploykit.loading._contract import FORMATS
from deploykit.measuring.exportable import Exportable

CARD = "MODEL_CARD.md"
#: More classes than these are not all listed: those that change most are.
_MOST_CLASSES = 20


def card(candidate: Exportable, draft: Draft, manifest: Manifest) -> str:
    """The card as Markdown, without a front matter."""
    lines = [
        f"# Model card: {manifest.name}",
        "",
        *_what(candidate, manifest),
        "",
        "## Inputs and outputs",
        "",
        *tensors(candidate, draft),
        "",
        *meaning(candidate, draft),
        "",
        "## Data",
        "",
        *_data(candidate),
        "",
        "## Quality",
        "",
        *_quality(candidate),
        "## Speed and size",
        "",
        *_speed(candidate),
        "",
        "## Limits",
        "",
        *(f"- {text}" for text in _limits(candidate, draft)),
        "",
    ]
    return "\n".join(lines)


def _what(candidate: Exportable, manifest: Manifest) -> list[str]:
    model, recipe = candidate.model, manifest.recipe
    origin = f"`{model.name}` ({FORMATS.get(model.format).label}, {model.parameter_count:,} parameters)"
    return [
        f"- Model: {f'made from {origin} by `{recipe}`' if recipe.steps else f'{origin}, as it was given'}",
        f"- Format: {FORMATS.get(manifest.format).label}, run by {manifest.target}",
        f"- Original: SHA-256 `{model.digest}`",
        f"- License: {manifest.license or 'not stated'}",
        f"- Exported by deploykit {manifest.version}, layout `{manifest.layout}`",
    ]


def _data(candidate: Exportable) -> list[str]:
    data, reading = candidate.data, candidate.data.reading
    sizes = ", ".join(f"{len(examples):,} {name}" for name, examples in data.splits.items())
    lines = [f"- Examples: {sizes}"]
    if reading.source:
        lines.insert(0, f"- Source: `{Path(reading.source).name}` ({reading.kind})")
    lines.append(
        f"- Labels: {reading.labels or ('yes' if data.labelled else 'none: quality is agreement with the original')}"
    )
    if data.classes:
        lines.append(f"- Classes ({len(data.classes)}): {_listed(data.classes)}")
    lines.append(
        "- Candidates were compared on the evaluation split; the test split chose nothing"
        + (", and was given apart from the training data" if reading.given_apart else "")
    )
    return lines + [f"- Left out: {text}" for text in reading.left_out] + [f"- Note: {text}" for text in reading.notes]


def _quality(candidate: Exportable) -> Iterator[str]:
    measured = candidate.result.measurement if candidate.result else None
    if measured is None:
        yield "It was built without being measured."
        yield ""
        return
    yield "| metric | split | examples | original | this model | change (95 % interval) |"
    yield "|---|---|---|---|---|---|"
    for score in measured.scores:
        yield _score(score, "evaluation")
    if measured.confirmation:
        yield _score(measured.confirmation, "test")
    yield ""
    count = measured.score.examples
    yield f"{measured.changed:,} of {count:,} answers on the evaluation split differ from the original's."
    yield ""
    for name, judged in measured.others.items():
        yield f"- Output `{name}`, which is not scored: {judged.words}"
    if measured.others:
        yield ""
    yield from _classes(candidate.by_class())


def _score(score: Score, split: str) -> str:
    change = score.change
    before = score.value - change.value if score.higher_is_better else score.value / (1 + change.value)
    unit = "" if score.higher_is_better else " (relative)"
    cells = (score.metric, split, f"{score.examples:,}", f"{before:.4g}", f"{score.value:.4g}", _signed(change) + unit)
    return f"| {' | '.join(cells)} |"


def _classes(rows: Sequence[ClassChange]) -> Iterator[str]:
    if not rows:
        return
    sure = [row for row in rows if row.sure]
    right = rows[0].figure == "right"
    what = "Share of its examples that is answered rightly." if right else f"{rows[0].figure} of each class."
    yield "### By class"
    yield ""
    yield (
        f"{what} A change is confirmed if it stands at the 95 % level after "
        "Holm's correction over all classes; "
        + (f"{len(sure)} of {len(rows)} are." if sure else f"none of {len(rows)} is.")
    )
    yield ""
    yield "| class | examples | original | this model | change (95 % interval) | confirmed |"
    yield "|---|---|---|---|---|---|"
    shown = rows
    if len(rows) > _MOST_CLASSES:
        most = sorted(rows, key=lambda row: (not row.sure, -abs(row.change.value)))[:_MOST_CLASSES]
        shown = [row for row in rows if row in most]
    for row in shown:
        cells = (
            _cell(row.name), f"{row.examples:,}", f"{row.before:.3f}", f"{row.after:.3f}", _signed(row.change),
            "yes" if row.sure else "no",
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    if len(shown) < len(rows):
        yield ""
        yield f"{len(rows) - len(shown)} more classes, which change less, are not listed."
    yield ""


def _speed(candidate: Exportable) -> Iterator[str]:
    measured = candidate.result.measurement if candidate.result else None
    if measured is None:
        yield "Not measured."
        return
    yield f"- Size: {measured.size_bytes:,} bytes, {measured.compressed_bytes:,} after gzip"
    if measured.peak_memory_bytes is not None:
        yield f"- Memory: {measured.peak_memory_bytes / 1e6:.1f} MB of its own to load and run"
    if measured.latency is None:
        yield "- Latency: not measured"
        return
    yield from _latency(measured.latency, candidate.target.batch_size)
    yield f"- Measured on: {_machine(measured)}. Elsewhere, only the order of candidates can be expected to hold"


def _latency(latency: Latency, batch: int) -> Iterator[str]:
    of = "one example" if batch == 1 else f"a batch of {batch}"
    p50 = latency.p50_ms
    last = f", 99th {latency.p99_ms:.3g} ms" if latency.p99_ms is not None else ""
    yield (
        f"- Latency of {of}: median {p50.value:.3g} ms [{p50.low:.3g}, {p50.high:.3g}], 90th percentile "
        f"{latency.p90_ms:.3g} ms{last}; {latency.launches} launches, {latency.runs:,} runs"
    )
    if latency.claim != "baseline":
        said = {"faster": "confirmed to be faster", "slower": "confirmed to be slower", "same": "the same"}
        up = latency.speedup
        yield (
            f"- Against the original: {up.value:.3g}× [{up.low:.3g}, {up.high:.3g}] as fast, "
            f"{said.get(latency.claim, 'not confirmed')}"
        )
    if latency.flags:
        yield f"- Of these times: {', '.join(latency.flags)}"


def _machine(measured: Measurement) -> str:
    facts = measured.environment
    known = [str(facts[name]) for name in ("cpu", "machine", "system") if facts.get(name)]
    cores = facts.get("cores")
    return ", ".join([*known, *([f"{cores} cores"] if cores else [])]) or "an unknown machine"


def _limits(candidate: Exportable, draft: Draft) -> Iterator[str]:
    """What these figures do not say."""
    result = candidate.result
    if candidate.check.warnings:
        yield from candidate.check.warnings
    if not candidate.data.labelled:
        yield "There were no labels: it is known how far it answers as the original does, not how often it is right."
    elif result is not None and result.measurement is not None:
        score = result.measurement.score
        if score.drop.high > 0:
            worst = 100 * score.drop.high
            unit = "percentage points" if score.higher_is_better else "% of the error"
            cannot = f"a loss of up to {worst:.2g} {unit} cannot be ruled out"
            yield f"With {score.examples:,} examples, {cannot} (95 % level)."
    if result is not None and result.measurement is not None and result.measurement.confirmation is None:
        yield "The choice was not confirmed on the test split."
    if draft.batch_dependent:
        yield "An example's answer depends on the others in its batch."
    if draft.stateful:
        yield f"It keeps state between calls: {', '.join(draft.stateful)}."
    yield "Nothing is known of inputs unlike the data above, nor of groups of people that the data do not name."


def _signed(change: Interval) -> str:
    return f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"


def _listed(names: Sequence[Any]) -> str:
    shown = ", ".join(_cell(str(name)) for name in names[:_MOST_CLASSES])
    return f"{shown}, …" if len(names) > _MOST_CLASSES else shown


def _cell(text: str) -> str:
    """Text from outside, in which nothing is markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|$" else c for c in " ".join(text.split()))

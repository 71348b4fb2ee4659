"""README files of exported folders."""

from __future__ import annotations

from deploykit.exporters._contract import Draft
from deploykit.measuring.exportable import Exportable


def readme(candidate: Exportable, draft: Draft, run: str) -> str:
    """The README of an artifact; ``run`` is the layout's own part."""
    return "\n".join(
        [
            f"# {draft.name}",
            "",
            f"`{candidate.recipe}` on {candidate.target}, exported by deploykit.",
            "",
            *_measured(candidate),
            *tensors(candidate, draft),
            "",
            "## What it means",
            "",
            *meaning(candidate, draft),
            "",
            run.rstrip(),
            "",
            "## What is in it",
            "",
            "`manifest.json` holds the signature, what inputs and outputs mean, preprocessing, class names, recipe,",
            "measurement and the SHA-256 of every file. `golden/` holds raw inputs and the outputs the measured model",
            "gave for them: `deploykit verify .` and `deploykit serve .` refuse a folder that has changed or no longer",
            "reproduces them. `MODEL_CARD.md` says what is known of the model, `bom.cdx.json` (CycloneDX)",
            "which packages run it.",
            "",
        ]
    )


def tensors(candidate: Exportable, draft: Draft) -> list[str]:
    """Inputs and outputs as a table."""
    return [
        "| tensor | dtype | shape (batch first) | preprocessing |",
        "|---|---|---|---|",
        *(f"| in `{i.name}` | {i.dtype} | {_shape(i.shape)} | {_steps(candidate, i.name)} |" for i in draft.inputs),
        *(f"| out `{o.name}` | {o.dtype} | {_shape(o.shape)} | |" for o in draft.outputs),
    ]


def _measured(candidate: Exportable) -> list[str]:
    result = candidate.result
    if result is None or result.measurement is None:
        return []
    measured = result.measurement
    score = measured.score
    lines = [f"- {score.metric}: {score.value:.4g} on {score.examples:,} examples (change {score.change.value:+.4g})"]
    if measured.latency is not None:
        size = candidate.target.batch_size
        at_once = "one example at a time" if size == 1 else f"{size} examples at a time"
        lines.append(f"- latency: {measured.latency.p50_ms.value:.3g} ms (median, {at_once})")
    lines.append(f"- size: {measured.size_bytes / 1000:,.0f} kB")
    lines += [f"- output `{name}`, which is not scored: {judged.words}" for name, judged in measured.others.items()]
    return [*lines, ""]


def meaning(candidate: Exportable, draft: Draft) -> list[str]:
    """What everything is taken to mean, and whether the original model does its job so."""
    lines = [f"- {heading}: {text}" for heading, text in candidate.data.checked.lines]
    if draft.batch_dependent:
        size = candidate.target.batch_size
        ways = "one by one" if size == 1 else f"{size} at a time"
        lines.append(
            f"- served: answers depend on the batch, so examples are run {ways} and requests are not batched together"
        )
    if candidate.check.examples:
        lines += [f"- check: {text}" for text in candidate.check.lines]
    return lines


def _shape(shape: tuple[int | None, ...] | None) -> str:
    return "any" if shape is None else "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"


def _steps(candidate: Exportable, name: str) -> str:
    if candidate.data.checked.input(name).is_carried:
        return "may be omitted: zeros"
    step = candidate.data.preprocess.get(name)
    if step is None or step.is_identity:
        return "none"
    return ", ".join(f"x {w}" if w[0] in "×+" else w for w in step.words(6))

"""Why quantized operators are fast or slow: one small function for each cause, as in `causes`."""

from __future__ import annotations

from deploykit.core.layers.kinds import HEAVY
from deploykit.core.result import Finding
from deploykit.reporting import numbers
from deploykit.reporting.evidence.cause_facts import (
    MOST_LAYERS,
    WORTH,
    CauseFacts,
    calibrated,
    changed,
    compared,
    excluding,
    faster,
    heavy,
    leads_on,
    percent,
    quantizes,
    saved,
    several,
    slowest,
)  # fmt: skip

#: A layer is called slower when it takes this much longer, and the difference is this share of the candidate's time.
SLOWER, NOTABLE = 1.2, 0.03


def not_quantized(facts: CauseFacts) -> Finding | None:
    """Heavy operators of a quantized model that run in float."""
    left = [x for x in facts.timed if x.kind in HEAVY and not x.quantized and x.precision.startswith(("float", "bf"))]
    share = facts.share(left)
    if not facts.integer or share < WORTH:
        return None
    noted = [n.get("float", {}) for n in facts.row.notes.values() if isinstance(n, dict) and "quantized" in n]
    kinds = {facts.work_of(operator) for note in noted for operator in note} if noted else HEAVY
    stays, back = [x for x in left if x.kind in kinds], [x for x in left if x.kind not in kinds]
    label, precision = facts.runtime.label, left[0].precision
    parts = []
    if stays:
        verb = "was" if len(stays) == 1 else "were"
        parts.append(f"{heavy(stays)} {verb} not quantized: {percent(facts.share(stays))} of its time is {precision}.")
        fix = changed(facts, exclude="") or changed(facts, operators="all") or calibrated(facts)
        remedy = "Quantize them as well" if fix else "They stay float in this technique; choose another one"
    if back:
        kernels = ", ".join(dict.fromkeys(x.kernel for x in back))
        parts.append(
            f"The file stores {heavy(back)} in integers, but {label} converts them back and computes in {precision}"
            f"{facts.where} (kernel {kernels}): {percent(facts.share(back))} of its time."
        )
    if back and not stays:
        fix = changed(facts, activations="uint8") or changed(facts, form="qdq") or calibrated(facts)
        remedy = f"Store them in the form {label} has integer kernels for"
    return Finding("operators not quantized", " ".join(parts), share, slowest(left), f"{remedy}.", fix)


def reference_kernels(facts: CauseFacts) -> Finding | None:
    """Kernels without vector instructions."""
    slow = [x for x in facts.timed if x.trait == "reference" and x.kind != "convert"]
    share = facts.share(slow)
    if share < WORTH or faster([x for x in slow if x.quantized]):
        return None
    kernels = ", ".join(dict.fromkeys(x.kernel for x in slow))
    text = (
        f"{facts.runtime.label} has only a generic reference kernel, without vector instructions, for {several(slow)} "
        f"(kernel {kernels}): {percent(share)} of its time."
    )
    quantized = [x for x in slow if x.quantized]
    # Behind a layer that was left in float an integer operator may lose its quick kernel: then that is what to fix.
    whole = changed(facts, exclude="") if quantized else None
    fix = whole or excluding(facts, quantized)
    remedy = (
        "Quantize the layers before them as well" if whole
        else "Leave them in float" if fix
        else "Build the model with other operators there, or choose another runtime"
    )  # fmt: skip
    return Finding("reference kernels", text, share, slowest(slow), f"{remedy}.", fix)


def conversions(facts: CauseFacts) -> Finding | None:
    """Nodes that quantize, dequantize and cast, and other nodes that float32 does not need."""
    if not quantizes(facts.recipe):
        return None
    extra = [x for x in facts.timed if x.kind == "convert" or (x.float_ms is None and x.kind not in HEAVY)]
    share = facts.share(extra)
    if share < WORTH:
        return None
    total = sum(x.ms or 0.0 for x in extra)
    pure = sum(x.kind == "convert" for x in extra)
    text = (
        f"Quantizing, dequantizing and casting take {numbers.significant(total, 3)} ms, {percent(share)} of its time: "
        f"{pure} conversions and {len(extra) - pure} other nodes that float32 does not need. Each operator that stays "
        "float between quantized ones, or is quantized on the fly, needs them on either side."
    )
    fix = (
        changed(facts, activations="uint8") or changed(facts, operators="all") or calibrated(facts)
        or changed(facts, operators="conv_matmul")
    )  # fmt: skip
    return Finding(
        "quantize and dequantize overhead", text, share, slowest(extra),
        "Quantize whole stretches of the graph with scales that are known in advance.", fix,
    )  # fmt: skip


def slower_layers(facts: CauseFacts) -> Finding | None:
    """Quantized layers that take longer than in float32 though nothing is known against their kernels."""
    whole = facts.layers.ms if facts.layers else 0.0
    slow = [
        x
        for x in facts.timed
        if x.quantized and not x.trait and x.kind in HEAVY and x.float_ms and x.ms
        and x.ms > SLOWER * x.float_ms and x.ms - x.float_ms > NOTABLE * whole
    ]  # fmt: skip
    if not slow:
        return None
    lost = sum((x.ms or 0.0) - (x.float_ms or 0.0) for x in slow)
    text = (
        f"{several(slow)} {'takes' if len(slow) == 1 else 'take'} {numbers.significant(lost, 3)} ms longer in integers "
        "than in float32: layers with few channels or little work do not fill an integer kernel."
    )
    # What follows in integers would need conversions, or lose its own kernel, behind a layer in float.
    alone = [x for x in slow if not leads_on(facts.timed, x)]
    remedy = (
        "Leave them in float if the conversions this needs cost less."
        if alone
        else "Use a runtime with a better kernel for them; in float they would slow down the integer layers after them."
    )
    return Finding("layers slower in integers", text, lost / whole, slowest(slow), remedy, excluding(facts, alone))


def faster_layers(facts: CauseFacts) -> Finding | None:
    """What makes it faster: quantized layers that take less time."""
    good = [
        x for x in facts.timed if x.quantized and x.kind in HEAVY and x.float_ms and x.ms and x.ms < x.float_ms / SLOWER
    ]
    before = facts.layers.float_ms if facts.layers else 0.0
    gain = sum((x.float_ms or 0.0) - (x.ms or 0.0) for x in good)
    if not before or gain < WORTH * before:
        return None
    text = f"{several(good)} {'is' if len(good) == 1 else 'are'} faster in integers: {compared(good)}."
    return Finding("integer kernels", text, 0.0, tuple(sorted(good, key=saved))[:MOST_LAYERS])


def dynamic_convolutions(facts: CauseFacts) -> Finding | None:
    """Convolutions whose activations are quantized while the model runs."""
    slow = [x for x in facts.timed if x.trait == "dynamic" and x.kind == "conv"]
    if not slow or faster(slow):
        return None
    text = (
        f"{several(slow)} quantize their activations while the model runs, and {facts.runtime.label} has no fast "
        f"kernel for that ({slow[0].kernel}): {compared(slow)}."
    )
    return Finding(
        "dynamic quantization of convolutions", text, facts.share(slow), slowest(slow),
        "Leave convolutions in float, or quantize them statically, with calibration data.",
        changed(facts, convolutions=False) or calibrated(facts),
    )  # fmt: skip


def signed_activations(facts: CauseFacts) -> Finding | None:
    """Integer operators on signed activations, where their kernels are slower than float32."""
    slow = [x for x in facts.timed if x.trait == "signed"]
    if not slow or faster(slow):
        return None
    text = (
        f"{several(slow)} are integer operators on signed (int8) activations, for which {facts.runtime.label} has no "
        f"fast kernel{facts.where} ({slow[0].kernel}): {compared(slow)}."
    )
    return Finding(
        "signed integer operators", text, facts.share(slow), slowest(slow),
        "Quantize activations to uint8, or write pairs of QuantizeLinear and DequantizeLinear, which are rewritten.",
        changed(facts, activations="uint8") or changed(facts, form="qdq"),
    )  # fmt: skip

"""Why a candidate is as fast as it is: one small function for each named cause, over plain facts.

To add a cause, write a function that takes `CauseFacts` and gives a `Finding` or None, and put it into `CAUSES`.
"""

from __future__ import annotations

from collections.abc import Callable

from deploykit.core.layers.kinds import HEAVY
from deploykit.core.result import Finding
from deploykit.reporting import numbers
from deploykit.reporting.effects import effects_of, packed_bytes, storage
from deploykit.reporting.evidence.cause_facts import (
    CauseFacts,
    calibrated,
    compared,
    cores,
    percent,
    quantizes,
    slowest,
)  # fmt: skip
from deploykit.reporting.evidence.integer_causes import (
    conversions,
    dynamic_convolutions,
    faster_layers,
    not_quantized,
    reference_kernels,
    signed_activations,
    slower_layers,
)  # fmt: skip

__all__ = ["CAUSES", "CauseFacts", "findings"]

#: From this share of its time on, moving data is called what limits a model.
_MOVING = 0.25
#: Below this share of float32's time, heavy layers leave little to gain.
_LITTLE = 0.5
#: A smaller difference between two medians whose intervals overlap is not worth a word.
_ALIKE = 0.05


def findings(facts: CauseFacts) -> tuple[Finding, ...]:
    """All causes that apply, by their share of the time; those without a share come last."""
    found = [finding for cause in CAUSES if (finding := cause(facts)) is not None]
    return tuple(sorted(found, key=lambda f: -f.share))


def sparsity(facts: CauseFacts) -> Finding | None:
    """Zeros that are multiplied anyway."""
    pruned = [s for s in facts.recipe.steps if "sparse" in effects_of(s)]
    if not pruned or facts.runtime.sparse_kernels or facts.latency.claim == "baseline":
        return None
    reached = facts.row.notes.get(pruned[0].technique, {}).get("sparsity")
    zeros = f"{percent(reached)} of the pruned layers' weights are" if reached else "Pruned weights are"
    heavy = [x for x in facts.timed if x.kind in HEAVY and x.float_ms]
    same = not quantizes(facts.recipe) and heavy
    before_after = f" Its heavy operators: {compared(heavy)}." if same else ""
    text = (
        f"{zeros} zeros, which {facts.runtime.label} still multiplies, so they only save storage "
        f"({numbers.kilobytes(facts.measurement.compressed_bytes)} kB compressed).{before_after}"
    )
    fix = None if quantizes(facts.recipe) else calibrated(facts)
    remedy = "Add int8 quantization, which changes the kernels" if fix else "Remove whole channels instead of weights"
    return Finding("sparsity without a kernel", text, 0.0, (), f"{remedy}.", fix)


def shared_values(facts: CauseFacts) -> Finding | None:
    """Few different weights, which are multiplied like any others."""
    if packed_bytes(facts.row) is None or facts.latency.claim == "baseline":
        return None
    text = (
        f"Its weights have few different values, which {facts.runtime.label} multiplies like any others: they only "
        f"save storage ({storage(facts.row)})."
    )
    fix = calibrated(facts)
    remedy = "Add int8 quantization, which changes the kernels." if fix else "Remove whole channels."
    return Finding("shared values without a kernel", text, 0.0, (), remedy, fix)


def memory_bound(facts: CauseFacts) -> Finding | None:
    """Time that goes into moving data rather than arithmetic.

    Two cases, which the text distinguishes: operators that only move data (reshape, transpose, reorder, concatenate,
    …) take a quarter of the time or more; or the weights exceed the last-level cache while matrix products, which read
    each weight once for each example, take most of the time.
    """
    moving = [x for x in facts.timed if x.kind == "move"]
    share = facts.share(moving)
    if share >= _MOVING:
        text = (
            f"Operators that only move data take {percent(share)} of its time: memory limits them, and fewer bits "
            "help less than a graph with fewer of them."
        )
        return Finding(
            "memory-bound", text, share, slowest(moving),
            "Build the model without transposes and copies between its layers (data layout, concatenations).",
        )  # fmt: skip
    products = [x for x in facts.timed if x.kind == "matmul"]
    size, cache = facts.measurement.size_bytes, facts.layers.cache_bytes if facts.layers else 0
    if 0 < cache < size and facts.share(products) >= _LITTLE and facts.row.candidate.target.batch_size == 1:
        text = (
            f"Its weights ({size / 1e6:,.0f} MB) do not fit the last-level cache ({cache / 1e6:,.0f} MB), "
            f"and matrix products, which read each weight once per inference, take {percent(facts.share(products))} of "
            "its time: memory bandwidth is the limit."
        )
        fix = None if quantizes(facts.recipe) else calibrated(facts)
        return Finding(
            "memory-bound", text, facts.share(products), slowest(products),
            "Use fewer bits for the weights, or larger batches, which read them once for many examples.", fix,
        )  # fmt: skip
    return None


def threads(facts: CauseFacts) -> Finding | None:
    """More threads than cores, or than the model has work for."""
    target, fewer = facts.row.candidate.target, facts.fewer_threads
    if target.threads > facts.cores:
        text = f"{target.threads} threads share {cores(facts.cores)}: they wait for each other."
        return Finding("threads beyond cores", text, remedy=f"Use at most {facts.cores}.")
    other = fewer.measurement.latency if fewer and fewer.measurement else None
    if fewer is None or other is None or facts.latency.p50_ms.high < other.p50_ms.low:
        return None
    few = fewer.candidate.target.threads
    mine, theirs = facts.latency.p50_ms, other.p50_ms
    both = f"({numbers.milliseconds(mine)} ms with {target.threads}, {numbers.milliseconds(theirs)} ms with {few})"
    if mine.value < (1 - _ALIKE) * theirs.value:  # faster by estimate, but not confirmed
        text = (
            f"It is not settled whether {target.threads} threads are faster than {few} {both}: the intervals overlap."
        )
        return Finding("number of threads not settled", text, remedy="Use more launches, or a quieter machine.")
    slower = mine.low > theirs.high
    cpu = facts.latency.cpu_ms, other.cpu_ms
    cost = (
        f", and cost {numbers.beside(cpu[0], mine)} instead of {numbers.beside(cpu[1], theirs)} ms of CPU time"
        if cpu[0] > cpu[1]
        else ""
    )
    what = "slower" if slower else "not faster"
    text = f"{target.threads} threads are {what} than {few} {both}{cost}: the layers are too small to share."
    return Finding("more threads than work", text, remedy=f"Use {few}.")


def little_to_gain(facts: CauseFacts) -> Finding | None:
    """A model whose time is mostly not in the operators that quantization makes faster (Amdahl's law)."""
    if facts.layers is None or not quantizes(facts.recipe):
        return None
    heavy = sum(x.float_ms or 0.0 for x in facts.layers.layers if x.kind in HEAVY)
    share = heavy / facts.layers.float_ms if facts.layers.float_ms else 1.0
    reached = facts.latency.speedup_same_runtime or facts.latency.speedup
    if share >= _LITTLE or reached.high * (1 - share) >= 1:  # a bound that the measurement may exceed is not a bound
        return None
    text = (
        f"In float32 convolutions and matrix products take only {percent(share)} of the time; the rest goes into many "
        f"small operators and into calling {facts.runtime.label}. If they were free, the model would be "
        f"{1 / (1 - share):.2f}× as fast: quantization cannot give more."
    )
    return Finding(
        "little heavy arithmetic", text, 0.0, (), "Use larger batches, or a graph with fewer and larger operators."
    )


def noise(facts: CauseFacts) -> Finding | None:
    """Differences within the noise."""
    latency = facts.latency
    against = latency.speedup_same_runtime or latency.speedup
    if latency.claim == "baseline" or not facts.recipe.steps or not against.low <= 1.0 <= against.high:
        return None
    what = "float32 on the same runtime" if latency.speedup_same_runtime else "the original model"
    text = (
        f"No difference from {what} is confirmed: {numbers.times(against)} contains 1; two copies of one file differ "
        f"by up to ±{100 * latency.noise_floor:.1f} % here."
    )
    wide = against.high - against.low > 4 * max(latency.noise_floor, 0.01)
    remedy = "More launches, or a quieter machine, would narrow the interval." if wide else "Take the smaller file."
    return Finding("noise", text, remedy=remedy)


CAUSES: tuple[Callable[[CauseFacts], Finding | None], ...] = (
    not_quantized, reference_kernels, conversions, slower_layers, dynamic_convolutions, signed_activations, sparsity,
    shared_values, memory_bound, threads, little_to_gain, faster_layers, noise,
)  # fmt: skip

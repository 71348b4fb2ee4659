"""Why a candidate is as fast as it is: one small function for each named cause, over plain facts.

To add a cause, write a function that takes `Facts` and gives a `Finding` or None, and put it into `CAUSES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from deploykit.core import extras
from deploykit.core.candidate import Recipe, Step
from deploykit.core.result import Finding, Latency, LayerTime, Measurement, Result
from deploykit.measuring.profile_match import Comparison
from deploykit.reporting import numbers
from deploykit.runtimes._contract import RUNTIMES, Runtime
from deploykit.transforms._contract import TRANSFORMS

#: Share of the candidate's time below which a cause is not worth a word.
_WORTH = 0.1
#: From this share of its time on, moving data is called what limits a model.
_MOVING = 0.25
#: Below this share of float32's time, heavy layers leave little to gain.
_LITTLE = 0.5
#: A layer is called slower when it takes this much longer, and the difference is this share of the candidate's time.
_SLOWER, _NOTABLE = 1.2, 0.03
#: A smaller difference between two medians whose intervals overlap is not worth a word.
_ALIKE = 0.05
_MOST_LAYERS = 5
_HEAVY = frozenset({"conv", "matmul"})
#: Heavy operators as the notes of a build step call them.
_HEAVY_NOTES = {"Conv": "conv", "ConvTranspose": "conv", "Gemm": "matmul", "MatMul": "matmul"}


@dataclass(frozen=True)
class Facts:
    """What causes are found from.

    Attributes:
        row: The candidate's row, timed.
        layers: Its layers beside those of float32 on the same runtime; None when the runtime does not tell.
        cores: Cores deploykit may use.
        fewer_threads: The same recipe on the same device with fewer threads, None when that was not measured.
    """

    row: Result
    layers: Comparison | None = None
    cores: int = 1
    fewer_threads: Result | None = None

    @property
    def runtime(self) -> Runtime:
        """Where it runs."""
        return RUNTIMES.get(self.row.candidate.target.runtime)

    @property
    def measurement(self) -> Measurement:
        """What was measured."""
        assert self.row.measurement is not None
        return self.row.measurement

    @property
    def latency(self) -> Latency:
        """Its latency."""
        assert self.measurement.latency is not None
        return self.measurement.latency

    @property
    def recipe(self) -> Recipe:
        """What was done to the model."""
        return self.row.candidate.recipe

    @property
    def integer(self) -> bool:
        """Whether it was quantized to integers, whatever the runtime makes of it."""
        noted = any(isinstance(n, dict) and n.get("quantized") for n in self.row.notes.values())
        return noted or any(layer.quantized for layer in self.timed if layer.kind in _HEAVY)

    @property
    def timed(self) -> tuple[LayerTime, ...]:
        """Nodes the candidate runs."""
        return tuple(x for x in self.layers.layers if x.ms is not None) if self.layers else ()

    @property
    def where(self) -> str:
        """On which processor and with which version of the runtime, in words; "" when that was not recorded."""
        host = self.measurement.environment
        name = extras.distribution(self.runtime.requires[0])
        version = host.get("packages", {}).get(name)
        place = f" on {host['cpu']}" if host.get("cpu") else ""
        return f"{place} with {name} {version}" if version else place

    def share(self, layers: Iterable[LayerTime]) -> float:
        """Their share of the candidate's time."""
        whole = self.layers.ms if self.layers else 0.0
        return sum(x.ms or 0.0 for x in layers) / whole if whole else 0.0


def findings(facts: Facts) -> tuple[Finding, ...]:
    """All causes that apply, by their share of the time; those without a share come last."""
    found = [finding for cause in CAUSES if (finding := cause(facts)) is not None]
    return tuple(sorted(found, key=lambda f: -f.share))


# -- causes -----------------------------------------------------------------------------------------------------------


def not_quantized(facts: Facts) -> Finding | None:
    """Heavy operators of a quantized model that run in float."""
    left = [x for x in facts.timed if x.kind in _HEAVY and not x.quantized and x.precision.startswith(("float", "bf"))]
    share = facts.share(left)
    if not facts.integer or share < _WORTH:
        return None
    noted = [n.get("float", {}) for n in facts.row.notes.values() if isinstance(n, dict) and "quantized" in n]
    kinds = {_HEAVY_NOTES[op] for note in noted for op in note if op in _HEAVY_NOTES} if noted else _HEAVY
    stays, back = [x for x in left if x.kind in kinds], [x for x in left if x.kind not in kinds]
    label, precision = facts.runtime.label, left[0].precision
    parts = []
    if stays:
        verb = "was" if len(stays) == 1 else "were"
        parts.append(
            f"{_heavy(stays)} {verb} not quantized: {_percent(facts.share(stays))} of its time is {precision}."
        )
        fix = _changed(facts, exclude="") or _changed(facts, operators="all") or _calibrated(facts)
        remedy = "quantize them too" if fix else "they stay float in this technique; choose another one"
    if back:
        kernels = ", ".join(dict.fromkeys(x.kernel for x in back))
        parts.append(
            f"The file stores {_heavy(back)} in integers, but {label} converts them back and computes in {precision}"
            f"{facts.where} (kernel {kernels}): {_percent(facts.share(back))} of its time."
        )
    if back and not stays:
        fix = _changed(facts, activations="uint8") or _changed(facts, form="qdq") or _calibrated(facts)
        remedy = f"store them in the form {label} has integer kernels for"
    return Finding("operators not quantized", " ".join(parts), share, _slowest(left), f"{remedy}.", fix)


def reference_kernels(facts: Facts) -> Finding | None:
    """Kernels without vector instructions."""
    slow = [x for x in facts.timed if x.trait == "reference" and x.kind != "convert"]
    share = facts.share(slow)
    if share < _WORTH or _faster([x for x in slow if x.quantized]):
        return None
    kernels = ", ".join(dict.fromkeys(x.kernel for x in slow))
    text = (
        f"{facts.runtime.label} has only a generic reference kernel, without vector instructions, for {_several(slow)} "
        f"(kernel {kernels}): {_percent(share)} of its time."
    )
    quantized = [x for x in slow if x.quantized]
    # Behind a layer that was left in float an integer operator may lose its quick kernel: then that is what to mend.
    whole = _changed(facts, exclude="") if quantized else None
    fix = whole or _excluding(facts, quantized)
    remedy = (
        "quantize the layers before them, too" if whole
        else "leave them in float" if fix
        else "build the model with other operators there, or choose another runtime"
    )  # fmt: skip
    return Finding("reference kernels", text, share, _slowest(slow), f"{remedy}.", fix)


def conversions(facts: Facts) -> Finding | None:
    """Nodes that quantize, dequantize and cast, and other nodes that float32 does without."""
    if not _quantizes(facts.recipe):
        return None
    extra = [x for x in facts.timed if x.kind == "convert" or (x.float_ms is None and x.kind not in _HEAVY)]
    share = facts.share(extra)
    if share < _WORTH:
        return None
    total = sum(x.ms or 0.0 for x in extra)
    pure = sum(x.kind == "convert" for x in extra)
    text = (
        f"Quantizing, dequantizing and casting take {total:.3f} ms, {_percent(share)} of its time: {pure} conversions "
        f"and {len(extra) - pure} other nodes that float32 does without. Each operator that stays float between "
        "quantized ones, or is quantized on the fly, needs them on either side."
    )
    fix = (
        _changed(facts, activations="uint8") or _changed(facts, operators="all") or _calibrated(facts)
        or _changed(facts, operators="conv_matmul")
    )  # fmt: skip
    return Finding(
        "quantize and dequantize overhead", text, share, _slowest(extra),
        "quantize whole stretches of the graph with scales that are known ahead.", fix,
    )  # fmt: skip


def slower_layers(facts: Facts) -> Finding | None:
    """Quantized layers that take longer than in float32 though nothing is known against their kernels."""
    whole = facts.layers.ms if facts.layers else 0.0
    slow = [
        x
        for x in facts.timed
        if x.quantized and not x.trait and x.kind in _HEAVY and x.float_ms and x.ms
        and x.ms > _SLOWER * x.float_ms and x.ms - x.float_ms > _NOTABLE * whole
    ]  # fmt: skip
    if not slow:
        return None
    lost = sum((x.ms or 0.0) - (x.float_ms or 0.0) for x in slow)
    text = (
        f"{_several(slow)} {'takes' if len(slow) == 1 else 'take'} {lost:.3f} ms longer in integers than in float32: "
        "layers with few channels or little work do not fill an integer kernel."
    )
    # What follows in integers would need conversions, or lose its own kernel, behind a layer in float.
    alone = [x for x in slow if not _leads_on(facts.timed, x)]
    remedy = (
        "leave them in float, if the conversions this needs cost less."
        if alone
        else "a runtime with a better kernel for them; in float they would slow down what runs in integers behind them."
    )
    return Finding("layers slower in integers", text, lost / whole, _slowest(slow), remedy, _excluding(facts, alone))


def faster_layers(facts: Facts) -> Finding | None:
    """What makes it faster: quantized layers that take less time."""
    good = [
        x
        for x in facts.timed
        if x.quantized and x.kind in _HEAVY and x.float_ms and x.ms and x.ms < x.float_ms / _SLOWER
    ]
    before = facts.layers.float_ms if facts.layers else 0.0
    saved = sum((x.float_ms or 0.0) - (x.ms or 0.0) for x in good)
    if not before or saved < _WORTH * before:
        return None
    text = f"{_several(good)} {'is' if len(good) == 1 else 'are'} faster in integers: {_compared(good)}."
    return Finding("integer kernels", text, 0.0, tuple(sorted(good, key=_saved))[:_MOST_LAYERS])


def dynamic_convolutions(facts: Facts) -> Finding | None:
    """Convolutions whose activations are quantized while the model runs."""
    slow = [x for x in facts.timed if x.trait == "dynamic" and x.kind == "conv"]
    if not slow or _faster(slow):
        return None
    text = (
        f"{_several(slow)} quantize their activations while the model runs, and {facts.runtime.label} has no fast "
        f"kernel for that ({slow[0].kernel}): {_compared(slow)}."
    )
    return Finding(
        "dynamic quantization of convolutions", text, facts.share(slow), _slowest(slow),
        "leave convolutions in float, or quantize them statically, with calibration data.",
        _changed(facts, convolutions=False) or _calibrated(facts),
    )  # fmt: skip


def signed_activations(facts: Facts) -> Finding | None:
    """Integer operators on signed activations, where their kernels are slower than float32."""
    slow = [x for x in facts.timed if x.trait == "signed"]
    if not slow or _faster(slow):
        return None
    text = (
        f"{_several(slow)} are integer operators on signed (int8) activations, for which {facts.runtime.label} has no "
        f"fast kernel{facts.where} ({slow[0].kernel}): {_compared(slow)}."
    )
    return Finding(
        "signed integer operators", text, facts.share(slow), _slowest(slow),
        "quantize activations to uint8, or write pairs of QuantizeLinear and DequantizeLinear, which are rewritten.",
        _changed(facts, activations="uint8") or _changed(facts, form="qdq"),
    )  # fmt: skip


def sparsity(facts: Facts) -> Finding | None:
    """Zeros that are multiplied all the same."""
    pruned = [s for s in facts.recipe.steps if "prune" in TRANSFORMS.get(s.technique).family]
    if not pruned or facts.runtime.sparse_kernels or facts.latency.claim == "baseline":
        return None
    reached = facts.row.notes.get(pruned[0].technique, {}).get("sparsity")
    zeros = f"{_percent(reached)} of the pruned layers' weights are" if reached else "Pruned weights are"
    heavy = [x for x in facts.timed if x.kind in _HEAVY and x.float_ms]
    same = not _quantizes(facts.recipe) and heavy
    before_after = f" Its heavy operators: {_compared(heavy)}." if same else ""
    text = (
        f"{zeros} zeros that {facts.runtime.label} multiplies all the same: what they save is storage "
        f"({numbers.kilobytes(facts.measurement.compressed_bytes)} kB compressed).{before_after}"
    )
    fix = None if _quantizes(facts.recipe) else _calibrated(facts)
    remedy = "add int8 quantization, which changes the kernels" if fix else "remove whole channels instead of weights"
    return Finding("sparsity without a kernel", text, 0.0, (), f"{remedy}.", fix)


def memory_bound(facts: Facts) -> Finding | None:
    """Time that goes into moving data rather than arithmetic.

    Two cases, told apart in the text: operators that only move data (reshape, transpose, reorder, concatenate, …) take
    a quarter of the time or more; or the weights exceed the last-level cache while matrix products, which read each
    weight once for each example, take most of the time.
    """
    moving = [x for x in facts.timed if x.kind == "move"]
    share = facts.share(moving)
    if share >= _MOVING:
        text = (
            f"Operators that only move data take {_percent(share)} of its time: memory limits them, and fewer bits "
            "help less than a graph with fewer of them."
        )
        return Finding(
            "memory-bound", text, share, _slowest(moving),
            "build the model without transposes and copies between its layers (data layout, concatenations).",
        )  # fmt: skip
    products = [x for x in facts.timed if x.kind == "matmul"]
    size, cache = facts.measurement.size_bytes, facts.layers.cache_bytes if facts.layers else 0
    if 0 < cache < size and facts.share(products) >= _LITTLE and facts.row.candidate.target.batch_size == 1:
        text = (
            f"Its weights ({size / 1e6:,.0f} MB) do not fit the last-level cache ({cache / 1e6:,.0f} MB), "
            f"and matrix products, which read each weight once an inference, take {_percent(facts.share(products))} of "
            "its time: memory bandwidth is the limit."
        )
        fix = None if _quantizes(facts.recipe) else _calibrated(facts)
        return Finding(
            "memory-bound", text, facts.share(products), _slowest(products),
            "use fewer bits for the weights, or larger batches, which read them once for many examples.", fix,
        )  # fmt: skip
    return None


def threads(facts: Facts) -> Finding | None:
    """More threads than cores, or than the model has work for."""
    target, fewer = facts.row.candidate.target, facts.fewer_threads
    if target.threads > facts.cores:
        text = f"{target.threads} threads share {_cores(facts.cores)}: they wait for each other."
        return Finding("threads beyond cores", text, remedy=f"use at most {facts.cores}.")
    other = fewer.measurement.latency if fewer and fewer.measurement else None
    if fewer is None or other is None or facts.latency.p50_ms.high < other.p50_ms.low:
        return None
    few = fewer.candidate.target.threads
    mine, theirs = facts.latency.p50_ms, other.p50_ms
    compared = (
        f"({numbers.plus_minus(mine, 3)} ms with {target.threads}, {numbers.plus_minus(theirs, 3)} ms with {few})"
    )
    if mine.value < (1 - _ALIKE) * theirs.value:  # quicker by estimate, and not surely
        text = (
            f"Whether {target.threads} threads are faster than {few} cannot be told {compared}: the intervals overlap."
        )
        return Finding("threads not told apart", text, remedy="more launches, or a quieter machine, would tell.")
    slower = mine.low > theirs.high
    cpu = facts.latency.cpu_ms, other.cpu_ms
    cost = f", and cost {cpu[0]:.3f} instead of {cpu[1]:.3f} ms of CPU time" if cpu[0] > cpu[1] else ""
    what = "slower" if slower else "no faster"
    text = f"{target.threads} threads are {what} than {few} {compared}{cost}: the layers are too small to share."
    return Finding("more threads than work", text, remedy=f"use {few}.")


def little_to_gain(facts: Facts) -> Finding | None:
    """A model whose time is mostly not in the operators that quantization makes faster (Amdahl's law)."""
    if facts.layers is None or not _quantizes(facts.recipe):
        return None
    heavy = sum(x.float_ms or 0.0 for x in facts.layers.layers if x.kind in _HEAVY)
    share = heavy / facts.layers.float_ms if facts.layers.float_ms else 1.0
    reached = facts.latency.speedup_same_runtime or facts.latency.speedup
    if share >= _LITTLE or reached.high * (1 - share) >= 1:  # a bound that the measurement may break is none
        return None
    text = (
        f"In float32 convolutions and matrix products take only {_percent(share)} of the time; the rest goes into many "
        f"small operators and into calling {facts.runtime.label}. Were they free, the model would be "
        f"×{1 / (1 - share):.2f} as fast: quantization cannot give more."
    )
    return Finding(
        "little heavy arithmetic", text, 0.0, (), "use larger batches, or a graph with fewer and larger operators."
    )


def noise(facts: Facts) -> Finding | None:
    """Differences that cannot be told from noise."""
    latency = facts.latency
    against = latency.speedup_same_runtime or latency.speedup
    if latency.claim == "baseline" or not facts.recipe.steps or not against.low <= 1.0 <= against.high:
        return None
    what = "float32 on the same runtime" if latency.speedup_same_runtime else "the model as given"
    text = (
        f"It cannot be told apart from {what}: {numbers.times(against)} contains ×1; two copies of one file differ by "
        f"up to ±{100 * latency.noise_floor:.1f} % here."
    )
    wide = against.high - against.low > 4 * max(latency.noise_floor, 0.01)
    remedy = "more launches, or a quieter machine, would narrow the interval." if wide else "take the smaller file."
    return Finding("noise", text, remedy=remedy)


CAUSES: tuple[Callable[[Facts], Finding | None], ...] = (
    not_quantized, reference_kernels, conversions, slower_layers, dynamic_convolutions, signed_activations, sparsity,
    memory_bound, threads, little_to_gain, faster_layers, noise,
)  # fmt: skip


# -- fixes ------------------------------------------------------------------------------------------------------------


def _changed(facts: Facts, **change: Any) -> Recipe | None:
    """The recipe with another setting of its last technique that has it; None when that would change nothing."""
    ((name, value),) = change.items()
    steps = list(facts.recipe.steps)
    for place in reversed(range(len(steps))):
        technique = TRANSFORMS.get(steps[place].technique)
        used = {p for v in technique.variants if v.produces == facts.row.format for p in v.uses}
        if name not in used:
            continue
        parameters = {p.name: p.default for p in technique.parameters} | dict(steps[place].parameters)
        if parameters[name] == value:
            return None
        defaults = {p.name: p.default for p in technique.parameters}
        changed = {**steps[place].parameters, name: value}
        steps[place] = Step(technique.name, {k: v for k, v in changed.items() if v != defaults[k]})
        return Recipe(tuple(steps))
    return None


def _excluding(facts: Facts, layers: Iterable[LayerTime]) -> Recipe | None:
    names = [x.node for x in layers if x.node and "," not in x.node]
    known = next((str(s.parameters["exclude"]) for s in facts.recipe.steps if s.parameters.get("exclude")), "")
    wanted = dict.fromkeys([*filter(None, known.split(",")), *names])
    return _changed(facts, exclude=",".join(wanted)) if names else None


def _calibrated(facts: Facts) -> Recipe | None:
    """The recipe with static quantization instead of its own, or on top of what it has; None when it is that."""
    for technique in TRANSFORMS.all():
        ours = [v for v in technique.variants if v.produces == facts.row.format]
        if technique.family == "quantize" and any("calibration" in v.needs for v in ours):
            if any(s.technique == technique.name for s in facts.recipe.steps):
                return None
            kept = [s for s in facts.recipe.steps if TRANSFORMS.get(s.technique).family != "quantize"]
            return Recipe((*kept, Step(technique.name)))
    return None


# -- words ------------------------------------------------------------------------------------------------------------


def _quantizes(recipe: Recipe) -> bool:
    return any(TRANSFORMS.get(s.technique).family == "quantize" for s in recipe.steps)


def _slowest(layers: Iterable[LayerTime]) -> tuple[LayerTime, ...]:
    return tuple(sorted(layers, key=lambda x: -(x.ms or 0.0))[:_MOST_LAYERS])


def _leads_on(layers: tuple[LayerTime, ...], layer: LayerTime) -> bool:
    """Whether the next node, shape computations aside, is a light one on integers, such as pooling."""
    behind = [x for x in layers[layers.index(layer) + 1 :] if x.kind != "move"]
    return bool(behind) and behind[0].kind == "compute" and behind[0].quantized


def _saved(layer: LayerTime) -> float:
    return (layer.ms or 0.0) - (layer.float_ms or 0.0)


def _faster(layers: Iterable[LayerTime]) -> bool:
    matched = [x for x in layers if x.float_ms]
    return bool(matched) and sum(x.ms or 0.0 for x in matched) <= sum(x.float_ms or 0.0 for x in matched)


def _compared(layers: Iterable[LayerTime]) -> str:
    matched = [x for x in layers if x.float_ms]
    before, after = sum(x.float_ms or 0.0 for x in matched), sum(x.ms or 0.0 for x in matched)
    return f"{before:.3f} ms in float32, {after:.3f} ms here"


def _several(layers: list[LayerTime]) -> str:
    if len(layers) == 1:
        return f"{layers[0].name or layers[0].operator} ({layers[0].operator})"
    kinds: dict[str, int] = {}
    for layer in layers:
        kinds[layer.operator] = kinds.get(layer.operator, 0) + 1
    return f"{len(layers)} operators ({_counted(kinds)})"


def _heavy(layers: list[LayerTime]) -> str:
    words = {"conv": "convolution", "matmul": "matrix product"}
    counts = {k: sum(x.kind == k for x in layers) for k in words}
    return " and ".join(f"{n} {words[k]}{'s' if n > 1 else ''}" for k, n in counts.items() if n)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _cores(count: int) -> str:
    return f"{count} core{'s' if count != 1 else ''}"

"""What causes are found from, and what their sentences and remedies are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deploykit.core import extras
from deploykit.core.candidate import Recipe, Step
from deploykit.core.layers.kinds import HEAVY, WORK, Work
from deploykit.core.model import Layer
from deploykit.core.result import Latency, LayerTime, Measurement, Result
from deploykit.core.space import Space
from deploykit.loading._contract import FORMATS
from deploykit.measuring.profile_match import Comparison
from deploykit.reporting import numbers
from deploykit.reporting.effects import effects_of, has_effect
from deploykit.runtimes._contract import RUNTIMES, Runtime
from deploykit.transforms._contract import TRANSFORMS

#: Share of the candidate's time below which a cause is not worth a word.
WORTH = 0.1
MOST_LAYERS = 5


@dataclass(frozen=True)
class CauseFacts:
    """What causes are found from.

    Attributes:
        row: The candidate's row, timed.
        layers: Its layers beside those of float32 on the same runtime; None when the runtime does not say.
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
        return noted or any(layer.quantized for layer in self.timed if layer.kind in HEAVY)

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

    def work_of(self, operator: str) -> Work:
        """What an operator of its file spends its time on."""
        return WORK.get(FORMATS.get(self.row.format).kind_of(Layer("", operator)), "compute")

    def share(self, layers: Iterable[LayerTime]) -> float:
        """Their share of the candidate's time."""
        whole = self.layers.ms if self.layers else 0.0
        return sum(x.ms or 0.0 for x in layers) / whole if whole else 0.0


# -- fixes ------------------------------------------------------------------------------------------------------------


def changed(facts: CauseFacts, **change: Any) -> Recipe | None:
    """The recipe with another setting of its last technique that has it; None when that would change nothing."""
    ((name, value),) = change.items()
    steps = list(facts.recipe.steps)
    for place in reversed(range(len(steps))):
        technique = TRANSFORMS.get(steps[place].technique)
        used = {p for v in technique.variants if v.produces == facts.row.format for p in v.uses}
        if name not in used:
            continue
        defaults = {p.name: p.standing for p in technique.parameters}
        if steps[place].parameters.get(name, defaults[name]) == value:
            return None
        given = {**steps[place].parameters, name: value}
        usual = {p.name: p.default for p in technique.parameters}
        steps[place] = Step(technique.name, {k: v for k, v in given.items() if v != usual[k]})
        return Recipe(tuple(steps))
    return None


def excluding(facts: CauseFacts, layers: Iterable[LayerTime]) -> Recipe | None:
    """The recipe that also leaves these layers out; None when it cannot."""
    names = [x.node for x in layers if x.node and "," not in x.node]
    known = next((str(s.parameters["exclude"]) for s in facts.recipe.steps if s.parameters.get("exclude")), "")
    wanted = dict.fromkeys([*filter(None, known.split(",")), *names])
    return changed(facts, exclude=",".join(wanted)) if names else None


def calibrated(facts: CauseFacts) -> Recipe | None:
    """The recipe with static quantization instead of its own, or on top of what it has; None when it is that.

    Of several techniques that do it, one that the presets use.
    """
    usual = {step.technique for recipe in Space.of("quick").recipes for step in recipe.steps}
    for technique in sorted(TRANSFORMS.all(), key=lambda one: one.name not in usual):
        ours = [v for v in technique.variants if v.produces == facts.row.format]
        values = technique.complete({})
        if any("calibration" in v.needs and v.effects(values) >= {"int8", "fully quantized"} for v in ours):
            if any(s.technique == technique.name for s in facts.recipe.steps):
                return None
            kept = [s for s in facts.recipe.steps if "quantized" not in effects_of(s)]
            return Recipe((*kept, Step(technique.name)))
    return None


# -- words ------------------------------------------------------------------------------------------------------------


def quantizes(recipe: Recipe) -> bool:
    """Whether a step quantizes."""
    return has_effect(recipe, "quantized")


def slowest(layers: Iterable[LayerTime]) -> tuple[LayerTime, ...]:
    """Those that take longest, slowest first."""
    return tuple(sorted(layers, key=lambda x: -(x.ms or 0.0))[:MOST_LAYERS])


def leads_on(layers: tuple[LayerTime, ...], layer: LayerTime) -> bool:
    """Whether the next node, shape computations aside, is a light one on integers, such as pooling."""
    behind = [x for x in layers[layers.index(layer) + 1 :] if x.kind != "move"]
    return bool(behind) and behind[0].kind == "compute" and behind[0].quantized


def saved(layer: LayerTime) -> float:
    """Milliseconds that it takes longer than in float32, for sorting: what saves most comes first."""
    return (layer.ms or 0.0) - (layer.float_ms or 0.0)


def faster(layers: Iterable[LayerTime]) -> bool:
    """Whether they take no longer than in float32 together."""
    matched = [x for x in layers if x.float_ms]
    return bool(matched) and sum(x.ms or 0.0 for x in matched) <= sum(x.float_ms or 0.0 for x in matched)


def compared(layers: Iterable[LayerTime]) -> str:
    """Their time before and after, in words."""
    matched = [x for x in layers if x.float_ms]
    before, after = sum(x.float_ms or 0.0 for x in matched), sum(x.ms or 0.0 for x in matched)
    return f"{numbers.significant(before, 3)} ms in float32, {numbers.significant(after, 3)} ms here"


def several(layers: list[LayerTime]) -> str:
    """The name of one layer, or the number of several by their operators."""
    if len(layers) == 1:
        return f"{layers[0].name or layers[0].operator} ({layers[0].operator})"
    kinds: dict[str, int] = {}
    for layer in layers:
        kinds[layer.operator] = kinds.get(layer.operator, 0) + 1
    return f"{len(layers)} operators ({counted(kinds)})"


def heavy(layers: list[LayerTime]) -> str:
    """How many convolutions and matrix products they are."""
    words = {"conv": "convolution", "matmul": "matrix product"}
    counts = {k: sum(x.kind == k for x in layers) for k in words}
    return " and ".join(f"{n} {words[k]}{'s' if n > 1 else ''}" for k, n in counts.items() if n)


def counted(counts: dict[str, int]) -> str:
    """Counts in a list."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.0f} %"


def cores(count: int) -> str:
    """A number of cores in words."""
    return f"{count} core{'s' if count != 1 else ''}"

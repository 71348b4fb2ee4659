"""Mixed precision: 8 bits where they cost little, float where they cost much, within a budget for size or time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.errors import CandidateError
from deploykit.core.extras import require
from deploykit.core.layers.kinds import LayerKind
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.surgery import selection
from deploykit.transforms._conditions import FLOAT_LAYERS, Condition
from deploykit.transforms._contract import QUANTIZE, UNITS, Stage, Transform, TransformJob, Variant
from deploykit.transforms._quantizing import mixing, settings, stages
from deploykit.transforms._quantizing.rounding import batches_of, learn

if TYPE_CHECKING:
    from deploykit.surgery.mixing.budget import Operator


class _Mixed(Variant):
    #: Kinds of layers that stay float, besides recurrent ones.
    floating: ClassVar[tuple[LayerKind, ...]] = ()
    needs = ("calibration",)
    seeded = False

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """What the budget leaves, between integers of 8 bits and floats."""
        least = 0.625 if parameters["lowest"] == "4" else 1.0
        return max(least, 4.0 * parameters["ratio"]) if parameters["budget"] == "size" else 1.0

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Integer activations somewhere."""
        return frozenset({"int8", "quantized"} if parameters["ratio"] < 1 else ())

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Layers in float."""
        return (FLOAT_LAYERS,)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Budgets that nothing or everything meets, layers without an integer operator."""
        yield from super().problems(parameters, facts)
        yield from settings.problems(parameters, facts, floating=("recurrent", *self.floating))
        if parameters["ratio"] >= 1:
            yield Problem("pointless", "a ratio of 1 leaves everything in float: lower ratio")
        least = self.bytes_a_weight({**parameters, "ratio": 0.0}, facts) / 4
        if parameters["budget"] == "size" and parameters["ratio"] < least:
            words = f"{parameters['lowest']} bits and their scales are {100 * least:.3g} % of 32 bits"
            yield Problem("impossible", f"{words}: raise ratio")

    def _decided(
        self, job: TransformJob, found: Sequence[Operator], free: Sequence[Operator], bits: dict[str, int],
        costs: Sequence[float], damage: Callable[[Mapping[str, int]], float],
    ) -> dict[str, int]:  # fmt: skip
        """The bits of operators, with notes of what they cost; those of a budget, or 8 for all where that is better.

        Args:
            job: Has the budget.
            found: All operators, measured.
            free: Those of them that may be quantized.
            bits: What the budget gives.
            costs: What the budget limits: in float, with these bits, and with 8 bits for all that bear them.
            damage: What the outputs lose to some bits.

        Raises:
            CandidateError: The budget cannot be met.
        """
        if costs[1] > job["ratio"] * costs[0]:
            _missed(job, costs[1] / costs[0], left=len(free) < len(found))
        uniform = mixing.integers(mixing.able(free))
        lost = [damage(some) for some in (bits, uniform)]
        # Operators by themselves do not show what they do together.
        if lost[1] <= lost[0] and costs[2] <= job["ratio"] * costs[0]:
            bits, lost = uniform, lost[1:] * 2
        job.notes |= {
            "bits": {o.name: bits.get(o.name, mixing.FLOAT) for o in found},
            "damage": [float(f"{value:.3g}") for value in lost],
        }
        if problems := {o.name: o.problem for o in found if o.problem}:
            job.notes["not_quantized"] = problems
        return bits

    def _sized(
        self, job: TransformJob, found: Sequence[Operator], free: Sequence[Operator]
    ) -> tuple[dict[str, int], list[float]]:
        """What a budget for the size gives, and what it costs; see `_decided`."""
        from deploykit.surgery.mixing import budget

        whole = budget.taken(found, {})
        bits = budget.by_size(found, free, job["ratio"] * whole)
        costs = [whole, *(budget.taken(found, some) for some in (bits, mixing.integers(mixing.able(free))))]
        job.notes["weight_bytes"] = [round(value) for value in costs[:2]]
        return bits, costs


class _OnnxRuntime(_Mixed):
    name = "onnxruntime"
    label = "mixed precision (ONNX Runtime)"
    help = "Pairs of quantizing and dequantizing nodes around the operators that become integer."
    requires = stages.REQUIRES
    accepts = stages.ACCEPTS
    produces = "onnx"
    uses = ("budget", "ratio", "lowest", "calibration", "per_channel", "operators", "rounding", "exclude")
    stages = (*stages.STATIC, mixing.RANKED, mixing.CHOSEN)

    def stages_for(self, parameters: dict[str, Any]) -> tuple[Stage, ...]:
        """Ranges as for static quantization; nothing is timed for a size."""
        timed = (mixing.CHOSEN,) if parameters["budget"] == "latency" else ()
        return (*stages.static(parameters["calibration"]), mixing.RANKED, *timed)

    def unable(self, parameters: dict[str, Any]) -> str:
        """Weights of 4 bits are not faster."""
        if parameters["budget"] == "latency" and parameters["lowest"] == "4":
            return "weights of 4 bits are no faster than float: leave lowest=4 out for a budget of time"
        return super().unable(parameters)

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no node has."""
        yield from settings.unsuited(parameters, layers)

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.layers import onnx_loss
        from deploykit.surgery.mixing import budget

        work, (found, free) = mixing.OnnxWork(job), mixing.operators(job)
        bits, costs = mixing.timed(job, free) if job["budget"] == "latency" else self._sized(job, found, free)
        wanted = onnx_loss.answers(work.model, work.examples)

        def damage(some: Mapping[str, int]) -> float:
            return budget.damage_of(lambda: onnx_loss.answers(work.made(found, some), work.examples), wanted)[0]

        bits = self._decided(job, found, free, bits, costs, damage)
        job.notes[UNITS] = self._written(job, work, found, bits)

    def _written(
        self, job: TransformJob, work: mixing.OnnxWork, found: Sequence[Operator], bits: Mapping[str, int]
    ) -> list[list[Any]]:
        """Write the file; gives its units."""
        from deploykit.surgery.mixing import onnx_mixing as mixed
        from deploykit.surgery.quantization import learned, prepare, write

        model, told, learns = work.packed(bits), dict[str, float](), job["rounding"] == "learned"
        narrow = {name for name, count in bits.items() if count == mixing.NARROW}
        if learns and narrow:
            model = mixed.packed(work.model, narrow, batches_of(job, work.model), told)
            job.notes["rounding"] = learned.notes(told)
        units = [[o.name, o.type, o.weights] for o in found if bits.get(o.name) == mixing.NARROW]
        if mixing.INTEGER not in bits.values() and units:
            require("onnx", "").save(model, str(job.target))
            prepare.check_opens(job.target)
            return units
        here = {node.name for node in model.graph.node}
        changed = write.write(
            model, job.target, work.types, work.quantizer, notes=job.notes, per_channel=work.per_channel,
            exclude=",".join(sorted(here & work.left(found, bits))), ranges=work.ranges,
        )  # fmt: skip
        if learns:
            learn(job, work.model)
        order = {o.name: place for place, o in enumerate(found)}
        return sorted([*units, *changed], key=lambda unit: order.get(unit[0], len(order)))


class _TFLite(_Mixed):
    name = "tflite"
    label = "mixed precision (TFLite)"
    help = "LiteRT Quantizer on a .tflite file, with int8 weights and activations operator by operator."
    requires = mixing.LITERT
    accepts = frozenset({"tflite"})
    produces = "tflite"
    uses = ("budget", "ratio", "exclude")
    stages = (mixing.TFLITE_RANKED, mixing.TFLITE_CHOSEN)
    floating = ("embedding",)

    def stages_for(self, parameters: dict[str, Any]) -> tuple[Stage, ...]:
        """Nothing is timed for a size."""
        return self.stages if parameters["budget"] == "latency" else self.stages[:1]

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """What the budget leaves, between integers of 8 bits and floats."""
        return super().bytes_a_weight({**parameters, "lowest": "8"}, facts)

    def unable(self, parameters: dict[str, Any]) -> str:
        """Fewer bits than the quantizer's integer operators have."""
        if parameters["lowest"] == "4":
            return "operators of TFLite files have 8 bits here or float: quantize_weights stores 4"
        return super().unable(parameters)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Budgets that nothing or everything meets."""
        return super().problems({**parameters, "lowest": "8"}, facts)

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no operator has."""
        yield from selection.unsuited(parameters["exclude"], layers, "operator", "type of operator")

    def _apply(self, job: TransformJob) -> None:
        work, (found, free) = mixing.tflite_work(job), mixing.tflite_operators(job)
        bits, costs = mixing.timed(job, free) if job["budget"] == "latency" else self._sized(job, found, free)
        bits = self._decided(job, found, free, bits, costs, lambda some: work.damage(list(some))[0])
        work.write(bits.keys(), job.target)
        job.notes[UNITS] = [[o.name, o.type, o.weights] for o in found if bits.get(o.name) == mixing.INTEGER]


def _missed(job: TransformJob, share: float, *, left: bool) -> None:
    """Refuse a budget that cannot be met.

    Raises:
        CandidateError: Always.
    """
    what = "the size of the float weights" if job["budget"] == "size" else "the float model's time"
    raise CandidateError(
        f"Mixed precision: {job['ratio']:.0%} of {what} was asked for, but 8 bits give {share:.1%} at best here.",
        remedy=f"raise ratio{', leave out fewer operators with exclude' if left else ''}, or prune the model first.",
    )


class QuantizeMixed(Transform):
    """Quantizes the operators that lose least, until a budget is met."""

    name = "quantize_mixed"
    label = "mixed precision"
    help = (
        "8 bits, or 4, for the operators that bear them, float for those that do not, as the outputs tell on "
        "calibration data: meets a budget for size or time at the least damage. Without need of a budget, int8 "
        "throughout is smaller and faster."
    )
    family = QUANTIZE
    parameters = (
        Parameter(
            "budget", "choice", "size", "What is limited: the bytes of the weights, or the time of the model in ONNX "
            "Runtime or LiteRT on this CPU, one example on one thread.", choices=("size", "latency"), shown=True,
        ),
        Parameter(
            "ratio", "float", 0.4, "Share of the float model's size or time that may be left.", minimum=0.05,
            maximum=1.0, step=0.05, unit="share", shown=True,
        ),
        Parameter(
            "lowest", "choice", "8", "Fewest bits: 8, or for a size also 4 for the weights of dense layers and other "
            "matrix products, in blocks of 32 that share a scale, with float activations.", label="fewest bits",
            choices=("8", "4"),
        ),
        settings.CALIBRATION,
        settings.PER_CHANNEL,
        settings.OPERATORS,
        settings.ROUNDING,
        settings.EXCLUDE,
    )  # fmt: skip
    variants = (_OnnxRuntime(), _TFLite())
    excluding = settings.EXCLUDE.name
    careful: ClassVar[dict[str, Value]] = {"per_channel": True}

    def following(self, values: dict[str, Any], facts: Facts) -> dict[str, Value]:
        """What the layers of the model ask for."""
        del values
        return settings.following(facts)


ADAPTER = QuantizeMixed()

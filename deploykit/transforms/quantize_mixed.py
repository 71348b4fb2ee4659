"""Mixed precision: 8 bits where they cost little, float where they cost much, within a budget for size or time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.errors import CandidateError
from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.transforms._conditions import FLOAT_LAYERS, Condition
from deploykit.transforms._contract import QUANTIZE, UNITS, Stage, Transform, TransformJob, Variant
from deploykit.transforms._quantizing import settings, stages
from deploykit.transforms._quantizing.rounding import batches_of, learn

if TYPE_CHECKING:
    from deploykit.surgery.quantization.mixed import Operator

#: Files of the stages: all operators, and the names of those to quantize with what the budget took.
_OPERATORS, _CHOICE = "operators.json", "choice.json"
#: Bits of a float, of an integer, and of the weights that are only stored as such.
_FLOAT, _INTEGER, _NARROW = 32, 8, 4
#: The model is timed so many times as long as a layer by itself: differences of a few percents decide.
_PATIENCE = 5


class _Work:
    """A prepared graph with all that quantizing it needs.

    Args:
        job: Its source is the folder of a stage.
    """

    def __init__(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import graphs, write
        from deploykit.transforms._examples.onnx import examples_of

        self.model, self.ranges = stages.graph(job.source), stages.ranges(job.source)
        self.per_channel = bool(job["per_channel"])
        self.types = graphs.HEAVY if job["operators"] == "conv_matmul" else graphs.operator_types()
        self.spared = write.spared(self.model.graph, self.ranges, per_channel=self.per_channel)
        self.examples = examples_of(self.model, job)

    def quantizer(self, model: Any, names: list[str], types: list[str]) -> Any:
        """One of ONNX Runtime's."""
        kinds = require("onnxruntime.quantization", "").QuantType
        return require("onnxruntime.quantization.qdq_quantizer", "").QDQQuantizer(
            model, per_channel=self.per_channel, reduce_range=False, weight_qType=kinds.QInt8,
            activation_qType=kinds.QUInt8, tensors_range=self.ranges, nodes_to_quantize=[], nodes_to_exclude=names,
            op_types_to_quantize=types, extra_options={},
        )  # fmt: skip

    def packed(self, bits: Mapping[str, int]) -> Any:
        """The graph with the weights of 4 bits in it."""
        from deploykit.surgery.quantization import mixed

        narrow = {name for name, count in bits.items() if count == _NARROW}
        return mixed.packed(self.model, narrow) if narrow else self.model

    def left(self, found: Sequence[Operator], bits: Mapping[str, int]) -> set[str]:
        """Names of the nodes that do not become integers, with the sums behind packed products."""
        names = {o.name for o in found if bits.get(o.name) != _INTEGER}
        return {*names, *(f"{name}_Add" for name, count in bits.items() if count == _NARROW), *self.spared}

    def made(self, found: Sequence[Operator], bits: Mapping[str, int]) -> Any:
        """The graph with some operators quantized."""
        from deploykit.surgery.quantization import mixed

        model = self.packed(bits)
        if _INTEGER not in bits.values():
            return model
        return mixed.quantized(model, self.quantizer, self.types, self.left(found, bits))


class _Damage(Stage):
    name = "onnx_operators"
    label = "operator ranking (ONNX)"
    help = "Quantizes every operator alone and measures what the outputs lose, and times it in float."
    requires = stages.REQUIRES
    uses = ("calibration", "per_channel", "operators", "lowest")
    needs = ("calibration",)
    copies = False
    seeded = False

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import graphs, mixed

        work = _Work(job)
        left = {*work.spared, *graphs.done_before(work.model.graph)}
        found = mixed.operators(work.model, work.types, left)
        if found:
            found = mixed.measured(
                work.model, found, work.quantizer, work.types, left, work.examples, narrow=job["lowest"] == "4"
            )
        (job.target / _OPERATORS).write_text(json.dumps([o.to_json() for o in found]), "utf-8")
        stages.linked(job)


class _Choice(Stage):
    name = "onnx_operators_timed"
    label = "timing of mixed precision (ONNX)"
    help = "Quantizes operators, those first that cost least for their time, until the model is as fast as asked for."
    requires = stages.REQUIRES
    uses = ("calibration", "per_channel", "operators", "lowest", "ratio", "exclude")
    needs = ("calibration",)
    copies = False
    timed = True
    seeded = False

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.surgery import layer_times
        from deploykit.surgery.quantization import mixed

        work, (found, free) = _Work(job), _operators(job)
        taken: dict[int, float] = {}

        def share(chosen: Sequence[Operator]) -> float:
            if len(chosen) not in taken:
                whole, part = layer_times.fastest([work.model, work.made(found, _integers(chosen))], _PATIENCE)
                taken[len(chosen)] = part / whole
                job.report(len(taken), len(taken) + 1, "timing mixed precision")
            return taken[len(chosen)]

        chosen = mixed.by_time(free, job["ratio"], share)
        told = {"names": [o.name for o in chosen], "took": [1.0, share(chosen), share(_able(free))]}
        (job.target / _CHOICE).write_text(json.dumps(told), "utf-8")
        (job.target / _OPERATORS).write_text((job.source / _OPERATORS).read_text("utf-8"), "utf-8")
        stages.linked(job)


_RANKED, _CHOSEN = _Damage(), _Choice()


class _OnnxRuntime(Variant):
    name = "onnxruntime"
    label = "mixed precision (ONNX Runtime)"
    help = "Pairs of quantizing and dequantizing nodes around the operators that become integer."
    requires = stages.REQUIRES
    accepts = stages.ACCEPTS
    produces = "onnx"
    uses = ("budget", "ratio", "lowest", "calibration", "per_channel", "operators", "rounding", "exclude")
    needs = ("calibration",)
    seeded = False
    stages = (*stages.STATIC, _RANKED, _CHOSEN)

    def stages_for(self, parameters: dict[str, Any]) -> tuple[Stage, ...]:
        """Ranges as for static quantization; nothing is timed for a size."""
        timed = (_CHOSEN,) if parameters["budget"] == "latency" else ()
        return (*stages.static(parameters["calibration"]), _RANKED, *timed)

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """What the budget leaves, between integers of 8 bits and floats."""
        least = 0.625 if parameters["lowest"] == "4" else 1.0
        return max(least, 4.0 * parameters["ratio"]) if parameters["budget"] == "size" else 1.0

    def unable(self, parameters: dict[str, Any]) -> str:
        """Weights of 4 bits are not faster."""
        if parameters["budget"] == "latency" and parameters["lowest"] == "4":
            return "weights of 4 bits are no faster than float: leave lowest=4 out for a budget of time"
        return super().unable(parameters)

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Integer activations somewhere."""
        return frozenset({"int8", "quantized"} if parameters["ratio"] < 1 else ())

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Layers in float."""
        return (FLOAT_LAYERS,)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Budgets that nothing or everything meets, layers without an integer operator."""
        yield from super().problems(parameters, facts)
        yield from settings.problems(parameters, facts, floating=("recurrent",))
        if parameters["ratio"] >= 1:
            yield Problem("pointless", "a ratio of 1 leaves everything in float: lower ratio")
        least = self.bytes_a_weight({**parameters, "ratio": 0.0}, facts) / 4
        if parameters["budget"] == "size" and parameters["ratio"] < least:
            words = f"{parameters['lowest']} bits and their scales are {100 * least:.3g} % of 32 bits"
            yield Problem("impossible", f"{words}: raise ratio")

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no node has."""
        yield from settings.unsuited(parameters, layers)

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.layers import onnx_loss
        from deploykit.surgery.quantization import mixed

        work, (found, free) = _Work(job), _operators(job)
        uniform = _integers(_able(free))
        if job["budget"] == "latency":
            told = json.loads((job.source / _CHOICE).read_text("utf-8"))
            bits, costs = _integers([o for o in free if o.name in told["names"]]), told["took"]
            job.notes["time_left"] = round(costs[1], 3)
        else:
            whole = mixed.taken(found, {})
            bits = mixed.by_size(found, free, job["ratio"] * whole)
            costs = [whole, *(mixed.taken(found, some) for some in (bits, uniform))]
            job.notes["weight_bytes"] = [round(value) for value in costs[:2]]
        if costs[1] > job["ratio"] * costs[0]:
            _missed(job, costs[1] / costs[0], left=len(free) < len(found))
        wanted = onnx_loss.answers(work.model, work.examples)
        lost = [mixed.damage_of(partial(work.made, found, some), wanted, work.examples)[0] for some in (bits, uniform)]
        # Operators by themselves do not show what they do together.
        if lost[1] <= lost[0] and costs[2] <= job["ratio"] * costs[0]:
            bits, lost = uniform, lost[1:] * 2
        job.notes |= {
            "bits": {o.name: bits.get(o.name, _FLOAT) for o in found},
            "damage": [float(f"{value:.3g}") for value in lost],
        }
        if problems := {o.name: o.problem for o in found if o.problem}:
            job.notes["not_quantized"] = problems
        job.notes[UNITS] = self._written(job, work, found, bits)

    def _written(
        self, job: TransformJob, work: _Work, found: Sequence[Operator], bits: Mapping[str, int]
    ) -> list[list[Any]]:
        """Write the file; gives its units."""
        from deploykit.surgery.quantization import learned, mixed, prepare, write

        model, told, learns = work.packed(bits), dict[str, float](), job["rounding"] == "learned"
        narrow = {name for name, count in bits.items() if count == _NARROW}
        if learns and narrow:
            model = mixed.packed(work.model, narrow, batches_of(job, work.model), told)
            job.notes["rounding"] = learned.notes(told)
        units = [[o.name, o.type, o.weights] for o in found if bits.get(o.name) == _NARROW]
        if _INTEGER not in bits.values() and units:
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


def _integers(chosen: Iterable[Operator]) -> dict[str, int]:
    """Those with 8 bits each."""
    return {o.name: _INTEGER for o in chosen}


def _able(found: Sequence[Operator]) -> list[Operator]:
    """Those that can be quantized at all."""
    from deploykit.surgery.quantization.mixed import RUINED

    return [o for o in found if o.damage < RUINED]


def _operators(job: TransformJob) -> tuple[list[Operator], list[Operator]]:
    """All operators that the stage has measured, and those of them that ``exclude`` leaves."""
    from deploykit.surgery import selection
    from deploykit.surgery.quantization import write
    from deploykit.surgery.quantization.mixed import Operator

    found = [Operator.from_json(plain) for plain in json.loads((job.source / _OPERATORS).read_text("utf-8"))]
    parts = write.parts_of(stages.graph(job.source).graph)
    left = selection.excluded(job["exclude"], parts, "node", "operator")
    return found, [o for o in found if o.name not in left]


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
            "Runtime on this CPU, one example on one thread.", choices=("size", "latency"), shown=True,
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
    variants = (_OnnxRuntime(),)
    excluding = settings.EXCLUDE.name
    careful: ClassVar[dict[str, Value]] = {"per_channel": True}

    def following(self, values: dict[str, Any], facts: Facts) -> dict[str, Value]:
        """What the layers of the model ask for."""
        del values
        return settings.following(facts)


ADAPTER = QuantizeMixed()

"""Work that the files of mixed precision share: operators ranked by what the outputs lose to them, and timed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.loading.tflite import ADAPTER as TFLITE
from deploykit.surgery import selection
from deploykit.transforms._contract import Stage, TransformJob
from deploykit.transforms._quantizing import stages

if TYPE_CHECKING:
    from deploykit.surgery.mixing.budget import Operator
    from deploykit.surgery.mixing.tflite_mixing import Mixing

#: Files of the stages: all operators, and the names of those to quantize with what the budget took.
OPERATORS, CHOICE = "operators.json", "choice.json"
#: Files of the stage of TFLite: the model, and the ranges of its tensors.
FILE, RANGES = "model.tflite", "ranges.json"
#: Bits of a float, of an integer, and of the weights that are only stored as such.
FLOAT, INTEGER, NARROW = 32, 8, 4
#: What the variant for TFLite files needs.
LITERT = ("ai_edge_litert", "litert_quantizer")
#: The model is timed so many times as long as a layer by itself: differences of a few percents decide.
_PATIENCE = 5


class OnnxWork:
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
        from deploykit.surgery.mixing import onnx_mixing as mixed

        narrow = {name for name, count in bits.items() if count == NARROW}
        return mixed.packed(self.model, narrow) if narrow else self.model

    def left(self, found: Sequence[Operator], bits: Mapping[str, int]) -> set[str]:
        """Names of the nodes that do not become integers, with the sums behind packed products."""
        names = {o.name for o in found if bits.get(o.name) != INTEGER}
        return {*names, *(f"{name}_Add" for name, count in bits.items() if count == NARROW), *self.spared}

    def made(self, found: Sequence[Operator], bits: Mapping[str, int]) -> Any:
        """The graph with some operators quantized."""
        from deploykit.surgery.mixing import onnx_mixing as mixed

        model = self.packed(bits)
        if INTEGER not in bits.values():
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
        from deploykit.surgery.mixing import onnx_mixing as mixed
        from deploykit.surgery.quantization import graphs

        work = OnnxWork(job)
        left = {*work.spared, *graphs.done_before(work.model.graph)}
        found = mixed.operators(work.model, work.types, left)
        if found:
            found = mixed.measured(
                work.model, found, work.quantizer, work.types, left, work.examples, narrow=job["lowest"] == "4"
            )
        (job.target / OPERATORS).write_text(json.dumps([o.to_json() for o in found]), "utf-8")
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

        work, (found, free) = OnnxWork(job), operators(job)

        def share(chosen: Sequence[Operator]) -> float:
            whole, part = layer_times.fastest([work.model, work.made(found, integers(chosen))], _PATIENCE)
            return part / whole

        _choose(job, free, share)
        stages.linked(job)


def _choose(job: TransformJob, free: Sequence[Operator], share: Callable[[Sequence[Operator]], float]) -> None:
    """Find out which operators a budget of time makes integer, and leave that for the variant.

    Args:
        job: A stage's.
        free: The operators that may be quantized, measured.
        share: What share of the float model's time is left with some of them quantized.
    """
    from deploykit.surgery.mixing import budget

    taken: dict[int, float] = {}

    def known(chosen: Sequence[Operator]) -> float:
        if len(chosen) not in taken:
            taken[len(chosen)] = share(chosen)
            job.report(len(taken), len(taken) + 1, "timing mixed precision")
        return taken[len(chosen)]

    chosen = budget.by_time(free, job["ratio"], known)
    told = {"names": [o.name for o in chosen], "took": [1.0, known(chosen), known(able(free))]}
    (job.target / CHOICE).write_text(json.dumps(told), "utf-8")
    (job.target / OPERATORS).write_text((job.source / OPERATORS).read_text("utf-8"), "utf-8")


def timed(job: TransformJob, free: Sequence[Operator]) -> tuple[dict[str, int], list[float]]:
    """What `_choose` has found: bits of operators, and the shares of the float model's time that they leave."""
    told = json.loads((job.source / CHOICE).read_text("utf-8"))
    job.notes["time_left"] = round(told["took"][1], 3)
    return integers([o for o in free if o.name in told["names"]]), told["took"]


RANKED, CHOSEN = _Damage(), _Choice()


class _Ranked(Stage):
    name = "tflite_operators"
    label = "operator ranking (TFLite)"
    help = "Calibrates a TFLite file, quantizes every operator alone, and measures what the outputs lose."
    requires = LITERT
    needs = ("calibration",)
    copies = False
    seeded = False

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.surgery.mixing import tflite_mixing

        work = tflite_mixing.Mixing(job.source, job.examples, job.notes, job.report)
        found = work.measured()
        (job.target / OPERATORS).write_text(json.dumps([o.to_json() for o in found]), "utf-8")
        (job.target / RANGES).write_text(tflite_mixing.to_text(work.ranges), "utf-8")
        stages.link(job.source, job.target / FILE)


class _Timed(Stage):
    name = "tflite_operators_timed"
    label = "timing of mixed precision (TFLite)"
    help = "Quantizes operators, those first that cost least for their work, until LiteRT is as fast as asked for."
    requires = LITERT
    uses = ("ratio", "exclude")
    needs = ("calibration",)
    copies = False
    timed = True
    seeded = False

    def _prepare(self, job: TransformJob) -> None:
        work, (_, free) = tflite_work(job), tflite_operators(job)
        _choose(job, free, lambda chosen: work.share([o.name for o in chosen], _PATIENCE))
        for name in (FILE, RANGES):
            stages.link(job.source / name, job.target / name)


#: The stages of TFLite files.
TFLITE_RANKED, TFLITE_CHOSEN = _Ranked(), _Timed()


def tflite_work(job: TransformJob) -> Mixing:
    """The file in the folder of a stage, with what quantizing it needs."""
    from deploykit.surgery.mixing import tflite_mixing

    ranges = tflite_mixing.read((job.source / RANGES).read_text("utf-8"))
    return tflite_mixing.Mixing(job.source / FILE, job.examples, job.notes, job.report, ranges)


def tflite_operators(job: TransformJob) -> tuple[list[Operator], list[Operator]]:
    """All operators of a TFLite file that the stage has measured, and those of them that ``exclude`` leaves."""
    found = _measured(job)
    parts = [
        selection.Selectable(o.name, o.type, o.weights, not o.weights, TFLITE.kind_of(Layer(o.name, o.type)))
        for o in found
    ]
    left = selection.excluded(job["exclude"], parts, "operator", "type of operator")
    return found, [o for o in found if o.name not in left]


def _measured(job: TransformJob) -> list[Operator]:
    """What the stage before has written of the operators."""
    from deploykit.surgery.mixing.budget import Operator

    return [Operator.from_json(plain) for plain in json.loads((job.source / OPERATORS).read_text("utf-8"))]


def integers(chosen: Iterable[Operator]) -> dict[str, int]:
    """Those with 8 bits each."""
    return {o.name: INTEGER for o in chosen}


def able(found: Sequence[Operator]) -> list[Operator]:
    """Those that can be quantized at all."""
    from deploykit.surgery.mixing.budget import RUINED

    return [o for o in found if o.damage < RUINED]


def operators(job: TransformJob) -> tuple[list[Operator], list[Operator]]:
    """All operators that the stage has measured, and those of them that ``exclude`` leaves."""
    from deploykit.surgery.quantization import write

    found = _measured(job)
    parts = write.parts_of(stages.graph(job.source).graph)
    left = selection.excluded(job["exclude"], parts, "node", "operator")
    return found, [o for o in found if o.name not in left]

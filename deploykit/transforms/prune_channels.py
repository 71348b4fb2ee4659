"""Channel pruning: whole channels and neurons are removed, so that the model is a smaller dense one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.surgery import selection
from deploykit.transforms._channels import times
from deploykit.transforms._channels.ranks import (
    FILE,
    GRAPH,
    RANKS,
    GradientsOnnx,
    RankedKeras,
    RankedOnnx,
)
from deploykit.transforms._channels.times import TimesKeras, TimesOnnx
from deploykit.transforms._conditions import Condition, Without
from deploykit.transforms._contract import PRUNE, UNITS, Need, Stage, Transform, TransformJob, Variant
from deploykit.transforms._weights.onnx import REQUIRES
from deploykit.transforms._weights.settings import RECONSTRUCT

if TYPE_CHECKING:
    from deploykit.surgery.channels.budget import Expense
    from deploykit.surgery.channels.labels import Ranking
    from deploykit.transforms._channels.ranks import AnyTraced


class _Cutting(Variant):
    """What cutting channels is like in every format.

    Attributes:
        types: What a type of layers is called.
    """

    types: ClassVar[str]
    uses = ("ratio", "criterion", "budget", "multiple", "reconstruct", "exclude")
    needs = ("calibration", "train")
    keeps_layers = True

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Nothing where weights alone decide and stay as they are."""
        return self.finishing_needs(parameters).union(*(s.needs_for(parameters) for s in self.stages_for(parameters)))

    def finishing_needs(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Calibration data where weights are solved again."""
        return frozenset({"calibration"} if parameters["reconstruct"] and parameters["ratio"] else ())

    def examples(self, parameters: dict[str, Any], calibration: int, train: int) -> int:
        """Nothing is trained."""
        return calibration if self.needs_for(parameters) else 0

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Fewer weights in dense layers."""
        return frozenset({"smaller"} if parameters["ratio"] else ())

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Weights in float."""
        return (Without("quantized", "already quantized", "prune first", "prune the float model it was made from"),)

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """About half of the inputs and half of the outputs of a layer go with half of the channels."""
        kept = 1.0 - float(parameters["ratio"])
        return 4.0 * (kept**2 if parameters["budget"] == "channels" else kept)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Nothing is removed, or batches do not fit."""
        yield from super().problems(parameters, facts)
        if not parameters["ratio"]:
            yield Problem("pointless", "a ratio of 0 removes nothing")

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no layer has, and a criterion that looks at layers that are not there."""
        yield from selection.unsuited(parameters["exclude"], layers, "layer", self.types)
        if parameters["criterion"] == "batchnorm" and all(layer.type != "BatchNormalization" for layer in layers):
            yield Problem(
                "impossible",
                "the model has no batch normalization for criterion=batchnorm to look at: choose another criterion",
            )

    def _chosen(
        self, job: TransformJob, traced: AnyTraced, kinds: dict[str, str], spending: Callable[..., list[Expense]]
    ) -> tuple[list[Ranking], set[int]]:
        """The groups that may lose channels, and the components that go.

        Args:
            job: Has the settings, and the orders that the stage wrote down.
            traced: The model.
            kinds: Type of every layer by name.
            spending: What weights cost, for traced model, groups and kind of budget.
        """
        from deploykit.surgery.channels import labels
        from deploykit.surgery.channels.budget import spread
        from deploykit.surgery.channels.labels import Ranking

        orders = json.loads((job.source / RANKS).read_text("utf-8"))
        rankings = [
            Ranking(group, tuple((int(c), float(d)) for c, d in order))
            for group, order in zip(traced.groups(), orders, strict=True)
        ]
        free = _free(traced, rankings, kinds, job["exclude"], self.types)
        ratio, multiple, budget = job["ratio"], job["multiple"], job["budget"]
        costs: list[Expense] = []
        if budget == "channels":
            sizes = [len(ranking.group.components) for ranking in free]
            counts = [size - labels.kept_count(size, ratio, multiple) for size in sizes]
        else:
            timed = budget == "latency"
            costs = times.expenses(job.source, traced, free) if timed else spending(traced, free, budget)
            counts = spread(free, costs, ratio, multiple)
        gone = {c for ranking, count in zip(free, counts, strict=True) for c, _ in ranking.order[:count]}
        gone -= traced.labels.spared(free, gone)
        if ratio and not gone:
            raise UnsupportedModelError(
                f"A ratio of {ratio:g} removes no channel of the model.",
                remedy=f"raise ratio, or keep fewer than a multiple of {multiple} channels with multiple=1.",
            )
        shares = [1.0 - count / len(ranking.group.components) for count, ranking in zip(counts, free, strict=True)]
        whole, left = (sum(c.cost(kept) for c in costs) for kept in ([1.0] * len(free), shares))
        if left > (1.0 - ratio) * whole * (1.0 + 1e-6):
            saved = 100.0 * (1.0 - left / whole)
            job.notes["budget"] = f"{saved:.0f} % of the {budget} could be saved, not {100.0 * ratio:g} %"
        if budget == "latency":
            job.notes["expected_ms"] = [round(1e3 * whole, 4), round(1e3 * left, 4)]
        return free, gone

    def _time(self, job: TransformJob, traced: AnyTraced, models: Sequence[Any]) -> None:
        """Note what the model before and the one after take on one thread of this machine."""
        if job["budget"] == "latency":
            job.notes["measured_ms"] = [round(1e3 * times.taken(traced, model), 4) for model in models]

    def stages_for(self, parameters: dict[str, Any]) -> tuple[Stage, ...]:
        """TensorFlow only where there are gradients, times only where they count."""
        by_gradients, timing = parameters["criterion"] == "taylor", parameters["budget"] == "latency"
        *ranks, times = self.stages
        return (ranks[-1 if by_gradients else 0], *([times] if timing else []))


class _Keras(_Cutting):
    name = "keras"
    label = "channel pruning (Keras)"
    help = "Builds the same layers again with fewer channels. Needs no labels and no training."
    extra = "tensorflow"
    requires = ("tensorflow", "keras")
    group = "tensorflow"
    accepts = frozenset({"keras"})
    produces = "keras"
    types = "layer type"
    stages = (RankedKeras(), TimesKeras())

    def _apply(self, job: TransformJob) -> None:
        from deploykit.converters import _keras
        from deploykit.loading._keras.open import custom_objects
        from deploykit.surgery.channels import keras_cut, keras_expenses, keras_trace
        from deploykit.surgery.channels.keras_graph import flat
        from deploykit.surgery.reconstruction import keras_solve
        from deploykit.transforms._examples.keras import keras_examples

        model = _keras.load(replace(job, source=job.source / FILE))
        traced = keras_trace.trace(model)
        kinds = {name: type(layer).__name__ for name, layer in traced.flat.layers.items()}
        free, gone = self._chosen(job, traced, kinds, keras_expenses.expenses)
        solving = bool(gone and job["reconstruct"])
        custom = custom_objects(job.imports)
        made = keras_cut.cut(traced, gone, custom=custom, trusted=job.trusted, biases=solving)
        if solving:
            examples = keras_examples(model, traced.flat, job)
            _keras.make_stateless(model)
            stateful = _keras.make_stateless(made)
            keras_solve.reconstruct(traced, gone, flat(made), examples)
            for layer in made._flatten_layers():
                if layer.name in stateful:
                    layer.stateful = True
        _keras.save(made, job.target)
        self._time(job, traced, (model, made))
        sizes = [int(sum(math.prod(w.shape) for w in one.weights)) for one in (model, made)]
        job.notes |= _notes(traced, free, kinds, gone, sizes)


class _Onnx(_Cutting):
    name = "onnx"
    label = "channel pruning (ONNX)"
    help = "Cuts the graph itself: the same operators with fewer channels. Needs no labels and no training."
    requires = REQUIRES
    accepts = frozenset({"onnx"})
    produces = "onnx"
    types = "operator"
    stages = (RankedOnnx(), GradientsOnnx(), TimesOnnx())

    def _apply(self, job: TransformJob) -> None:
        from deploykit.loading._onnx.parts import weight_count
        from deploykit.surgery.channels.onnx_cut import cut
        from deploykit.surgery.channels.onnx_expenses import expenses
        from deploykit.surgery.channels.onnx_trace import trace
        from deploykit.surgery.quantization import prepare
        from deploykit.surgery.reconstruction.onnx_solve import reconstruct
        from deploykit.transforms._examples.onnx import examples_of

        onnx = require("onnx", "")
        traced = trace(onnx.load(str(job.source / GRAPH)))
        kinds = {node.name: node.op_type for node in traced.model.graph.node}
        free, gone = self._chosen(job, traced, kinds, expenses)
        made = cut(traced, gone)
        if gone and job["reconstruct"]:
            made = reconstruct(traced, gone, made, examples_of(traced.model, job))
        onnx.save(made, str(job.target))
        prepare.check_opens(job.target)
        self._time(job, traced, (traced.model, made))
        sizes = [weight_count(model) for model in (traced.model, made)]
        job.notes |= _notes(traced, free, kinds, gone, sizes)


class PruneChannels(Transform):
    """Whole channels are removed, with everything that belongs to them."""

    name = "prune_channels"
    label = "channel pruning"
    help = (
        "Removes whole channels and neurons and rewires what reads them: a smaller dense model, faster on every "
        "runtime. The remaining weights are solved again to make up for the loss, without labels."
    )
    family = PRUNE
    parameters = (
        Parameter(
            "ratio", "float", 0.5, "Share of the channels to remove, or of the budget to save.", minimum=0.0,
            maximum=0.95, step=0.05, unit="share", shown=True,
        ),
        Parameter(
            "criterion", "choice", "reconstruction",
            "What decides which channels go: the norm of their weights, the scale of their batch normalization, the "
            "mean size of their activation, what the loss changes by without them to first order (taylor: the loss of "
            "the labels, or without labels of the model's own answers; takes TensorFlow), or what the next layers lose "
            "when their other weights make up for it (the most accurate).",
            choices=("reconstruction", "activation", "taylor", "l1", "l2", "batchnorm"),
        ),
        Parameter(
            "budget", "choice", "channels",
            "What the ratio is a share of. channels: each layer loses the same share; parameters, macs or latency: "
            "layers that suffer less lose more, until the model as a whole has lost the share. latency is an estimate "
            "from times of layers, measured once for a store on the machine that builds, with ONNX Runtime on one "
            "thread: elsewhere other channels may be chosen, and the notes say what was saved.",
            choices=("channels", "parameters", "macs", "latency"),
        ),
        Parameter(
            "multiple", "int", 8,
            "Keep a multiple of so many channels where a layer has them: kernels are fastest at 8 or 16.",
            minimum=1, maximum=64, label="multiple of",
        ),
        RECONSTRUCT,
        selection.setting("layers", "layer or operator types", "keep all channels"),
    )  # fmt: skip
    variants = (_Keras(), _Onnx())
    excluding = "exclude"
    careful: ClassVar[dict[str, Value]] = {"ratio": 0.25}
    one_shot: ClassVar[dict[str, Value]] = {"reconstruct": False}


def _free(
    traced: AnyTraced, rankings: list[Ranking], kinds: dict[str, str], exclude: str, called: str
) -> list[Ranking]:
    """The groups that may lose channels; ``called``: what a type of layers is called."""
    owners = {producer.layer for producer, _ in traced.made}
    parts = [selection.Selectable(name, kind, follows=name not in owners) for name, kind in kinds.items()]
    left = selection.excluded(exclude, parts, "layer", called)
    return [ranking for ranking in rankings if left.isdisjoint(ranking.group.layers)]


def _notes(
    traced: AnyTraced, rankings: list[Ranking], kinds: dict[str, str], gone: set[int], sizes: list[int]
) -> dict[str, Any]:
    """Channels before and after, layer by layer, and the units that were changed."""
    from deploykit.surgery.channels import labels

    shrunk = [ranking.group for ranking in rankings if gone.intersection(ranking.group.components)]
    changed = {name for group in shrunk for name in group.layers}
    channels: dict[str, list[int]] = {}
    units: list[list[Any]] = []
    for producer, axis in traced.made:
        stays = labels.kept(traced.labels, axis, gone)
        if producer.layer in changed and producer.layer not in channels:
            channels[producer.layer] = [len(stays), int(stays.sum())]
            units.append([producer.layer, kinds[producer.layer], int(traced.constants[producer.weight].size)])
    found: dict[str, Any] = {"channels": channels, "weights": sizes, UNITS: units}
    if traced.frozen:
        found["keeps_channels"] = {kind: names[:5] for kind, names in sorted(traced.frozen.items())}
    return found


ADAPTER = PruneChannels()

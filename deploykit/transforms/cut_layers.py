"""Layer pruning: blocks and layers that the outputs hardly depend on are left out."""

from __future__ import annotations

import json
import math
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.surgery import selection
from deploykit.transforms._conditions import Condition, Without
from deploykit.transforms._contract import PRUNE, UNITS, Stage, Transform, TransformJob, Variant
from deploykit.transforms._weights.keras import Opened, opened
from deploykit.transforms._weights.onnx import GRAPH, REQUIRES, float_model
from deploykit.transforms._weights.settings import RECONSTRUCT

if TYPE_CHECKING:
    from deploykit.surgery.channels.keras_graph import Flat
    from deploykit.surgery.layers.spans import Span

#: Files of the stage: the Keras model, and spans with the damage of each, the smallest first.
_FILE = "model.keras"
_ORDER = "spans.json"
#: What is said of a model without spans.
_NOTHING = "no layer of the model can be cut: none gives the shape that it takes, and no block adds to its input"
_INSTEAD = "use prune_channels to make its layers smaller"


class _Measuring(Stage):
    help = "Skips every layer and block that keeps the shape, one at a time, and measures what the outputs lose."
    needs = ("calibration",)

    def _keep(self, job: TransformJob, ordered: Sequence[tuple[Span, float]]) -> None:
        """Write the spans down, in the order in which they are missed least.

        Raises:
            UnsupportedModelError: There are none.
        """
        if not ordered:
            raise UnsupportedModelError(f"{_NOTHING[0].upper()}{_NOTHING[1:]}.", remedy=f"{_INSTEAD}.")
        order = [[span.to_json(), damage] for span, damage in ordered]
        (job.target / _ORDER).write_text(json.dumps(order), "utf-8")


class _MeasuredOnnx(_Measuring):
    name = "onnx_layers"
    label = "layer ranking (ONNX)"
    requires = REQUIRES

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.surgery.layers import onnx_loss, onnx_spans
        from deploykit.transforms._examples.onnx import examples_of

        model = float_model(job)
        examples = examples_of(model, job)
        found = onnx_spans.spans(model, partial(onnx_loss.shapes, model, examples))
        require("onnx", "").save(model, str(job.target / GRAPH))
        self._keep(job, onnx_loss.ordered(model, found, examples) if found else [])


class _MeasuredKeras(_Measuring):
    name = "keras_layers"
    label = "layer ranking (Keras)"
    extra = "tensorflow"
    requires = ("tensorflow", "keras")
    group = "tensorflow"

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.surgery.layers import keras_loss, keras_spans

        model = opened(job)
        shutil.copyfile(job.source, job.target / _FILE)
        found = keras_spans.spans(model.model, model.flat)
        self._keep(job, keras_loss.ordered(model.flat, found, model.examples(job)) if found else [])


class _Cutting(Variant):
    """What cutting layers is like in every format.

    Attributes:
        types: What a type of layers is called.
    """

    types: ClassVar[str]
    uses = ("ratio", "count", "reconstruct", "exclude")
    needs = ("calibration",)
    keeps_layers = True

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Fewer layers, all of them dense."""
        return frozenset({"smaller"} if _anything(parameters) else ())

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Weights in float."""
        return (Without("quantized", "already quantized", "cut first", "cut the float model it was made from"),)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Nothing is cut, or batches do not fit."""
        yield from super().problems(parameters, facts)
        if not _anything(parameters):
            yield Problem("pointless", "a count or ratio of 0 cuts nothing")

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no layer has, and shapes that show that there is nothing to cut."""
        from deploykit.surgery.layers import spans

        yield from selection.unsuited(parameters["exclude"], layers, "layer", self.types)
        if spans.impossible(layers, facts.model.inputs):
            yield Problem("impossible", f"{_NOTHING}: {_INSTEAD}")

    @abstractmethod
    def _cut(self, job: TransformJob, damages: Mapping[Span, float]) -> tuple[list[Span], Mapping[str, str]]:
        """Write the model without the spans that `_chosen` gives; gives them and the types of all layers."""

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.layers.spans import Span

        plain = json.loads((job.source / _ORDER).read_text("utf-8"))
        damages = {Span.from_json(data): float(damage) for data, damage in plain}
        gone, kinds = self._cut(job, damages)
        job.notes |= {
            "cut": [[span.name, len(span.nodes), span.weights, round(damages[span], 4)] for span in gone],
            UNITS: [[span.name, kinds[span.name], span.weights] for span in gone],
        }

    def _solved(
        self, job: TransformJob, gone: Sequence[Span], cut: Callable[[], _Tried], solve: Callable[[], _Tried]
    ) -> Any:
        """The cut model, with its weights solved again where that pays.

        Args:
            job: Has the settings; gets the notes.
            gone: What is cut.
            cut: Gives the plain cut model.
            solve: Gives the same with other weights.
        """
        plain = cut()
        made, lost = plain, [plain.loss]
        if gone and job["reconstruct"]:
            found = solve()
            lost.append(found.loss)
            made = found
            if found.loss >= plain.loss or found.weights >= plain.before:  # layers without a bias get one
                made = plain
                job.notes["not_reconstructed"] = "solving the remaining weights again would not have paid"
        job.notes |= {"damage": [round(value, 4) for value in lost], "weights": [plain.before, made.weights]}
        return made.model


@dataclass(frozen=True)
class _Tried:
    """A cut model.

    Attributes:
        model: It.
        loss: What its outputs have lost.
        weights: How many weights it has.
        before: How many the original has.
    """

    model: Any
    loss: float
    weights: int
    before: int


class _Onnx(_Cutting):
    name = "onnx"
    label = "layer pruning (ONNX)"
    help = "Cuts the graph itself. Needs no labels and no training."
    requires = REQUIRES
    accepts = frozenset({"onnx"})
    produces = "onnx"
    types = "operator"
    stages = (_MeasuredOnnx(),)

    def _cut(self, job: TransformJob, damages: Mapping[Span, float]) -> tuple[list[Span], Mapping[str, str]]:
        from deploykit.loading._onnx.parts import weight_count
        from deploykit.surgery.channels.onnx_trace import trace
        from deploykit.surgery.layers import onnx_loss, onnx_spans
        from deploykit.surgery.layers.loss import loss
        from deploykit.surgery.quantization import prepare
        from deploykit.surgery.reconstruction import onnx_solve
        from deploykit.transforms._examples.onnx import examples_of

        onnx = require("onnx", "")
        model = onnx.load(str(job.source / GRAPH))
        sizes = {t.name: math.prod(t.dims) for t in model.graph.initializer}
        kinds = {node.name: node.op_type for node in model.graph.node}
        weights = {node.name: sum(sizes.get(i, 0) for i in node.input) for node in model.graph.node}
        gone = _chosen(kinds, weights, list(damages), job, self.types)
        examples = examples_of(model, job)
        wanted, before = onnx_loss.answers(model, examples), weight_count(model)

        def tried(made: Any) -> _Tried:
            return _Tried(made, loss(wanted, onnx_loss.answers(made, examples)), weight_count(made), before)

        cut = onnx_spans.skipped(model, [(span.start, span.end) for span in gone])
        made = self._solved(
            job, gone, lambda: tried(cut), lambda: tried(onnx_solve.reconstruct(trace(model), (), cut, examples))
        )
        onnx.save(made, str(job.target))
        prepare.check_opens(job.target)
        job.notes["nodes"] = [len(model.graph.node), len(made.graph.node)]
        return gone, kinds


class _Keras(_Cutting):
    name = "keras"
    label = "layer pruning (Keras)"
    help = "Builds the model again without some layers. Needs no labels and no training."
    extra = "tensorflow"
    requires = ("tensorflow", "keras")
    group = "tensorflow"
    accepts = frozenset({"keras"})
    produces = "keras"
    types = "layer type"
    stages = (_MeasuredKeras(),)

    def _cut(self, job: TransformJob, damages: Mapping[Span, float]) -> tuple[list[Span], Mapping[str, str]]:
        from deploykit.converters import _keras
        from deploykit.loading._keras.open import custom_objects
        from deploykit.surgery.channels import keras_cut, keras_trace
        from deploykit.surgery.channels.keras_graph import flat, named
        from deploykit.surgery.layers import keras_loss, keras_spans
        from deploykit.surgery.layers.loss import loss
        from deploykit.surgery.reconstruction import keras_solve

        given = opened(replace(job, source=job.source / _FILE))
        model, steps = given.model, given.flat
        kinds = {name: type(layer).__name__ for name, layer in steps.layers.items()}
        weights = {name: _count(layer) for name, layer in steps.layers.items()}
        gone = _chosen(kinds, weights, list(damages), job, self.types)
        ways = [(span.start, span.end) for span in gone]
        examples = given.examples(job)
        wanted, before = keras_loss.answers(steps, examples), _count(model)
        custom = custom_objects(job.imports)

        def tried(whole: Any, its: Flat) -> _Tried:
            lost = loss(wanted, keras_loss.answers(keras_spans.skipped(its, ways), examples))
            made = keras_spans.cut(whole, its, ways, custom=custom, trusted=job.trusted)
            return _Tried(made, lost, _count(made), before)

        def solve() -> _Tried:
            traced = keras_trace.trace(model)
            whole = keras_cut.cut(traced, (), custom=custom, trusted=job.trusted, biases=True)
            _keras.make_stateless(whole)
            its = flat(whole)
            keras_solve.reconstruct(traced, (), keras_spans.skipped(its, ways), examples)
            return tried(whole, its)

        made = self._solved(job, gone, lambda: tried(model, steps), solve)
        Opened(made, steps, given.carrying).save(job.target)
        job.notes["nodes"] = [len(steps.layers), len(named(made))]
        return gone, kinds


class CutLayers(Transform):
    """Layers and residual blocks are left out, what is missed least first."""

    name = "cut_layers"
    label = "layer pruning"
    help = (
        "Leaves out residual blocks and layers that keep the shape, in order of what the outputs lose without each on "
        "calibration data: a shallower model, faster on every runtime. The remaining weights are solved again to make "
        "up for the loss, without labels."
    )
    family = PRUNE
    parameters = (
        Parameter(
            "ratio", "float", 0.25, "Share of the layers and blocks that can be cut to cut, one at least.", minimum=0.0,
            maximum=1.0, step=0.05, unit="share", shown=True,
        ),
        Parameter(
            "count", "int", None, "How many layers and blocks to cut, instead of a share.", minimum=0, replaces="ratio"
        ),
        RECONSTRUCT,
        selection.setting("layers", "layer or operator types", "are not cut"),
    )  # fmt: skip
    variants = (_Keras(), _Onnx())
    excluding = "exclude"
    careful: ClassVar[dict[str, Value]] = {"count": 1}
    one_shot: ClassVar[dict[str, Value]] = {"reconstruct": False}

    def describe(self, given: dict[str, Any]) -> str:
        """With the count instead of the share where there is one."""
        count = self.complete(given)["count"]
        if count is None:
            return super().describe(given)
        others = super().describe({name: value for name, value in given.items() if name not in {"count", "ratio"}})
        share = super().describe({})
        return others.replace(share, f"{self.label} {count} {'layer' if count == 1 else 'layers'}", 1)


def _anything(parameters: dict[str, Any]) -> bool:
    return bool(parameters["ratio"] if parameters["count"] is None else parameters["count"])


def _chosen(
    kinds: Mapping[str, str], weights: Mapping[str, int], ordered: Sequence[Span], job: TransformJob, called: str
) -> list[Span]:
    """The spans to cut.

    Args:
        kinds: Type of every layer, by its name.
        weights: How many weights it has.
        ordered: The spans in the order in which they are missed least.
        job: Has the settings.
        called: What a type of layers is called.

    Raises:
        UnsupportedModelError: There are fewer than that, or none is left by ``exclude``.
    """
    from deploykit.surgery.layers.spans import chosen, separate

    heads = {span.name for span in ordered}
    parts = [selection.Selectable(name, kind, weights[name], name not in heads) for name, kind in kinds.items()]
    left = selection.excluded(job["exclude"], parts, "layer", called)
    plain = ",".join(piece for piece in job["exclude"].split(",") if not piece.strip().startswith(selection.NOT))
    kept = selection.excluded(plain, parts, "layer", called)  # also where they are inside a block
    free = [span for span in ordered if span.name not in left and kept.isdisjoint(span.nodes)]
    most = separate(free)
    count = job["count"]
    if count is None:
        count = max(1, math.floor(most * job["ratio"])) if job["ratio"] else 0
    if count > most or (count and not most):
        raise UnsupportedModelError(
            f"{count} layers and blocks were to be cut, but only {most} of the model can be"
            f"{', apart from those left out by exclude' if len(free) < len(ordered) else ''}.",
            remedy="lower count, or leave out fewer layers with exclude.",
        )
    return chosen(free, count)


def _count(layer: Any) -> int:
    """Weights of a Keras layer or model."""
    return int(sum(math.prod(weight.shape) for weight in getattr(layer, "weights", ())))


ADAPTER = CutLayers()

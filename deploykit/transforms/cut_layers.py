"""Layer pruning: blocks and layers that the outputs hardly depend on are left out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.loading._onnx_parts import weight_count
from deploykit.surgery import selection
from deploykit.surgery.channels.onnx_trace import trace
from deploykit.surgery.layers import onnx_loss
from deploykit.surgery.layers.onnx_spans import Span, chosen, separate, skipped, spans
from deploykit.surgery.quantization import prepare
from deploykit.surgery.reconstruction.onnx_solve import reconstruct
from deploykit.transforms._conditions import Condition, Without
from deploykit.transforms._contract import PRUNE, UNITS, Stage, Transform, TransformJob, Variant
from deploykit.transforms._onnx_examples import examples_of
from deploykit.transforms._onnx_weights import GRAPH, REQUIRES, float_model
from deploykit.transforms._settings import RECONSTRUCT

#: File of the stage: spans and the damage of each, the smallest first.
_ORDER = "spans.json"


class _Measured(Stage):
    name = "onnx_layers"
    label = "layer ranking (ONNX)"
    help = "Skips every layer and block that keeps the shape, one at a time, and measures what the outputs lose."
    requires = REQUIRES
    needs = ("calibration",)

    def _prepare(self, job: TransformJob) -> None:
        model = float_model(job)
        examples = examples_of(model, job)
        found = spans(model, partial(onnx_loss.shapes, model, examples))
        if not found:
            raise UnsupportedModelError(
                "No layer of the model can be cut: none gives the shape that it takes, and no block adds to its input.",
                remedy="use prune_channels to make its layers smaller.",
            )
        require("onnx", "").save(model, str(job.target / GRAPH))
        order = [[span.to_json(), damage] for span, damage in onnx_loss.ordered(model, found, examples)]
        (job.target / _ORDER).write_text(json.dumps(order), "utf-8")


class _Onnx(Variant):
    name = "onnx"
    label = "layer pruning (ONNX)"
    help = "Cuts the graph itself. Needs no labels and no training."
    requires = REQUIRES
    accepts = frozenset({"onnx"})
    produces = "onnx"
    uses = ("ratio", "count", "reconstruct", "exclude")
    needs = ("calibration",)
    stages = (_Measured(),)

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

    def _apply(self, job: TransformJob) -> None:
        onnx = require("onnx", "")
        model = onnx.load(str(job.source / GRAPH))
        plain = json.loads((job.source / _ORDER).read_text("utf-8"))
        damages = {Span.from_json(data): float(damage) for data, damage in plain}
        gone = _chosen(model, list(damages), job)
        ways = [(span.start, span.end) for span in gone]
        made = cut = skipped(model, ways)
        examples = examples_of(model, job)
        wanted = onnx_loss.answers(model, examples)
        lost = [onnx_loss.loss(wanted, onnx_loss.answers(cut, examples))]
        if gone and job["reconstruct"]:
            made = reconstruct(trace(model), (), cut, examples)
            lost.append(onnx_loss.loss(wanted, onnx_loss.answers(made, examples)))
            if lost[1] >= lost[0] or weight_count(made) >= weight_count(model):  # layers without a bias get one
                made = cut
                job.notes["not_reconstructed"] = "solving the remaining weights again would not have paid"
        onnx.save(made, str(job.target))
        prepare.check_opens(job.target)
        kinds = {node.name: node.op_type for node in model.graph.node}
        job.notes |= {
            "cut": [[span.name, len(span.nodes), span.weights, round(damages[span], 4)] for span in gone],
            "damage": [round(value, 4) for value in lost],
            "nodes": [len(model.graph.node), len(made.graph.node)],
            "weights": [weight_count(model), weight_count(made)],
            UNITS: [[span.name, kinds[span.name], span.weights] for span in gone],
        }


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
        Parameter("count", "int", None, "How many layers and blocks to cut, instead of a share.", minimum=0),
        RECONSTRUCT,
        selection.setting("layers", "operator types", "are not cut"),
    )  # fmt: skip
    variants = (_Onnx(),)
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


def _chosen(model: Any, ordered: Sequence[Span], job: TransformJob) -> list[Span]:
    """The spans to cut.

    Raises:
        UnsupportedModelError: There are fewer than that, or none is left by ``exclude``.
    """
    sizes = {t.name: math.prod(t.dims) for t in model.graph.initializer}
    named = {span.name for span in ordered}
    parts = [
        selection.Selectable(n.name, n.op_type, sum(sizes.get(i, 0) for i in n.input), n.name not in named)
        for n in model.graph.node
    ]
    left = selection.excluded(job["exclude"], parts, "layer", "operator")
    plain = ",".join(piece for piece in job["exclude"].split(",") if not piece.strip().startswith(selection.NOT))
    kept = selection.excluded(plain, parts, "layer", "operator")  # also where they are inside a block
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


ADAPTER = CutLayers()

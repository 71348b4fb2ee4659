"""Graph simplification: the same function with fewer nodes, so that later steps see a plain graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter
from deploykit.core.problem import Facts, Problem
from deploykit.transforms._conditions import Condition, Without
from deploykit.transforms._contract import Family, Transform, TransformJob, Variant
from deploykit.transforms._quantizing import settings
from deploykit.transforms._weights.onnx import REQUIRES, float_model


class _Onnx(Variant):
    name = "onnx"
    label = "graph simplification (ONNX)"
    help = (
        "Folds constants and BatchNorms, removes dead nodes, writes out known shapes; or fuses attention. Compared on "
        "random inputs."
    )
    requires = (*REQUIRES, "onnxslim")
    accepts = frozenset({"onnx"})
    produces = "onnx"
    uses = ("fuse",)
    seeded = False

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Fusing attention where there is none."""
        if parameters["fuse"] == "attention" and layers and not settings.attends(facts):
            yield Problem("impossible", "fuse=attention: the model has no attention")

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Weights in float: in a quantized graph, what looks constant must stay beside what it quantizes."""
        return (Without("quantized", "already quantized", "simplify first", "simplify the float model"),)

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.onnx_fusion import fused
        from deploykit.surgery.onnx_simplify import simplified

        onnx = require("onnx", "")
        before = len(onnx.load(str(job.source), load_external_data=False).graph.node)
        if job["fuse"] == "attention":
            made, job.notes["fused"], reason = fused(float_model(job))
        else:
            made, reason = simplified(float_model(job))
        onnx.save(made, str(job.target))
        job.notes["nodes"] = [before, len(made.graph.node)]
        if reason:
            job.notes["not_compared"] = reason


class SimplifyGraph(Transform):
    """The same function with fewer nodes."""

    name = "simplify_graph"
    label = "graph simplification"
    help = (
        "Folds constants, removes dead nodes and writes out shapes that are known: later steps find more to prune and "
        "quantize. Runtimes do most of this when they load a model, so it is hardly faster by itself."
    )
    parameters = (
        Parameter(
            "fuse",
            "choice",
            "constants",
            "attention: ONNX Runtime's transformer optimizer makes attention, layer normalization and GELU one "
            "operator each, which quantization then sees as a whole. The file runs in ONNX Runtime only; graphs that "
            "it does not recognize are refused.",
            choices=("constants", "attention"),
            late=True,
        ),
    )
    family = Family("simplify", "triangle-right", 5)
    variants = (_Onnx(),)


ADAPTER = SimplifyGraph()

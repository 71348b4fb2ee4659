"""The stages that time the layers of a model for channel pruning within a latency budget.

What was measured is kept like the work of any stage, so that all candidates of a store are chosen by the same times.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.extras import require
from deploykit.transforms._channels.ranks import FILE, GRAPH, RANKS
from deploykit.transforms._contract import Stage, TransformJob
from deploykit.transforms._quantizing.stages import link
from deploykit.transforms._weights.onnx import REQUIRES

if TYPE_CHECKING:
    from deploykit.surgery.channels.budget import Expense
    from deploykit.surgery.channels.labels import Ranking
    from deploykit.surgery.layer_times import Times
    from deploykit.transforms._channels.ranks import AnyTraced

#: File of the stages.
_TIMES = "times.json"


class _Timed(Stage):
    copies = False
    timed = True
    seeded = False
    file: ClassVar[str]

    def _keep(self, job: TransformJob, times: Times) -> None:
        (job.target / _TIMES).write_text(json.dumps(times.to_json()), "utf-8")
        for name in (self.file, RANKS):
            link(job.source / name, job.target / name)


class TimesOnnx(_Timed):
    name = "onnx_times"
    label = "timing of layers (ONNX)"
    help = "Times each convolution and product at a few widths, and the model whole and with half of its channels."
    requires = REQUIRES
    file = GRAPH

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.surgery import layer_times
        from deploykit.surgery.channels.onnx_cut import cut
        from deploykit.surgery.channels.onnx_trace import trace
        from deploykit.surgery.reconstruction import onnx_linear

        traced = trace(require("onnx", "").load(str(job.source / GRAPH)))
        layers = list(onnx_linear.layers(traced).values())
        times = layer_times.measure(traced, layers, job.report)

        def smaller(gone: Iterable[int]) -> Any:
            return cut(traced, set(gone))

        self._keep(job, layer_times.fitted(times, traced, layers, smaller))


class TimesKeras(_Timed):
    name = "keras_times"
    label = "timing of layers (Keras)"
    help = "Times each convolution and product at a few widths, in ONNX Runtime."
    extra = "tensorflow"
    requires = ("tensorflow", "keras", *REQUIRES)
    group = "tensorflow"
    file = FILE

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.converters import _keras
        from deploykit.surgery import layer_times
        from deploykit.surgery.channels import keras_trace
        from deploykit.surgery.reconstruction import keras_linear

        traced = keras_trace.trace(_keras.load(replace(job, source=job.source / FILE)))
        self._keep(job, layer_times.measure(traced, list(keras_linear.layers(traced.flat).values()), job.report))


def expenses(folder: Path, traced: AnyTraced, rankings: list[Ranking]) -> list[Expense]:
    """What layers cost in seconds, from the folder of a stage."""
    from deploykit.surgery.layer_times import Times

    times = Times.from_json(json.loads((folder / _TIMES).read_text("utf-8")))
    return times.expenses(traced, _layers(traced), rankings)


def taken(traced: AnyTraced, model: Any) -> float:
    """Seconds that a model takes now: an ONNX file itself, of a Keras model the sum of its layers."""
    from deploykit.surgery import layer_times
    from deploykit.surgery.channels import keras_trace
    from deploykit.surgery.channels.onnx_axes import Traced
    from deploykit.surgery.reconstruction import keras_linear

    if isinstance(traced, Traced):
        return layer_times.seconds(model)
    now = keras_trace.trace(model)
    layers = list(keras_linear.layers(now.flat).values())
    times = layer_times.measure(now, layers, lambda *_: None, shares=(1.0,))
    return sum(curve[-1][1] for curve in times.layers.values())


def _layers(traced: AnyTraced) -> list[Any]:
    from deploykit.surgery.channels.keras_axes import Traced as KerasTraced
    from deploykit.surgery.reconstruction import keras_linear, onnx_linear

    found = keras_linear.layers(traced.flat) if isinstance(traced, KerasTraced) else onnx_linear.layers(traced)
    return list(found.values())

"""Cross-layer equalization: the weights that make a channel and those that read it get one range."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.parameter import Parameter
from deploykit.core.problem import Effect
from deploykit.surgery import selection
from deploykit.transforms._conditions import Condition, Without
from deploykit.transforms._contract import QUANTIZE, UNITS, Transform, TransformJob
from deploykit.transforms._weights.keras import ABSORBS, KerasWeights
from deploykit.transforms._weights.kernels import Weights
from deploykit.transforms._weights.onnx import OnnxWeights, float_model

#: Layers are equalized when no scale differs more from 1 than by this.
_SETTLED = 1e-3
#: What equalizes each layer: gives the largest logarithm of a scale.
_Ways = Mapping[str, Callable[[], float]]


class _Equalizing(Weights):
    help = "Scales the channels between two convolutions or matrix products with nothing but ReLU or the like between."
    uses = ("rounds", "exclude")

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Other scales."""
        return frozenset({"rescaled"})

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Weights in float, each layer's own."""
        shared = Without("shared values", "a model with few values in each layer", "equalize before that")
        return (*super().expects(parameters), shared)

    def _equalize(
        self, job: TransformJob, parts: Sequence[selection.Selectable], left: set[str], ways: _Ways,
        stay: Mapping[str, str],
    ) -> None:  # fmt: skip
        """Equalize all layers, one after the other, until nothing changes.

        Args:
            job: Has the settings; gets the notes.
            parts: The layers.
            left: Names of those that are left out.
            ways: What equalizes each of the others that can be.
            stay: Why each of the others stays as it is.

        Raises:
            UnsupportedModelError: No layer can be equalized.
        """
        if not ways:
            some = "; ".join(f"{name}: {reason}" for name, reason in list(stay.items())[:3]) or "all are left out"
            raise UnsupportedModelError(
                f"No layer of the model can be equalized with those that read it ({some}).",
                remedy="leave equalize_layers out for this model, and quantize with per_channel.",
            )
        rounds, moved = 0, _SETTLED
        while rounds < job["rounds"] and moved >= _SETTLED:
            rounds, moved = rounds + 1, max(way() for way in ways.values())
            job.report(rounds, job["rounds"], "equalizing")
        job.notes |= {
            "equalized": len(ways), "rounds": rounds, "not_equalized": stay,
            UNITS: selection.units(parts, left | stay.keys()),
        }  # fmt: skip


class _Onnx(_Equalizing, OnnxWeights):
    name = "onnx"
    label = "equalization (ONNX)"

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.channels.onnx_axes import Traced
        from deploykit.surgery.weights import onnx_scales
        from deploykit.surgery.weights.scales import Stays

        traced = Traced(float_model(job))
        plain, scales = (onnx_scales.Scales(traced.model, traced.shapes, through=mode) for mode in (False, True))
        layers = [layer for node in traced.model.graph.node if (layer := scales.layer(node)) is not None]
        parts = [selection.Selectable(x.node.name, x.node.op_type, int(x.weights.size)) for x in layers]
        left = selection.excluded(job["exclude"], parts, "layer", self.types)
        job.notes["normalization_absorbed"] = [
            layer.node.name for layer in layers if layer.node.name not in left and plain.absorb(layer.node)
        ]
        ways, stay = dict[str, Callable[[], float]](), dict[str, str]()

        def equalize(node: Any, edits: Any) -> float:
            layer = scales.layer(node)  # with what the layers before have passed on to it
            return 0.0 if layer is None else scales.equalize(layer, edits)

        for layer in layers:
            if layer.node.name not in left:
                try:
                    ways[layer.node.name] = partial(equalize, layer.node, scales.edits(layer))
                except Stays as reason:
                    stay[layer.node.name] = str(reason)
        self._equalize(job, parts, left, ways, stay)
        self._save(traced.model, job)


class _Keras(_Equalizing, KerasWeights):
    name = "keras"
    label = "equalization (Keras)"
    help = f"{_Equalizing.help} {ABSORBS}"

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.weights import keras_scales
        from deploykit.surgery.weights.keras_normalization import absorb
        from deploykit.surgery.weights.scales import Stays

        model = self._open(job)
        scales = keras_scales.Scales(model.flat, through=True)
        steps = [layer.node for layer in scales.layers()]
        kernels = {(kernel.layer, kernel.part): kernel for kernel in self._read(model)}
        parts = self._parts([kernels[step.name, step.part] for step in steps])
        left = selection.excluded(job["exclude"], parts, "layer", self.types)
        job.notes["normalization_absorbed"] = list(absorb(model.flat, {step.name for step in steps} - left))
        ways, stay = dict[str, Callable[[], float]](), dict[str, str]()
        for step in steps:
            if step.name not in left:
                try:
                    ways[f"{step.name} {step.part}"] = partial(scales.equalize, step, scales.edits(step))
                except Stays as reason:
                    stay[step.name] = str(reason)
        self._equalize(job, parts, left, ways, stay)
        self._save(model, job)


class EqualizeLayers(Transform):
    """Scales of channels are moved between layers (Nagel et al. 2019, arXiv:1906.04721)."""

    name = "equalize_layers"
    label = "equalization"
    help = (
        "Divides each channel between two layers by √(r1·r2)/r2, where r1 and r2 are the ranges of the weights that "
        "make and read it: the model computes the same, and int8 with one scale per tensor loses less where channels "
        "differ in size. Neither smaller nor faster by itself, and with one scale per channel there is little to gain."
    )
    family = QUANTIZE
    parameters = (
        Parameter(
            "rounds", "int", 20, "Passes over all layers at most; fewer when nothing changes any more.", minimum=1,
            maximum=1000, step=1,
        ),
        selection.setting("layers", "layer or operator types", "are not equalized with what reads them"),
    )  # fmt: skip
    variants = (_Keras(), _Onnx())
    excluding = "exclude"


ADAPTER = EqualizeLayers()

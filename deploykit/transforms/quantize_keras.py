"""Keras 3's own quantization: dense layers and embeddings with integers of 8 or 4 bits, in a Keras file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.layers.kinds import LayerKind
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.loading._contract import FORMATS
from deploykit.surgery import selection
from deploykit.transforms._conditions import FLOAT_LAYERS, Condition
from deploykit.transforms._contract import QUANTIZE, UNITS, Transform, TransformJob, Variant
from deploykit.transforms._quantizing import settings

#: Bytes of a weight.
_BYTES = {"int8": 1.0, "int4": 0.5}
#: Classes that Keras 3 quantizes.
_CLASSES = ("Dense", "EinsumDense", "Embedding", "ReversibleEmbedding")
#: Kinds of layers that it leaves as they are.
_FLOAT: tuple[LayerKind, ...] = ("convolution", "depthwise", "attention", "recurrent", "other")


class _Keras(Variant):
    name = "keras"
    label = "Keras quantization"
    help = "Keras' own method on each layer that has one."
    extra = "tensorflow"
    requires = ("tensorflow", "keras")
    group = "tensorflow"
    accepts = frozenset({"keras"})
    produces = "keras"
    uses = ("mode", "exclude")
    seeded = False
    keeps_layers = True

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Integers, and what stays float."""
        left = facts.share(*_FLOAT)
        return 4.0 * left + _BYTES[parameters["mode"]] * (1.0 - left)

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Integers instead of weights; products of them where activations are quantized as well."""
        found: dict[Effect, bool] = {
            "quantized": True,
            "fully quantized": not parameters["exclude"],
            "integer products": parameters["mode"] == "int8",
        }
        return frozenset(effect for effect, here in found.items() if here)

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Layers in float."""
        return (FLOAT_LAYERS,)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Layers that stay float, and what becomes of the integers."""
        yield from super().problems(parameters, facts)
        yield from settings.problems(parameters, facts, floating=_FLOAT)
        if parameters["mode"] == "int4":
            yield Problem(
                "note",
                "ONNX and TFLite files that are made from it hold float32 again: the Keras file is what is small",
            )

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no layer has."""
        yield from selection.unsuited(parameters["exclude"], layers, "layer", "layer type")

    def _apply(self, job: TransformJob) -> None:
        from deploykit.converters import _keras

        base = require("keras", self.extra).layers.Layer
        form = FORMATS.get(self.produces)
        model = _keras.load(job)
        layers = {id(layer): layer for layer in _keras.all_layers(model)}.values()
        parts = [
            selection.Selectable(layer.name, kind, layer.count_params(), kind=form.kind_of(Layer(layer.name, kind)))
            for layer in layers
            if (kind := type(layer).__name__) and layer.weights
        ]
        left = selection.excluded(job["exclude"], parts, "layer", "layer type")
        chosen = [
            layer.name
            for layer in layers
            if type(layer).quantize is not base.quantize
            and layer.weights and layer.name not in left and not layer.quantization_mode
        ]  # fmt: skip
        if not chosen:
            raise UnsupportedModelError(
                f"Keras quantizes {', '.join(_CLASSES)}; of these the model has none in float to quantize: "
                f"its layers with weights are {', '.join(sorted({part.type for part in parts})) or 'none'}.",
                remedy="use quantize_weights, quantize_dynamic or quantize_static, which quantize convolutions too.",
            )
        for number, layer in enumerate(layers):
            if layer.name in chosen:
                layer.quantize(job["mode"])
            job.report(number + 1, len(layers), "layers")
        _keras.save(model, job.target)
        job.notes |= {
            UNITS: selection.units([part for part in parts if part.name in chosen], set()),
            "stays_float": {part.name: f"Keras has no quantized {part.type}" for part in parts
                            if part.name not in {*chosen, *left} and part.kind in _FLOAT},
        }  # fmt: skip


class QuantizeKeras(Transform):
    """Quantizes the layers that Keras 3 itself can quantize."""

    name = "quantize_keras"
    label = "Keras quantization"
    help = (
        "Keras 3's own quantization: a smaller .keras file and SavedModel, if dense layers and embeddings hold most "
        "weights. Convolutions stay float, and it was no faster in TensorFlow on the CPU it was measured on. "
        "quantize_weights and quantize_static are better for ONNX and TFLite files."
    )
    family = QUANTIZE
    parameters = (
        Parameter(
            "mode", "choice", "int8",
            "int8: weights, and activations on the fly; ONNX Runtime computes in integers, TFLite cannot convert it. "
            "int4: weights alone, with a scale for 128 of them. Keras' float8 stores float32, for training, and its "
            "gptq takes blocks of a language model.",
            choices=("int8", "int4"), shown=True,
        ),
        selection.setting("layers", "layer types", "stay float"),
    )  # fmt: skip
    variants = (_Keras(),)
    excluding = "exclude"


ADAPTER = QuantizeKeras()

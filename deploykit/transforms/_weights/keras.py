"""What techniques share that change the weights of Keras 3 models one kernel at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.transforms._contract import TransformJob
from deploykit.transforms._weights.kernels import Weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.surgery.channels.keras_graph import Flat
    from deploykit.surgery.reconstruction.walk import Examples
    from deploykit.surgery.weights.kernel import Kernel

#: Help of variants that multiply normalizations into kernels, after what all variants do.
ABSORBS = "A BatchNormalization behind a kernel is multiplied into it first, as converters do."


@dataclass
class Opened:
    """A Keras model that is changed in place.

    Attributes:
        model: The model.
        flat: The same as steps.
        carrying: Names of layers that carry state from call to call, and do so again in the file.
    """

    model: Any
    flat: Flat
    carrying: list[str] = field(default_factory=list)

    def examples(self, job: TransformJob) -> Examples:
        """The calibration inputs of a job; from then on each call of the model begins with fresh state."""
        from deploykit.converters import _keras
        from deploykit.transforms._examples.keras import keras_examples

        found = keras_examples(self.model, self.flat, job)
        self.carrying += _keras.make_stateless(self.model)
        return found

    def save(self, target: Path) -> None:
        """Write a ``.keras`` file."""
        from deploykit.converters import _keras

        self.carry(self.model)
        _keras.save(self.model, target)

    def carry(self, model: Any) -> None:
        """Let layers of a model carry state again, as those of the same names did."""
        for layer in model._flatten_layers():
            if layer.name in self.carrying:
                layer.stateful = True


def opened(job: TransformJob) -> Opened:
    """The float model of a job.

    Raises:
        UnsupportedModelError: It is quantized; names the layers.
    """
    from deploykit.converters import _keras
    from deploykit.surgery.channels.keras_graph import flat

    model = _keras.load(job)
    quantized = [layer.name for layer in _keras.all_layers(model) if getattr(layer, "quantization_mode", None)]
    if quantized:
        raise UnsupportedModelError(
            f"The model is already quantized: {', '.join(quantized[:3])}.",
            remedy="start from the float model it was made from, and quantize afterwards.",
        )
    return Opened(model, flat(model))


class KerasWeights(Weights):
    """Changes kernels of a Keras 3 model and nothing else."""

    extra = "tensorflow"
    requires = ("tensorflow", "keras")
    group = "tensorflow"
    accepts = frozenset({"keras"})
    produces = "keras"
    types = "layer type"

    def _open(self, job: TransformJob) -> Opened:
        return opened(job)

    def _read(self, model: Opened) -> list[Kernel]:
        from deploykit.surgery.weights import keras_kernels

        return keras_kernels.read(model.flat)

    def _write(self, model: Opened, rows: Sequence[NDArray[Any]]) -> None:
        from deploykit.surgery.weights import keras_kernels

        keras_kernels.write(model.flat, rows)

    def _save(self, model: Opened, job: TransformJob) -> None:
        model.save(job.target)

    def _norms(self, model: Opened, job: TransformJob) -> Mapping[tuple[str, str], NDArray[Any]]:
        from deploykit.surgery.reconstruction.keras_damage import input_norms

        return input_norms(model.flat, model.examples(job))

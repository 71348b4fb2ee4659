"""Rounding the weights of a quantized ONNX model again, so that what its layers give stays nearest.

See `deploykit.surgery.quantization.learned`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery.correction.biases import along
from deploykit.surgery.correction.onnx_biases import counterparts
from deploykit.surgery.onnx_wires import Wires
from deploykit.surgery.quantization import learned
from deploykit.surgery.quantization.moments import Batch, Moments, key
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.onnx_linear import linear

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class Rounded:
    """What was rounded again.

    Attributes:
        left: Layer → how much of the error of the nearest values is left in what it gives; 1 where they were kept.
        stay: Layer → why its weights are as they were.
    """

    left: dict[str, float] = field(default_factory=dict)
    stay: dict[str, str] = field(default_factory=dict)

    def notes(self) -> dict[str, Any]:
        """The same as notes."""
        found: dict[str, Any] = {"rounding": learned.notes(self.left)}
        return found | ({"rounded_to_nearest": self.stay} if self.stay else {})


@dataclass(frozen=True)
class _Grid:
    """Integer weights: the name of the tensor, what it holds, and the step of each, broadcast to it."""

    name: str
    stored: NDArray[Any]
    steps: NDArray[Any]


class _Weights(Wires):
    """The integer weights of a model."""

    def grid(self, node: Any) -> _Grid | str:
        """Those of a layer; the reason why they cannot be rounded again, "" where they are not integers."""
        import numpy as np

        maker = self._makers.get(node.input[1])
        if maker is None or maker.op_type != "DequantizeLinear" or not self._constants.keys() >= {*maker.input}:
            return ""
        if len(self._reads[node.input[1]]) > 1 or len(self._reads[maker.input[0]]) > 1:
            return "another node reads its weights as well"
        stored, scale, *zero = (self._value(name) for name in maker.input)
        if stored.dtype.name != "int8" or any(values.any() for values in zero) or scale.ndim > 1:
            return "its weights are stored in another form"
        axis = next((int(a.i) for a in maker.attribute if a.name == "axis"), 1)
        steps = scale.reshape(()) if scale.size == 1 else along(scale, axis, stored.ndim)
        return _Grid(maker.input[0], stored, np.where(steps > 0, steps, 1.0))

    def store(self, name: str, values: NDArray[Any]) -> None:
        """Let a constant hold something else."""
        self._store(name, values)


def learn(reference: Any, model: Any, batches: Iterable[Batch], report: Callable[[float, float, str], None]) -> Rounded:
    """Round the weights of all layers again; the model is changed in place, and its scales stay.

    Args:
        reference: A ``ModelProto``: the model in float.
        model: The same after quantization, with pairs of conversions around layers.
        batches: Calibration inputs by name, batch by batch; can be gone through several times.
        report: Called with the progress in layers.
    """
    import numpy as np

    numpy_helper = require("onnx.numpy_helper", "")
    found, weights, names = Rounded(), _Weights(model), counterparts(reference, model)
    constants = {t.name: t for t in reference.graph.initializer}
    nodes = {node.output[0]: node for node in reference.graph.node if node.output}
    layers: dict[str, tuple[Linear, _Grid]] = {}
    for node in model.graph.node:
        label, _, tensor = names.get(node.output[0] if node.output else "", ("", "", ""))
        if not label:
            continue
        old = nodes[tensor]
        held = {name: numpy_helper.to_array(constants[name]) for name in old.input[1:2] if name in constants}
        layer, grid = linear(old, held), weights.grid(node)
        if isinstance(grid, str):
            found.stay |= {label: grid} if grid else {}
        elif layer is None or layer.weights.shape != grid.stored.shape:
            found.stay[label] = "it is not a plain convolution or matrix product"
        elif reason := learned.too_large(layer):
            found.stay[label] = reason
        else:
            layers[label] = layer, grid
    read = Moments(reference, {key(layer.node): layer for layer, _ in layers.values()}, batches, parted=True)
    for number, (label, (layer, grid)) in enumerate(layers.items()):
        largest = int(np.abs(grid.stored.astype(np.int32)).max())
        places = layer.weights / grid.steps
        whole, found.left[label] = learned.rounded(layer, places, grid.steps, read, -largest, largest)
        if found.left[label] < 1:  # else it is left as ONNX Runtime has rounded it
            weights.store(grid.name, whole.astype(np.int8))
        report(number + 1, len(layers), "learning to round")
    return found

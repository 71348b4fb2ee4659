"""Scaling the outputs of layers of a Keras model, and undoing it in what reads them, so that the function stays.

This is what `deploykit.surgery.weights.onnx_scales` does with graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.surgery.channels.keras_graph import Flat, Step
from deploykit.surgery.layers.keras_chains import called
from deploykit.surgery.reconstruction.keras_linear import linear
from deploykit.surgery.reconstruction.linear import Linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Layers and functions that pass a positive scale on, channel by channel, and leave channels where they are.
_IN_PLACE = frozenset({
    "relu", "leaky_relu", "linear", "LeakyReLU", "Relu", "LeakyRelu", "PReLU", "Identity",
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
    *(f"{kind}{n}D" for n in (1, 2, 3) for kind in (
        "MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling", "UpSampling", "ZeroPadding",
        "Cropping",
    )),
})  # fmt: skip
#: What the names of those have in them that work along the other axes.
_SPATIAL = ("Pool", "UpSampling", "ZeroPadding", "Cropping")
#: Layers that move channels.
_MOVING = frozenset({"Flatten", "Reshape", "Permute", "Transpose"})
_LOST = "its channels cannot be followed"


@dataclass(frozen=True)
class _Edit:
    """A variable, and how it is to be multiplied."""

    variable: Any
    factor: NDArray[Any]


class _Stays(Exception):  # noqa: N818  it is not an error: the layer stays as it is
    """What is in the way of a scale."""


class Scales:
    """The layers of a model, and the scale of each output.

    Args:
        flat: The model, changed in place.
    """

    def __init__(self, flat: Flat) -> None:
        self._flat, self._calls = flat, flat.calls()
        self._reads: dict[str, list[Step]] = {}
        for step in flat.steps:
            for name in step.input:
                self._reads.setdefault(name, []).append(step)

    def layers(self) -> list[Linear]:
        """The convolutions and products, with their weights as they are now."""
        return [layer for step in self._flat.steps if (layer := linear(step)) is not None]

    def divide(self, step: Step, norms: Callable[[NDArray[Any]], NDArray[Any]]) -> str:
        """Divide each output of a layer by a number, and multiply what reads it.

        Args:
            step: The step of a layer from `layers`.
            norms: Gives the numbers, all above 0, for the weights of each output, shape (outputs, inputs of one).

        Returns:
            Why the layer stays as it is; "" when it was done.
        """
        import numpy as np

        layer = linear(step)
        assert layer is not None
        matrices = layer.matrices()
        scale = norms(matrices.transpose(0, 2, 1).reshape(-1, matrices.shape[1]))
        edits = [_Edit(_weights(step), 1.0 / _outward(step, scale))]
        try:
            if self._calls[step.name] > 1:
                raise _Stays("it is called several times")
            if getattr(step.op, "use_bias", False) and step.part != "depthwise":
                edits.append(_Edit(step.op.bias, 1.0 / scale))
            shape = self._shape(step.output[0])
            where = np.arange(len(scale)).reshape([-1, *[1] * (-layer.channels % len(shape) - 1)])
            self._follow(step.output[0], np.broadcast_to(where, shape), scale, edits)
        except _Stays as reason:
            return str(reason)
        for edit in edits:
            edit.variable.assign(np.asarray(edit.variable) * edit.factor)
        return ""

    def _follow(self, name: str, where: NDArray[Any], scale: NDArray[Any], edits: list[_Edit]) -> None:
        """Find what undoes the scales of a tensor's channels.

        Args:
            name: The tensor.
            where: The channel of each of its numbers for one example.
            scale: The scale of each channel.
            edits: Gets what is to be changed.

        Raises:
            _Stays: Something does not pass them on.
        """
        import numpy as np

        if name in self._flat.outputs:
            raise _Stays("it reaches an output of the model")
        axis = _axis(where)
        along = np.moveaxis(where, axis, -1).reshape(-1, where.shape[axis])[0]
        for reader in self._reads.get(name, []):
            words = f"it reaches {called(reader) or type(reader.op).__name__} ({reader.name})"
            if len(reader.input) != 1 or self._calls.get(reader.name, 1) > 1:
                raise _Stays(words)
            layer = linear(reader)
            if layer is not None and axis == layer.channels % where.ndim:
                edits.append(_Edit(_weights(reader), _inward(reader, layer, scale[along])))
            elif reader.kind == "BatchNormalization" and axis == reader.op.axis % where.ndim and reader.op.scale:
                edits += [
                    _Edit(reader.op.gamma, scale[along]), _Edit(reader.op.moving_mean, 1.0 / scale[along]),
                ]  # fmt: skip
            elif reader.kind in _MOVING:
                self._follow(reader.output[0], self._moved(reader, where), scale, edits)
            elif _passes(reader):
                place = _place(reader, axis, where.ndim, self._flat.shapes)
                shape = self._shape(reader.output[0])
                moved = along.reshape([-1, *[1] * (len(shape) - 1 - place)])
                self._follow(reader.output[0], np.broadcast_to(moved, shape), scale, edits)
            else:
                raise _Stays(words)

    def _moved(self, step: Step, where: NDArray[Any]) -> NDArray[Any]:
        """The channel of each number behind a step that moves them.

        Raises:
            _Stays: An open dimension hides where they go.
        """
        import numpy as np

        if None in (*self._flat.shapes[step.input[0]][1:], *self._flat.shapes[step.output[0]][1:]):
            raise _Stays(_LOST)
        found: NDArray[Any] = np.asarray(step.run({step.input[0]: where})[step.output[0]])
        if found.shape[:1] != (1,):
            raise _Stays(_LOST)
        return found

    def _shape(self, name: str) -> list[int]:
        """The shape of a tensor for one example, in which open dimensions are 1."""
        return [1, *(1 if size is None else size for size in self._flat.shapes[name][1:])]


def _passes(step: Step) -> bool:
    if step.kind == "ReLU":
        return step.op.max_value is None and not step.op.threshold
    return called(step) in _IN_PLACE


def _place(step: Step, axis: int, rank: int, shapes: dict[str, tuple[int | None, ...]]) -> int:
    """The axis of channels behind a step that does not move them.

    Raises:
        _Stays: It works along that axis.
    """
    if not any(word in step.kind for word in _SPATIAL):
        return axis
    first = getattr(step.op, "data_format", "channels_last") == "channels_first"
    if axis != (1 if first else rank - 1):
        raise _Stays(f"it reaches {step.kind} ({step.name})")
    return axis if len(shapes[step.output[0]]) == rank else 1


def _axis(where: NDArray[Any]) -> int:
    """The axis along which channels differ.

    Raises:
        _Stays: There is not just one.
    """
    found = [axis for axis in range(where.ndim) if (where != where.take([0], axis=axis)).any()]
    if len(found) != 1:
        raise _Stays(_LOST)
    return found[0]


def _weights(step: Step) -> Any:
    """The variable with the weights of a step."""
    return step.op.weights[1 if step.part == "pointwise" else 0]


def _outward(step: Step, scale: NDArray[Any]) -> NDArray[Any]:
    """Factors of the channels that a layer writes, in the shape of its weights."""
    own = step.part == "depthwise" or step.kind.startswith("Depthwise")
    return scale.reshape(_weights(step).shape[-2:]) if own else scale


def _inward(step: Step, layer: Linear, factors: NDArray[Any]) -> NDArray[Any]:
    """Factors of the channels that a layer reads, in the shape of its weights."""
    import numpy as np

    if layer.is_product or layer.groups == 1 or step.part == "depthwise" or step.kind.startswith("Depthwise"):
        return factors[:, None]
    each = factors.reshape(layer.groups, -1)  # a kernel is (…places, inputs of a group, outputs)
    return np.repeat(each, len(layer.weights) // layer.groups, axis=0).T

"""Scaling the outputs of layers of a Keras model; see `deploykit.surgery.weights.scales`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.surgery.channels.keras_graph import Flat, Step
from deploykit.surgery.layers.keras_chains import called
from deploykit.surgery.reconstruction.keras_linear import linear
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.weights.scales import LOST, Edit, Scaling, Stays, spread

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


class Scales(Scaling[Step]):
    """The layers of a model, and the scale of each output.

    Args:
        flat: The model, changed in place.
        through: See `Scaling`.
    """

    def __init__(self, flat: Flat, *, through: bool = False) -> None:
        reads: dict[str, list[Step]] = {}
        for step in flat.steps:
            for name in step.input:
                reads.setdefault(name, []).append(step)
        super().__init__(reads, flat.outputs, through=through)
        self._flat, self._calls = flat, flat.calls()

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
        layer = linear(step)
        assert layer is not None
        return self._divide(layer, norms)

    def edits(self, step: Step) -> list[Edit]:
        """What is to be changed when the outputs of a layer from `layers` are divided.

        Raises:
            Stays: The function would not stay the same.
        """
        layer = linear(step)
        assert layer is not None
        return self._edits(layer)

    def equalize(self, step: Step, edits: Sequence[Edit]) -> float:
        """Let the weights that make each channel of a layer reach as far as those that read it; see `Scaling`."""
        layer = linear(step)
        assert layer is not None
        return self._equalize(layer, edits)

    def _own(self, layer: Linear, channels: NDArray[Any]) -> list[Edit]:
        step = layer.node
        if self._calls[step.name] > 1:
            raise Stays("it is called several times")
        biased = getattr(step.op, "use_bias", False) and step.part != "depthwise"
        return [Edit(step.op.bias, channels, inverse=True)] if biased else []

    def _met(
        self, reader: Step, name: str, where: NDArray[Any], axis: int, along: NDArray[Any]
    ) -> tuple[list[Edit], NDArray[Any] | None]:
        import numpy as np

        words = f"it reaches {called(reader) or type(reader.op).__name__} ({reader.name})"
        if len(reader.input) != 1 or self._calls.get(reader.name, 1) > 1:
            raise Stays(words)
        layer = linear(reader)
        if layer is not None and axis == layer.channels % where.ndim:
            return [Edit(_weights(reader), _inward(reader, layer, along), reads=True)], None
        if reader.kind == "BatchNormalization" and axis == reader.op.axis % where.ndim:
            mean = Edit(reader.op.moving_mean, along, inverse=True)
            if self._through:
                return [mean, *([Edit(reader.op.beta, along, inverse=True)] if reader.op.center else [])], where
            if reader.op.scale:
                return [Edit(reader.op.gamma, along), mean], None
        if reader.kind in _MOVING:
            return [], self._moved(reader, where)
        if not _passes(reader):
            raise Stays(words)
        place = _place(reader, axis, where.ndim, self._flat.shapes)
        shape = self._shape(reader.output[0])
        return [], np.broadcast_to(spread(along, place, len(shape)), shape)

    def _scale(self, layer: Linear, scale: NDArray[Any]) -> None:
        variable = _weights(layer.node)
        self._put(variable, self._get(variable) / _outward(layer.node, scale))

    def _get(self, what: Any) -> NDArray[Any]:
        import numpy as np

        return np.asarray(what)

    def _put(self, what: Any, values: NDArray[Any]) -> None:
        what.assign(values)

    def _moved(self, step: Step, where: NDArray[Any]) -> NDArray[Any]:
        """The channel of each number behind a step that moves them.

        Raises:
            Stays: An open dimension hides where they go.
        """
        import numpy as np

        if None in (*self._flat.shapes[step.input[0]][1:], *self._flat.shapes[step.output[0]][1:]):
            raise Stays(LOST)
        found: NDArray[Any] = np.asarray(step.run({step.input[0]: where})[step.output[0]])
        if found.shape[:1] != (1,):
            raise Stays(LOST)
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
        Stays: It works along that axis.
    """
    if not any(word in step.kind for word in _SPATIAL):
        return axis
    first = getattr(step.op, "data_format", "channels_last") == "channels_first"
    if axis != (1 if first else rank - 1):
        raise Stays(f"it reaches {step.kind} ({step.name})")
    return axis if len(shapes[step.output[0]]) == rank else 1


def _weights(step: Step) -> Any:
    """The variable with the weights of a step."""
    return step.op.weights[1 if step.part == "pointwise" else 0]


def _outward(step: Step, scale: NDArray[Any]) -> NDArray[Any]:
    """Factors of the channels that a layer writes, in the shape of its weights."""
    own = step.part == "depthwise" or step.kind.startswith("Depthwise")
    return scale.reshape(_weights(step).shape[-2:]) if own else scale


def _inward(step: Step, layer: Linear, along: NDArray[Any]) -> NDArray[Any]:
    """The channels that a layer reads, in the shape of its weights."""
    import numpy as np

    if layer.is_product or layer.groups == 1 or step.part == "depthwise" or step.kind.startswith("Depthwise"):
        return along[:, None]
    each = along.reshape(layer.groups, -1)  # a kernel is (…places, inputs of a group, outputs)
    return np.repeat(each, len(layer.weights) // layer.groups, axis=0).T

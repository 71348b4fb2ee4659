"""The layers of a Keras model that are products with weights, as least squares sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.surgery.channels.keras_graph import PRODUCTS, SEPARABLE, Flat, Step
from deploykit.surgery.reconstruction.linear import Linear

if TYPE_CHECKING:
    from numpy.typing import NDArray


def layers(flat: Flat) -> dict[int, Linear]:
    """The linear layers of a model, by the places of their steps."""
    found = {number: linear(step) or projection(step) for number, step in enumerate(flat.steps)}
    return {number: layer for number, layer in found.items() if layer is not None}


def projection(step: Step) -> Linear | None:
    """The product behind the heads of an attention as a linear layer; None when a step is another one."""
    import numpy as np

    if step.part != "projection" or getattr(step.op._output_dense, "quantization_mode", None):
        return None
    values = np.asarray(step.op._output_dense.weights[0])
    own = values.dtype == np.float32 and not getattr(step.op._output_dense, "lora_enabled", False)
    return Linear(step, values.reshape(-1, values.shape[-1]), 1, -1, is_product=True) if own else None


def linear(step: Step) -> Linear | None:
    """A step as a linear layer; None when it is another one."""
    import numpy as np

    op = step.op
    if step.part in {"", "activation"} or step.kind not in PRODUCTS | SEPARABLE or step.kind.endswith("Transpose"):
        return None
    values = np.asarray(op.weights[_number(step)])
    if values.dtype != np.float32:
        return None
    if step.kind == "Dense":
        own = not getattr(op, "quantization_mode", None) and not getattr(op, "lora_enabled", False)
        return Linear(step, values, 1, -1, is_product=True) if own else None
    place = 1 if op.data_format == "channels_first" else -1
    rank = values.ndim - 2
    if step.part == "pointwise":
        return Linear(step, _turned(values), 1, place)
    steps, spread = (_each(v, rank) for v in (op.strides, op.dilation_rate))
    window: dict[str, Any] = {"strides": steps, "dilations": spread}
    if op.padding == "causal":
        window["pads"] = [(values.shape[0] - 1) * spread[0], 0]
    else:
        window["auto_pad"] = {"same": b"SAME_UPPER", "valid": b"VALID"}[op.padding]
    if step.part == "depthwise" or step.kind.startswith("Depthwise"):
        own_filters = values.transpose(rank, rank + 1, *range(rank)).reshape(-1, 1, *values.shape[:rank])
        return Linear(step, own_filters, values.shape[rank], place, window=window)
    return Linear(step, _turned(values), op.groups, place, window=window)


def write(layer: Linear, weights: NDArray[Any], bias: NDArray[Any]) -> None:
    """Give a layer other weights and another bias.

    Args:
        layer: The layer.
        weights: In the form of ``layer.weights``.
        bias: Shape (outputs,); not written where the layer has none.
    """
    step: Step = layer.node
    behind = step.part == "projection"
    variable = step.op._output_dense.weights[0] if behind else step.op.weights[_number(step)]
    rank = len(variable.shape) - 2
    if layer.is_product:
        values = weights.reshape(variable.shape)
    elif step.part == "depthwise" or step.kind.startswith("Depthwise"):
        channels, each = variable.shape[rank:]
        values = weights.reshape(channels, each, *variable.shape[:rank]).transpose(*range(2, rank + 2), 0, 1)
    else:
        values = weights.transpose(*range(2, rank + 2), 1, 0)
    variable.assign(values)
    if (own := bias_of(step)) is not None:
        own.assign(bias)


def bias_of(step: Step) -> Any:
    """The bias that is added to what a layer gives; None when it has none."""
    op = step.op._output_dense if step.part == "projection" else step.op
    return op.bias if getattr(op, "use_bias", op.bias is not None) else None


def _number(step: Step) -> int:
    return 1 if step.part == "pointwise" else 0


def _turned(values: NDArray[Any]) -> NDArray[Any]:
    """A kernel (…places, inputs, outputs) as (outputs, inputs, …places)."""
    rank = values.ndim - 2
    return values.transpose(rank + 1, rank, *range(rank))


def _each(value: int | tuple[int, ...], rank: int) -> list[int]:
    return [value] * rank if isinstance(value, int) else list(value)

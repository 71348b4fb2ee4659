"""The layers of a Keras model with what belongs to them: normalization and activation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.surgery.channels.keras_graph import Flat, Step
from deploykit.surgery.reconstruction.keras_linear import linear
from deploykit.surgery.reconstruction.keras_walk import Walk
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.walk import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Activations of single numbers, by the names of functions and of layers.
_ACTIVATIONS = frozenset({
    "celu", "elu", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "mish", "relu",
    "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softplus", "softsign", "tanh", "threshold",
    "ReLU", "LeakyReLU", "ELU", "PReLU",
})  # fmt: skip
#: Operations that are activations.
_OPERATIONS = frozenset({"Celu", "Elu", "Gelu", "HardSigmoid", "HardSilu", "LeakyRelu", "Mish", "Relu", "Relu6", "Selu",
                         "Sigmoid", "Silu", "Softplus", "Softsign", "Tanh"})  # fmt: skip
#: What may still come between a layer and an output of the model that it gives.
_SCORES = frozenset({"softmax", "log_softmax", "linear", "Softmax", "LogSoftmax", "Identity"})
_DROPOUTS = frozenset({"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise",
                       "GaussianDropout"})  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """A convolution or product with what belongs to it.

    Attributes:
        layer: The convolution or product.
        norms: The batch normalizations between it and its activation.
        steps: All steps that belong to it.
        end: The tensor that comes out.
        gives: Whether that is an output of the model, or scores of it are.
        once: Whether each of these layers is called once only.
    """

    layer: Linear
    norms: tuple[Any, ...]
    steps: tuple[Step, ...]
    end: str
    gives: bool
    once: bool

    @property
    def step(self) -> Step:
        """The step that computes the convolution or product."""
        step: Step = self.layer.node
        return step


def chains(flat: Flat) -> Iterator[Chain]:
    """The layers of a model that are convolutions or products, once for each call."""
    reads: dict[str, list[Step]] = {}
    for step in flat.steps:
        for name in step.input:
            reads.setdefault(name, []).append(step)
    calls = flat.calls()
    for step in flat.steps:
        layer = linear(step)
        if layer is None:
            continue
        end, norms, steps = step.output[0], list[Any](), [step]
        while (reader := _only(end, reads, flat.outputs)) is not None:
            active = called(reader) in _ACTIVATIONS | _OPERATIONS
            if not active and not _belongs(reader, layer.channels, flat.shapes[end]):
                break
            end = reader.output[0]
            steps.append(reader)
            if active:
                break
            norms += [reader.op] if reader.kind == "BatchNormalization" else []
        last = end
        while (reader := _only(last, reads, flat.outputs)) is not None and called(reader) in _SCORES | _DROPOUTS:
            last = reader.output[0]
        once = all(calls.get(one.name, 1) == 1 for one in steps)
        yield Chain(layer, tuple(norms), tuple(steps), end, last in flat.outputs, once)


def sizes(flat: Flat, examples: Examples) -> dict[tuple[str, str], tuple[NDArray[Any], NDArray[Any]]]:
    """Mean |activation| and share of activations that are not 0, of each output of every layer, by its name and part.

    Args:
        flat: The model.
        examples: Calibration inputs.

    Returns:
        Pairs of arrays of shape (outputs,).
    """
    import numpy as np

    ends: dict[str, list[Chain]] = {}
    for chain in chains(flat):
        ends.setdefault(chain.end, []).append(chain)
    walk = Walk(flat, examples)
    found: dict[tuple[str, str], tuple[NDArray[Any], NDArray[Any]]] = {}
    for _number, step in walk.visit("measuring activations"):
        for chain in ends.get(step.output[0], []):
            values = np.moveaxis(walk.values[chain.end], chain.layer.channels, -1)
            values = np.abs(values.reshape(-1, values.shape[-1]))
            found[chain.step.name, chain.step.part] = (values.mean(0, dtype=np.float64), (values != 0).mean(0))
    return found


def silence(chain: Chain, gone: NDArray[Any]) -> None:
    """Set what is added to some outputs of a layer to 0, so that with weights of 0 they are 0 before the activation.

    Args:
        chain: The layer; its variables are changed in place.
        gone: Which outputs, shape (outputs,), bool.
    """
    import numpy as np

    op = chain.step.op
    own = [op.bias] if getattr(op, "use_bias", False) and chain.step.part != "depthwise" else []
    for norm in chain.norms:
        own += [variable for variable in (norm.gamma, norm.beta) if variable is not None]
        if norm.gamma is None:  # nothing else can take back the mean
            own.append(norm.moving_mean)
    for variable in own:
        variable.assign(np.asarray(variable) * ~gone)


def called(step: Step) -> str:
    """Name of the function or class that says what a step computes."""
    if step.part == "activation" or step.kind == "Activation":
        return getattr(step.op.activation, "__name__", "")
    return step.kind


def _only(name: str, reads: Mapping[str, list[Step]], outputs: list[str]) -> Step | None:
    """The only step that reads a tensor; None where there are others or the model gives it."""
    readers = reads.get(name, [])
    return readers[0] if len(readers) == 1 and name not in outputs else None


def _belongs(reader: Step, channels: int, shape: tuple[int | None, ...]) -> bool:
    """Whether a step shifts and scales channels, or passes on what it reads."""
    if reader.kind in _DROPOUTS:
        return True
    return reader.kind == "BatchNormalization" and reader.op.axis % len(shape) == channels % len(shape)

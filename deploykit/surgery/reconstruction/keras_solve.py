"""Solving a cut Keras model's weights again, so that each layer answers as the original's layer did.

Both models are walked side by side, as `deploykit.surgery.reconstruction.onnx_solve` does with graphs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.surgery.channels.keras_axes import Traced
from deploykit.surgery.channels.keras_cut import shrunk
from deploykit.surgery.channels.keras_graph import Flat, Step
from deploykit.surgery.reconstruction.keras_linear import bias_of, linear, projection, write
from deploykit.surgery.reconstruction.keras_walk import Walk
from deploykit.surgery.reconstruction.linear import Linear, solved
from deploykit.surgery.reconstruction.walk import BUDGET, Examples, begin_together, take_in_together

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Scales of a normalization below this are not divided by.
_FLAT = 1e-3
#: What lies between a layer and an addition and changes nothing.
_PASSING = frozenset({"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "Identity"})


def reconstruct(traced: Traced, gone: Collection[int], small: Flat, examples: Examples) -> None:
    """Solve the weights and biases of a cut model again; it is changed in place.

    Args:
        traced: The original.
        gone: The components that were removed.
        small: The cut model, whose steps are those of the original in the same order; some may be missing. A step
            belongs to the one of the original that writes the same tensor.
        examples: Calibration inputs.
    """
    import numpy as np

    generator = np.random.default_rng(examples.seed)
    first, second = (Walk(one, examples, budget=BUDGET // 2) for one in (traced.flat, small))
    begin_together(first, second)
    calls, readers = small.calls(), _readers(small.steps)
    pairs = {step.output[0]: step for step in small.steps}
    olds = {step.output[0]: step for step in traced.flat.steps}
    for number, old in enumerate(traced.flat.steps):
        new = pairs.get(old.output[0])
        if new is None:
            first.step()
            first.forget()
            continue
        take_in_together(first, second)
        first.step()
        layer = linear(new) or projection(new)
        if layer is not None and calls[new.name] == 1 and _solvable(layer) and f"{old.name}:0" in traced.axes:
            target = _target(traced, gone, old, first, second, readers, olds)
            source, before = second.values[new.input[0]], first.values.get(old.input[0])
            same = np.array_equal(target, shrunk(traced, old.output[0], first.values[old.output[0]], gone))
            if before is None or not same or not np.array_equal(source, before):  # else it answers as the original does
                bias = bias_of(new) is not None and new.part != "depthwise"
                matrices, shift = solved(layer, source, target, generator, bias=bias)
                write(layer, layer.restored(matrices), shift)
        second.step()
        first.forget()
        second.forget()
        examples.report(number + 1, len(traced.flat.steps), "reconstructing")


def _solvable(layer: Linear) -> bool:
    """Whether it can be written: filters of single channels are always solved with a bias."""
    step: Step = layer.node
    return not layer.is_depthwise or (step.part == "product" and bool(step.op.use_bias))


def _readers(steps: list[Step]) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for step in steps:
        for name in step.input:
            found.setdefault(name, []).append(step)
    return found


def _target(
    traced: Traced, gone: Collection[int], step: Step, first: Walk, second: Walk, readers: dict[str, list[Step]],
    olds: Mapping[str, Step],
) -> NDArray[Any]:  # fmt: skip
    """What a layer of the cut model should answer: what the original's does, and what the branch beside it has lost."""
    import numpy as np

    name = step.output[0]
    found: NDArray[Any] = shrunk(traced, name, first.values[name], gone).astype(np.float32)
    scale: NDArray[Any] | None = None
    while len(readers.get(name, [])) == 1:
        reader = readers[name][0]
        if reader.kind == "Add" and len(reader.input) == 2:
            other = next(one for one in reader.input if one != name)
            before = olds[reader.output[0]].input[reader.input.index(other)]  # where the cut reads another tensor
            if before not in first.values or other not in second.values:
                break
            lost = shrunk(traced, before, first.values[before], gone).astype(np.float32) - second.values[other]
            if lost.shape == found.shape:
                found = found + (lost if scale is None else lost / scale)
            break
        if reader.kind == "BatchNormalization" and scale is None and reader.op.axis in {-1, found.ndim - 1}:
            scale = _scale(reader.op)
            if (np.abs(scale) < _FLAT).any():
                break
        elif reader.kind not in _PASSING:
            break
        name = reader.output[0]
    return found


def _scale(op: Any) -> NDArray[Any]:
    """What a normalization of the cut model multiplies each channel with."""
    import numpy as np

    spread: NDArray[Any] = 1.0 / np.sqrt(np.asarray(op.moving_variance) + op.epsilon)
    return spread * np.asarray(op.gamma) if op.scale else spread

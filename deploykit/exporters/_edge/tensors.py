"""What one example of a model is, in numbers that any language can be written from.

All of preprocessing but resizing is a gather and a few operations on each value: output value i is raw value
``start + Σ place[axis] × strides[axis]``, then multiplied, shifted and quantized. `Fed` holds those numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import ExportError
from deploykit.core.model import TensorSpec, align
from deploykit.data.feeding import Feeding, forms
from deploykit.data.preprocess import Preprocess
from deploykit.exporters._contract import Draft
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What every language here has a type for.
DTYPES = ("float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "int64")
_OTHER = "export with layout='folder': deploykit serve runs it."


@dataclass(frozen=True)
class Step:
    """One operation on every value: ``x = x (operator) operands[channel]``, or ``operands[0]`` for all."""

    operator: str
    operands: tuple[float, ...]


@dataclass(frozen=True)
class Fed:
    """One input of the file.

    Attributes:
        name: The contract's name.
        there: The file's name.
        dtype: What the file takes.
        shape: What it takes for one example, batch included.
        declared: The file's own shape; None where a size is free.
        raw_dtype: What the code is given.
        raw_shape: Shape of one raw example, after resizing where images are resized.
        sizes: Sizes of the axes that `strides` are for.
        strides: See the module.
        start: See the module.
        channel: The axis of ``sizes`` by which operands are looked up, -1 for none.
        steps: Operations in order, in float64 if the raw values are float64, else in float32.
        scale: Quantization q = round(r / scale) + zero_point of the file's values; 0: none.
        zero_point: See ``scale``.
        resized: (height, width) that images must be resized to before they are given; () for none.
        fit: How, see `deploykit.data.resize.resized`.
        constant: The value that fills it, whatever the example; None: it is fed.
    """

    name: str
    there: str
    dtype: str
    shape: tuple[int, ...]
    declared: tuple[int | None, ...] = ()
    raw_dtype: str = ""
    raw_shape: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    start: int = 0
    channel: int = -1
    steps: tuple[Step, ...] = ()
    scale: float = 0.0
    zero_point: int = 0
    resized: tuple[int, ...] = ()
    fit: str = "stretch"
    constant: float | None = None

    @property
    def count(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    def table(self) -> tuple[list[int], list[int]]:
        """For each value of the file the place of the raw value that it is made from, and its channel."""
        import numpy as np

        grid = np.indices(self.sizes).reshape(len(self.sizes), -1)
        order = self.start + sum(
            (row * stride for row, stride in zip(grid, self.strides, strict=True)), np.zeros(1, int)
        )
        channels = grid[self.channel] if self.channel >= 0 else np.zeros(self.count, int)
        return np.broadcast_to(order, self.count).tolist(), channels.tolist()

    @property
    def gathers(self) -> bool:
        """Whether values change their places."""
        steps = [math.prod(self.sizes[axis + 1 :]) for axis in range(len(self.sizes))]
        return self.start != 0 or any(a != b and n > 1 for a, b, n in zip(self.strides, steps, self.sizes, strict=True))


@dataclass(frozen=True)
class Given:
    """One output of the file; the real number of a quantized value q is (q - zero_point) × scale.

    Attributes:
        name: The contract's name.
        there: The file's name.
        place: Its place among the file's outputs.
        dtype: What the file gives.
        shape: What it gives for one example, batch included.
        scale: 0: not quantized.
        zero_point: See above.
    """

    name: str
    there: str
    place: int
    dtype: str
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0

    @property
    def count(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Tensors:
    """What goes in and comes out, in the file's order.

    Attributes:
        inputs: All inputs of the file.
        outputs: The outputs the contract knows, in its order.
        raw: Golden examples as the code takes them: for each of `fed` one array, examples first.
        golden: What comes out for them: for each of ``outputs`` one array, examples first.
    """

    inputs: tuple[Fed, ...]
    outputs: tuple[Given, ...]
    raw: tuple[NDArray[Any], ...]
    golden: tuple[NDArray[Any], ...]

    @property
    def fed(self) -> tuple[Fed, ...]:
        """The inputs that are given, not filled."""
        return tuple(one for one in self.inputs if one.constant is None)

    @property
    def dtypes(self) -> set[str]:
        """What the file takes and gives."""
        return {fed.dtype for fed in self.inputs} | {given.dtype for given in self.outputs}


def tensors(
    candidate: Exportable, draft: Draft, inputs: dict[str, NDArray[Any]], outputs: dict[str, NDArray[Any]]
) -> Tensors:
    """What the code of a candidate is written from.

    Args:
        candidate: What is exported.
        draft: What is known of it.
        inputs: Raw golden inputs by the contract's names.
        outputs: Golden outputs by the contract's names.

    Raises:
        ExportError: It runs sequences, takes text or another type without a counterpart on devices, keeps state, or
            runs a fixed number of examples.
    """
    contract = candidate.data.checked
    if contract.sequences or any(i.is_carried for i in contract.inputs):
        raise ExportError(
            "The model carries state from step to step, which the code would have to keep.", remedy=_OTHER
        )
    declared = {spec.name: spec.dtype for spec in draft.inputs}
    fed, raw = [], []
    for spec, meaning in Feeding.of(contract, draft.file_inputs).inputs:
        assert meaning is not None
        _check_type("takes", spec)
        example = draft.examples[0][spec.name]
        if meaning.how != "constant" and spec.batch_size not in (None, 1):
            raise ExportError(
                f"The file takes {spec.batch_size} examples at once; the code gives it one.",
                remedy="convert the model with a free batch size, or export with layout='folder'.",
            )
        base = Fed(meaning.name, spec.name, spec.dtype, tuple(example.shape), spec.shape or ())
        if meaning.how == "constant":
            fed.append(replace(base, constant=_single(meaning.name, example)))
            continue
        one, array = _fed(
            base,
            candidate.data.preprocess.get(meaning.name, Preprocess()),
            inputs[meaning.name].astype(declared[meaning.name]),
        )
        if spec.scale and not meaning.raw:
            one = replace(one, scale=spec.scale, zero_point=spec.zero_point)
        fed.append(one)
        raw.append(array)
    given = _given(candidate, draft, outputs)
    golden = tuple(outputs[one.name] for one in given)
    return Tensors(tuple(fed), given, tuple(raw), golden)


def _given(candidate: Exportable, draft: Draft, outputs: dict[str, NDArray[Any]]) -> tuple[Given, ...]:
    wanted, specs = candidate.data.checked.outputs, draft.file_outputs
    places = align([o.name for o in wanted], [s.name for s in specs], (forms(wanted), forms(specs)))
    found = []
    for meaning, place in zip(wanted, places, strict=True):
        spec = specs[place]
        _check_type("gives", spec)
        shape = list(outputs[meaning.name].shape[1:])
        if not meaning.fixed:
            shape.insert(meaning.batch_axis, 1)
        found.append(Given(meaning.name, spec.name, place, spec.dtype, tuple(shape), spec.scale, spec.zero_point))
    return tuple(found)


def _fed(base: Fed, step: Preprocess, raw: NDArray[Any]) -> tuple[Fed, NDArray[Any]]:
    import numpy as np

    resized: tuple[int, ...] = ()
    fit = "stretch"
    if step.resize is not None:
        resized = step.resize
        last = step.layout if step.layout == "channels_last" else None
        fit = step.fit
        raw = Preprocess(reshape=step.reshape, resize=step.resize, fit=fit, layout=last).apply(raw)
        step = replace(step, reshape=None, resize=None, fit="stretch", layout=None if last else step.layout)
    if raw.dtype.name not in DTYPES:
        raw = raw.astype(base.dtype)
    shape = raw.shape[1:]
    moving = Preprocess(reshape=step.reshape, layout=step.layout, transpose=step.transpose, channels=step.channels)
    index = moving.apply(np.arange(math.prod(shape)).reshape(1, *shape))[0]
    strides = tuple(int(np.moveaxis(index, a, 0)[1].flat[0] - index.flat[0]) if n > 1 else 0
                    for a, n in enumerate(index.shape))  # fmt: skip
    start = int(index.flat[0]) if index.size else 0
    grid = np.indices(index.shape)
    again = start + sum(g * s for g, s in zip(grid, strides, strict=True)) if index.ndim else index
    if not np.array_equal(again, index):
        raise ExportError(f"The preprocessing of {base.name!r} is not a move of axes.", remedy=_OTHER)
    steps = []
    for operator, value, nothing in (("*", step.scale, 1.0), ("+", step.offset, 0.0), ("-", step.mean, None),
                                     ("/", step.std, None)):  # fmt: skip
        if value != nothing and value is not None:
            steps.append(Step(operator, value if isinstance(value, tuple) else (value,)))
    channels = max((len(s.operands) for s in steps), default=1)
    channel = -1
    if channels > 1:
        looked_up = replace(moving, mean=tuple(map(float, range(channels))))
        found = -looked_up.apply(np.zeros((1, *shape), np.float32))[0]
        channel = next(a for a, n in enumerate(found.shape) if n == channels and np.array_equal(found, grid[a]))
    made = replace(
        base, raw_dtype=raw.dtype.name, raw_shape=tuple(shape), sizes=tuple(index.shape), strides=strides,
        start=start, channel=channel, steps=tuple(steps), resized=resized, fit=fit,
    )  # fmt: skip
    return made, np.ascontiguousarray(raw)


def _single(name: str, example: NDArray[Any]) -> float:
    values = example.ravel()
    if not values.size or (values != values[0]).any():
        raise ExportError(f"The constant input {name!r} has several values.", remedy=_OTHER)
    return float(values[0])


def _check_type(what: str, spec: TensorSpec) -> None:
    if spec.dtype not in DTYPES:
        raise ExportError(
            f"The file {what} {spec.dtype} ({spec.name!r}); the code knows {', '.join(DTYPES)}.", remedy=_OTHER
        )


def words(shape: Sequence[int]) -> str:
    """A shape for people."""
    return "(" + ", ".join(map(str, shape)) + ")"

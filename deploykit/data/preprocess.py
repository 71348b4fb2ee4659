"""Preprocessing that travels with the artifact: evaluation, calibration and the server apply the same code."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from deploykit.core.errors import DatasetError, SettingError, unknown_name
from deploykit.core.serial import RARE, Plain
from deploykit.data.axes import channel_move, channel_order, crossing, remedy, reordering
from deploykit.data.resize import FILTER, FITS, Fit, resized
from deploykit.data.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Preprocess", "prepared", "remedy"]

LAYOUTS = ("channels_first", "channels_last")
CHANNEL_ORDERS = ("reversed",)
_TO_FIRST, _TO_LAST = (2, 0, 1), (1, 2, 0)


@dataclass(frozen=True)
class Preprocess(Plain):
    """Turns raw examples into model inputs.

    The steps, in this order: ``reshape``; ``resize``; ``channels``; ``x * scale + offset``; ``(x - mean) / std``;
    ``transpose`` or ``layout``. Only ``layout="channels_last"`` is done before ``resize``, so that channels are
    the last axis in all steps in between.

    Numbers are computed in float64 if the examples are float64, else in float32. Nothing is converted if none of
    scale, offset, mean and std is set: the model's own dtype decides later.

    Attributes:
        scale: Factor.
        offset: Added after scaling.
        reshape: Shape of one example, for example ``(28, 28, 1)``; None keeps it. It joins and splits axes and never
            moves values from one axis to another. If it only moves the channels of an image, (height, width, channel)
            to (channel, height, width) or back, they are transposed; any other exchange of axes is refused.
        resize: (height, width) to resize images to, bilinearly and with antialiasing (Pillow's BILINEAR filter,
            however the images are read); whole numbers stay whole numbers. None keeps the size.
        fit: How ``resize`` fits images of another shape: ``"stretch"`` scales both sides, ``"letterbox"`` keeps their
            shape between gray bars, as YOLO models are trained.
        layout: Channel order the model takes, ``"channels_first"`` or ``"channels_last"``, for images in the other
            order; None keeps it.
        transpose: Order of the axes of one example, for example ``(2, 0, 1)`` for (height, width, channel) to
            (channel, height, width); None keeps it. Use either this or ``layout``.
        mean: Subtracted after scale and offset: a number, or one for each channel.
        std: Divided by after that: a number, or one for each channel.
        channels: ``"reversed"`` swaps RGB and BGR; None keeps them.
        raw: Whether the values are the model's own: quantized integers instead of the real numbers they represent, or
            bytes that are not text.
        tokenizer: Turns text into the several inputs of a model that takes tokens; text is not changed otherwise.

    Example:
        >>> import numpy as np
        >>> dk.Preprocess(scale=0.5, layout="channels_first").apply(np.ones((1, 8, 6, 3))).shape
        (1, 3, 8, 6)
    """

    scale: float = 1.0
    offset: float = 0.0
    reshape: tuple[int, ...] | None = None
    resize: tuple[int, int] | None = None
    fit: Fit = "stretch"
    layout: Literal["channels_first", "channels_last"] | None = None
    transpose: tuple[int, ...] | None = None
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    channels: Literal["reversed"] | None = None
    raw: bool = False
    tokenizer: Tokenizer | None = field(default=None, metadata={RARE: True})

    def __post_init__(self) -> None:
        for name in ("scale", "offset"):
            if not _finite(getattr(self, name)):
                raise SettingError(f"Preprocess: {name} must be a finite number, got {getattr(self, name)!r}.")
        for name, length in (("reshape", None), ("resize", 2)):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _sizes(name, value, length))
        for name, known in (("fit", FITS), ("layout", LAYOUTS), ("channels", CHANNEL_ORDERS)):
            if (value := getattr(self, name)) is not None and value not in known:
                raise unknown_name(f"value for Preprocess: {name},", value, known)
        for name in ("mean", "std"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _per_channel(name, value))
        if self.transpose is not None:
            object.__setattr__(self, "transpose", _order(self.transpose))
        self._check_together()

    def _check_together(self) -> None:
        if self.layout is not None and self.transpose is not None:
            raise SettingError("Preprocess: both layout and transpose are given.", remedy="give one of them.")
        if self.fit != "stretch" and self.resize is None:
            raise SettingError(f"Preprocess: fit={self.fit!r} needs the size to fit into.", remedy="give resize.")
        lengths = {n: len(v) for n in ("mean", "std") if isinstance(v := getattr(self, n), tuple)}
        if len(set(lengths.values())) > 1:
            raise SettingError(
                f"Preprocess: mean has {lengths['mean']} values, std has {lengths['std']}.",
                remedy="give one for each channel.",
            )
        if self.tokenizer is not None and set(self.settings) != {"tokenizer"}:
            others = ", ".join(name for name in self.settings if name != "tokenizer")
            raise SettingError(
                f"Preprocess: a tokenizer takes text as it is, and {others} is given.",
                remedy="give the tokenizer alone.",
            )
        if not isinstance(self.raw, bool):
            raise SettingError(f"Preprocess: raw must be true or false, got {self.raw!r}.")
        if self.raw and self._computes:
            raise SettingError(
                "Preprocess: raw values are the model's own integers and cannot be scaled.",
                remedy="leave out raw, or scale, offset, mean and std.",
            )

    def __repr__(self) -> str:
        return f"Preprocess({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from the defaults."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {f.name: values[f.name] for f in fields(self) if values[f.name] != f.default}

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self == Preprocess()

    def words(self, digits: int = 4) -> tuple[str, ...]:
        """The steps in words, in order.

        Args:
            digits: Significant digits of the numbers.
        """
        found = [] if self.tokenizer is None else [f"tokenized ({self.tokenizer})"]
        if self.reshape is not None:
            found.append(f"reshape to {self.reshape}")
        if self.resize is not None:
            how = "between gray bars, " if self.fit == "letterbox" else ""
            found.append(f"resize to {self.resize} ({how}{FILTER})")
        if self.channels is not None:
            found.append("channels reversed")
        if self.scale != 1.0:
            found.append(f"× {self.scale:.{digits}g}")
        if self.offset:
            found.append(f"+ {self.offset:.{digits}g}")
        found += [
            f"{name} {_shown(value, digits)}"
            for name, value in (("mean", self.mean), ("std", self.std))
            if value is not None
        ]
        if self.transpose is not None:
            found.append(f"transpose {self.transpose}")
        if self.layout is not None:
            found.append(self.layout.replace("_", " "))
        return (*found, "raw") if self.raw else tuple(found)

    def code(self) -> str:
        """The expression that creates it, with the settings that differ from the defaults."""
        if self.tokenizer is not None:
            opened = f'dk.Tokenizer.open("tokenizer.json", max_length={self.tokenizer.max_length})'
            return f"dk.Preprocess(tokenizer={opened})"
        return f"dk.{self!r}".replace("'", '"')

    def moves_axes(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The order of axes in which ``reshape`` moves the channels of examples of this shape; () if it does not.

        Args:
            shape: Of one raw example, without the batch.
        """
        if self.reshape is None or not crossing(tuple(shape), self.reshape):
            return ()
        return channel_move(tuple(shape), self.reshape)

    def free_axes(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Axes of one raw example of this shape whose size is free, because images are resized."""
        if self.resize is None or self.reshape is not None or len(shape) != 3:
            return ()
        first = self.layout == "channels_last" or channel_order(shape) == "channels_first"
        return (1, 2) if first else (0, 1)

    def reshaped(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The batch after ``reshape`` alone; channels that it moves come last.

        Raises:
            DatasetError: The sizes differ, or the reshape would move values from one axis to another.
        """
        given, wanted = batch.shape[1:], self.reshape
        if wanted is None:
            return batch
        if math.prod(given) != math.prod(wanted):
            raise DatasetError(
                f"Cannot reshape examples of shape {given} to {wanted}.",
                remedy="correct reshape= (--reshape).",
            )
        if not crossing(given, wanted):
            return batch.reshape(len(batch), *wanted)
        move = channel_move(given, wanted)
        if not move:
            raise _crosses(given, wanted)
        return _moved(batch, _TO_LAST) if move == _TO_LAST else batch

    def feed(self, name: str, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Preprocess a batch of the raw input called ``name``: model's input → what it gets, several for text."""
        return {name: self.apply(batch)} if self.tokenizer is None else self.tokenizer.encode(batch)

    def apply(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Preprocess a batch.

        Args:
            batch: Raw examples, batch first. Floating-point input that must be scaled gives float32, or float64 if
                it is float64.

        Returns:
            The batch as the model takes it.

        Raises:
            DatasetError: The examples cannot be reshaped, resized, scaled or transposed this way.
        """
        if self.tokenizer is not None:
            raise DatasetError("A tokenizer gives several arrays.", remedy="call feed() instead of apply().")
        # A reshape that moves the channels to the front is done last, as a layout: images keep them last till then.
        to_first = self.layout == "channels_first" or self.moves_axes(batch.shape[1:]) == _TO_FIRST
        batch = self.reshaped(batch)
        if self.layout is not None:
            _check_layout(batch.shape[1:], self.layout)
        if self.layout == "channels_last":
            batch = _channels_moved(batch, -1)
        if self.resize is not None:
            batch = resized(batch, self.resize, self.fit)
        if self.channels is not None:
            batch = self._reversed(batch)
        if self._computes:
            batch = self._computed(batch)
        if self.transpose is not None:
            batch = _transposed(batch, self.transpose)
        return _channels_moved(batch, 1) if to_first else batch

    @property
    def _computes(self) -> bool:
        return self.scale != 1.0 or self.offset != 0.0 or self.mean is not None or self.std is not None

    def _computed(self, batch: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        if batch.dtype.kind in "SUO":
            raise DatasetError(
                "Text cannot be scaled.", remedy="leave out scale=, offset=, mean= and std= for this input."
            )
        kind = np.float64 if batch.dtype == np.float64 else np.float32
        values: NDArray[Any] = batch.astype(kind)
        if self.scale != 1.0:
            values *= kind(self.scale)
        if self.offset != 0.0:
            values += kind(self.offset)
        if self.mean is not None:
            values -= _along_channels("mean", self.mean, values).astype(kind)
        if self.std is not None:
            values /= _along_channels("std", self.std, values).astype(kind)
        return values

    def _reversed(self, batch: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        shape = batch.shape[1:]
        axis = 1 if channel_order(shape) == "channels_first" else -1
        if len(shape) != 3 or batch.shape[axis] != 3:
            raise DatasetError(
                f"Only images with three channels can have them reversed, got examples of shape {shape}.",
                remedy='leave out channels="reversed" (--channels).',
            )
        return np.flip(batch, axis)


def prepared(raw: Mapping[str, NDArray[Any]], preprocess: Mapping[str, Preprocess]) -> dict[str, NDArray[Any]]:
    """Raw examples as a model takes them: model's input → array.

    Args:
        raw: Raw input → examples, batch first.
        preprocess: Raw input → preprocessing; the others are taken as they are.
    """
    import numpy as np

    found: dict[str, NDArray[Any]] = {}
    for name, array in raw.items():
        step = preprocess.get(name)
        found |= {name: np.asarray(array)} if step is None else step.feed(name, np.asarray(array))
    return found


def _along_channels(name: str, value: float | tuple[float, ...], batch: NDArray[Any]) -> NDArray[Any]:
    """One number for each channel, in the form that goes with the batch."""
    import numpy as np

    values = np.asarray(value)
    if values.ndim == 0:
        return values
    shape = batch.shape[1:]
    if shape and shape[-1] == len(values):
        return values
    if len(shape) == 3 and shape[0] == len(values):  # images that come, and stay, with their channels first
        return values.reshape(-1, 1, 1)
    raise DatasetError(
        f"{name} has {len(values)} values, examples of shape {shape} have {shape[-1] if shape else 'no'} channels.",
        remedy=f"give one number, or one for each channel, in {name}= (--{name}).",
    )


def _check_layout(shape: tuple[int, ...], wanted: str) -> None:
    """Raise `DatasetError` unless examples are images in the other order."""
    if len(shape) < 3:
        image = f" (add reshape={(*shape, 1)} for gray images)" if len(shape) == 2 else ""
        raise DatasetError(
            f"layout is for images with channels, got examples of shape {shape}.",
            remedy=f"leave out layout= (--layout), or give an order of axes with transpose={image}.",
        )
    if channel_order(shape) == wanted:
        raise DatasetError(
            f"Examples of shape {shape} already have their {wanted.replace('_', ' ')}.",
            remedy="leave out layout= (--layout): it is for images in the other order.",
        )


def _channels_moved(batch: NDArray[Any], to: int) -> NDArray[Any]:
    import numpy as np

    return np.ascontiguousarray(np.moveaxis(batch, -1 if to == 1 else 1, to))


def _moved(batch: NDArray[Any], order: tuple[int, ...]) -> NDArray[Any]:
    import numpy as np

    return np.ascontiguousarray(batch.transpose(0, *(i + 1 for i in order)))


def _transposed(batch: NDArray[Any], order: tuple[int, ...]) -> NDArray[Any]:
    if len(order) != batch.ndim - 1:
        raise DatasetError(
            f"transpose={order} is for examples of {len(order)} axes, got examples of shape {batch.shape[1:]}.",
            remedy="name every axis of one example once, for example transpose=(2, 0, 1) (--transpose 2,0,1).",
        )
    return _moved(batch, order)


def _crosses(given: tuple[int, ...], wanted: tuple[int, ...]) -> DatasetError:
    found = reordering(given, wanted)
    if found is None:
        way = "reshape the examples yourself if that is what you mean, or correct reshape= (--reshape)."
    else:
        between, order = found
        steps = f"transpose={order}"
        flags = f"--transpose {','.join(map(str, order))}"
        if between != given:
            steps, flags = f"reshape={between}, {steps}", f"--reshape {','.join(map(str, between))} {flags}"
        way = f"write {steps} instead ({flags})."
    return DatasetError(
        f"Reshaping examples of shape {given} to {wanted} would move values from one axis to another.", remedy=way
    )


def _finite(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


def _sizes(name: str, value: Any, length: int | None) -> tuple[int, ...]:
    sizes = (value,) if isinstance(value, int) else value
    wanted = "(height, width)" if length == 2 else "the shape of one example, for example (28, 28, 1)"
    try:
        whole = tuple(operator.index(v) for v in sizes)
    except TypeError:
        whole = ()
    if not whole or min(whole) < 1 or len(whole) != (length or len(whole)):
        raise SettingError(f"Preprocess: {name} must be {wanted} in whole numbers, 1 or more, got {value!r}.")
    return whole


def _order(value: Any) -> tuple[int, ...]:
    try:
        order = tuple(operator.index(v) for v in value)
    except TypeError:
        order = ()
    if not order or sorted(order) != list(range(len(order))):
        raise SettingError(
            f"Preprocess: transpose must name every axis of one example once, for example (2, 0, 1), got {value!r}.",
            remedy="count the axes from 0, without the batch.",
        )
    return order


def _per_channel(name: str, value: Any) -> float | tuple[float, ...]:
    plain = value.tolist() if hasattr(value, "tolist") else value
    values = plain if isinstance(plain, list | tuple) else [plain]
    least = f"{name} must be a finite number{' above 0' if name == 'std' else ''}, or one for each channel"
    if not values or not all(_finite(v) for v in values) or (name == "std" and min(values) <= 0):
        raise SettingError(f"Preprocess: {least}, got {value!r}.")
    return tuple(map(float, values)) if isinstance(plain, list | tuple) else float(plain)


def _shown(value: float | tuple[float, ...], digits: int) -> str:
    values = value if isinstance(value, tuple) else (value,)
    shown = ", ".join(f"{v:.{digits}g}" for v in values)
    return f"({shown})" if isinstance(value, tuple) else shown

"""Preprocessing that travels with the artifact: evaluation, calibration and the server apply the same code."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError, SettingError
from deploykit.core.serial import Plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Preprocess(Plain):
    """Turns raw examples into what the model takes: reshape, resize, then ``x * scale + offset``.

    Attributes:
        scale: Factor.
        offset: Added after scaling.
        reshape: Shape of one example, for example ``(28, 28, 1)``; None leaves it.
        resize: (height, width) to which images of shape (height, width, channel) are scaled bilinearly; None leaves
            them.
    """

    scale: float = 1.0
    offset: float = 0.0
    reshape: tuple[int, ...] | None = None
    resize: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("scale", "offset"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise SettingError(f"Preprocess: {name} must be a finite number, got {value!r}.")
        for name, length in (("reshape", None), ("resize", 2)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _sizes(name, value, length))

    @property
    def is_identity(self) -> bool:
        """Whether it leaves everything as it is."""
        return self == Preprocess()

    def apply(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Preprocess a batch.

        Args:
            batch: Raw examples, batch first. Floating-point input that must be scaled gives float32.

        Returns:
            The batch as the model takes it.

        Raises:
            DatasetError: The examples cannot be reshaped or resized so.
        """
        import numpy as np

        if self.reshape is not None:
            if math.prod(batch.shape[1:]) != math.prod(self.reshape):
                raise DatasetError(
                    f"cannot reshape examples of shape {batch.shape[1:]} to {self.reshape}.",
                    remedy="correct reshape= (on the command line --reshape).",
                )
            batch = batch.reshape(len(batch), *self.reshape)
        if self.resize is not None:
            batch = _resize(batch, self.resize)
        if self.scale != 1.0 or self.offset != 0.0:
            if batch.dtype.kind in "SU":
                raise DatasetError("text cannot be scaled.", remedy="leave out scale= and offset= for this input.")
            batch = batch.astype(np.float32)
            batch *= np.float32(self.scale)
            if self.offset != 0.0:
                batch += np.float32(self.offset)
        return batch


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


def _resize(batch: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    import numpy as np

    from deploykit.core.extras import require

    if batch.ndim != 4:
        raise DatasetError(
            f"resize needs images of shape (height, width, channel), got examples of shape {batch.shape[1:]}.",
            remedy="add reshape= so that examples are images.",
        )
    image_module = require("PIL.Image", "")
    height, width = size
    out = np.empty((len(batch), height, width, batch.shape[3]), np.float32)
    for i, picture in enumerate(batch):
        for channel in range(batch.shape[3]):
            plane = image_module.fromarray(np.ascontiguousarray(picture[..., channel], np.float32))
            out[i, ..., channel] = plane.resize((width, height), image_module.Resampling.BILINEAR)
    return out

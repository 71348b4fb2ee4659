"""What training minimizes: the loss that fits a model's output and the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError, SettingError
from deploykit.training.choices import LOSSES

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Objective:
    """A loss, by the name that Keras 3 and tf_keras share.

    Attributes:
        loss: Class name in ``keras.losses`` and ``tf_keras.losses``.
        from_logits: Whether the model's output is the value before softmax or sigmoid; None where that has no meaning.
    """

    loss: str
    from_logits: bool | None = None

    def of(self, keras: Any) -> Any:
        """The loss of ``keras`` or ``tf_keras``, whichever module is given."""
        options = {} if self.from_logits is None else {"from_logits": self.from_logits}
        return getattr(keras.losses, self.loss)(**options)


def objective(
    activation: str, shape: Sequence[int | None], labels: NDArray[Any], sample: NDArray[Any], loss: str = "auto"
) -> Objective:
    """The loss that fits a model's first output and the labels.

    Args:
        activation: Name of the last activation, "" when the model has none or hides it.
        shape: Shape of the output, batch first.
        labels: Labels of the training split.
        sample: Some outputs of the model: shows a softmax that the layers do not name.
        loss: One of `deploykit.training.choices.LOSSES`.

    Raises:
        DatasetError: Labels and output do not belong together.
        SettingError: The loss does not fit them.
    """
    found = _fitting(activation, shape, labels, sample)
    if loss == "auto":
        return found
    crossed = found.loss.endswith("Crossentropy")
    if loss == "cross_entropy":
        if not crossed:
            raise SettingError(
                f"The loss cross_entropy compares probabilities of classes with class labels, but the labels are "
                f"{labels.dtype} of shape {labels.shape[1:]} per example and the output has the shape "
                f"{tuple(shape[1:])} without softmax or sigmoid.",
                remedy="choose mse, mae or huber, or auto.",
            )
        return found
    if found.loss == "SparseCategoricalCrossentropy":
        raise SettingError(
            f"The loss {loss} compares numbers, but the labels are class indices and the output has a score for each "
            f"of {shape[-1]} classes.",
            remedy="choose cross_entropy, or auto.",
        )
    return Objective(LOSSES[loss])


def _fitting(activation: str, shape: Sequence[int | None], labels: NDArray[Any], sample: NDArray[Any]) -> Objective:
    whole = labels.dtype.kind in "iub"
    width = shape[-1] or 1
    if whole and width > 1 and labels.ndim == len(shape) - 1:
        if (highest := int(labels.max())) >= width:
            raise DatasetError(f"The labels go up to class {highest}, but the model has {width} outputs.")
        return Objective(
            "SparseCategoricalCrossentropy", not (activation in ("softmax", "sigmoid") or _sums_to_1(sample))
        )
    within = bool((labels >= 0).all() and (labels <= 1).all())
    if activation == "sigmoid" and within:
        return Objective("BinaryCrossentropy", from_logits=False)
    if whole and width == 1 and within:
        return Objective("BinaryCrossentropy", from_logits=True)
    if width > 1 and within and labels.shape[-1] == width and (activation == "softmax" or _sums_to_1(sample)):
        return Objective("CategoricalCrossentropy", from_logits=False)
    if not whole and labels.ndim > 1 and tuple(labels.shape[1:]) != tuple(shape[1:]):
        raise DatasetError(
            f"The labels have shape {labels.shape[1:]} per example, but the model's output is {tuple(shape[1:])}."
        )
    return Objective("MeanSquaredError")


def _sums_to_1(sample: NDArray[Any]) -> bool:
    import numpy as np

    return bool((sample >= 0).all() and np.allclose(sample.sum(axis=-1), 1.0, atol=1e-3))

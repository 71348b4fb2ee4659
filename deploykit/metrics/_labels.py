"""Scores and labels of two classes, several classes, or several labels at once, as columns of yes and no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.contract import CLASSES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Kinds of outputs that have scores of classes or labels.
SCORED = (CLASSES - {"classes"}) | {"several"}
#: How far the scores of an example may be from 1 in all to be probabilities.
_WHOLE = 1e-3


def unsuitable(outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
    """Why there is not one score for each class, or each label, of each example; "" when there is."""
    if truth is None:
        return "needs labels"
    if truth.dtype.kind not in "iub" or truth.ndim not in (1, 2):
        return "needs one class for each example, or 0 and 1 for each of several labels"
    if outputs.dtype.kind != "f" or outputs.ndim != 2:
        return f"needs one score for each class; the model returns {outputs.dtype} of shape {outputs.shape[1:]}"
    if truth.ndim == 2 and outputs.shape != truth.shape:
        return f"labels are {truth.shape[1:]}, outputs {outputs.shape[1:]}"
    if truth.ndim == 1 and outputs.shape[1] < 2:
        return "needs at least two class scores"
    if truth.size and truth.min() < 0:
        return f"needs classes from 0; the labels hold {int(truth.min())}"
    if truth.ndim == 1 and truth.size and truth.max() >= outputs.shape[1]:
        return f"labels go up to class {int(truth.max())}, the model has {outputs.shape[1]} classes"
    return ""


def columns(outputs: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores to rank examples by, and whether they are positive: one column for two classes, else one for each.

    Scores of two classes are ranked by their difference, which orders logits and probabilities alike; those of more
    classes as probabilities, since logits of one class are not comparable between examples.
    """
    import numpy as np

    if truth.ndim == 2:
        return outputs.astype(np.float64), truth > 0
    if outputs.shape[1] == 2:
        return (outputs[:, 1:].astype(np.float64) - outputs[:, :1]), (truth == 1)[:, None]
    return probabilities(outputs), truth[:, None] == np.arange(outputs.shape[1])


def probabilities(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Scores as probabilities along the last axis: through softmax unless they are that already."""
    import numpy as np

    values = scores.astype(np.float64)
    if (values >= 0).all() and (np.abs(values.sum(axis=-1) - 1) <= _WHOLE).all():
        return values
    with np.errstate(invalid="ignore"):
        raised = np.exp(values - values.max(axis=-1, keepdims=True))
        found: NDArray[np.float64] = raised / raised.sum(axis=-1, keepdims=True)
    return found


def above(outputs: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Whether the probability of each of several labels is above a threshold; NaN is not.

    `deploykit.measuring.answers.read` moves logits so that their own threshold, 0, is at one half.
    """
    import numpy as np

    if threshold != 0.5 and outputs.size and (np.nanmin(outputs) < 0 or np.nanmax(outputs) > 1):
        threshold = float(np.log(threshold / (1 - threshold))) + 0.5
    found: NDArray[np.bool_] = outputs > threshold
    return found

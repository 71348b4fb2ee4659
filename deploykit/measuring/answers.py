"""What a model answers: the class of each example, and how sure it is of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The answer to an example whose scores are not all finite. It is never right, as for the metrics.
NOT_A_NUMBER = -1
#: Rows of scores whose sum is as near to 1 as this are probabilities.
_ROUNDING = 0.05
#: Examples that are looked at to see whether scores are probabilities.
_LOOKED_AT = 1000


def are_classes(outputs: NDArray[Any], labels: NDArray[Any] | None) -> bool:
    """Whether the highest output is the answer, as the metrics of classes see it.

    Args:
        outputs: First output, shape (examples, classes) or (examples, …).
        labels: Class indices (examples,) or targets (examples, …); None when there are none.
    """
    if outputs.ndim != 2:
        return False
    if labels is None:
        return bool(outputs.shape[1] > 1)
    if labels.ndim != 1 or labels.dtype.kind != "i":
        return False
    return bool(outputs.shape[1] > 1 or int(labels.max(initial=0)) <= 1)


def answers(outputs: NDArray[Any]) -> NDArray[np.int64]:
    """The class of each example, shape (examples,); `NOT_A_NUMBER` where scores are not finite.

    A single column is the probability of class 1 of two: exactly one half is class 0, as the metrics read it.

    Args:
        outputs: First output, shape (examples, classes).
    """
    import numpy as np

    found = outputs[:, 0] > 0.5 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    return np.where(np.isfinite(outputs).all(axis=1), found, NOT_A_NUMBER).astype(np.int64)


def are_probabilities(outputs: NDArray[Any]) -> bool:
    """Whether class scores are probabilities, to be asked of the model as given.

    Quantized outputs of many classes are rounded so much that their sum tells nothing.

    Args:
        outputs: First output, shape (examples, classes).
    """
    import numpy as np

    if outputs.shape[1] == 1:
        return True
    head = np.asarray(outputs[:_LOOKED_AT], np.float64)
    head = head[np.isfinite(head).all(axis=1)]
    within = bool(len(head)) and head.min() >= -1e-6 and head.max() <= 1 + _ROUNDING
    return within and bool((abs(head.sum(axis=1) - 1) <= _ROUNDING).mean() > 0.95)


def shares(outputs: NDArray[Any], *, probabilities: bool) -> NDArray[np.float64]:
    """Confidences from class scores, shape (examples, classes), two columns for one.

    Args:
        outputs: First output, shape (examples, classes).
        probabilities: Whether scores are that already; others go through softmax. See `are_probabilities`.

    Returns:
        Shares; NaN in the rows of examples whose scores are not all finite.
    """
    import numpy as np

    finite = np.isfinite(outputs).all(axis=1, keepdims=True)
    values = np.where(finite, outputs, np.nan).astype(np.float64)
    if values.shape[1] == 1:
        one = values.clip(0.0, 1.0)
        return np.concatenate([1.0 - one, one], axis=1)
    if probabilities:
        return values
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return found

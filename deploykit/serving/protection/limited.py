"""Less of an answer: what a model can be copied from is in the scores that it gives beside the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.contract import OutputMeaning

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Kinds of outputs with a score for each class of an example.
_CLASSES = frozenset({"scores", "probabilities"})
#: Kinds of outputs with a score for each label, above a threshold where it is there.
_LABELS = frozenset({"logit", "probability", "several"})


def limited(array: NDArray[Any], meaning: OutputMeaning | None, rule: str) -> NDArray[Any] | None:
    """An output with less in it, of the same shape and dtype, so that every client can read it.

    Args:
        array: The output, batch first.
        meaning: What it is; None if that is not known.
        rule: ``"label"``: 1 for the best class of each example and 0 for all others, or for each label whether it is
            there. ``"top-N"``: the others' scores are 0 if they are probabilities, and lower than those by 1
            otherwise. ``"rounded-N"``: N digits after the point.

    Returns:
        None: there is no score to limit.
    """
    import numpy as np

    kind, _, number = rule.partition("-")
    if kind == "rounded":
        if array.dtype.kind not in "fc":
            return array
        wide = array.astype(np.result_type(array.dtype, np.float64))
        with np.errstate(over="ignore", invalid="ignore"):  # NumPy multiplies before it rounds
            rounded = np.round(wide, int(number))
        kept: NDArray[Any] = np.where(np.isfinite(rounded), rounded, wide).astype(array.dtype)
        return kept
    if array.dtype.kind in "OSU" or meaning is None or meaning.kind not in _CLASSES | _LABELS:
        return None if array.dtype.kind in "fc" or meaning is None or meaning.kind in _CLASSES | _LABELS else array
    if meaning.kind in _LABELS:
        there: NDArray[Any] = array > (0 if meaning.kind == "logit" else meaning.threshold)
        return there.astype(array.dtype)
    axis = meaning.class_axis
    order = np.argsort(-array.astype(np.float64), axis=axis, kind="stable")
    rank = np.argsort(order, axis=axis, kind="stable")
    if kind == "label":
        best: NDArray[Any] = rank == 0
        return best.astype(array.dtype)
    kept = rank < int(number)
    if meaning.kind == "probabilities":
        rest: NDArray[Any] = np.zeros_like(array)
    else:
        rest = np.min(np.where(kept, array.astype(np.float64), np.inf), axis=axis, keepdims=True) - 1
    found: NDArray[Any] = np.where(kept, array, rest).astype(array.dtype)
    return found

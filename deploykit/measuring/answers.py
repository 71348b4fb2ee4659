"""What a model answers: outputs read as the contract says, the class of each example, and how sure it is of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract, OutputMeaning
from deploykit.core.errors import DatasetError
from deploykit.core.vocabulary import blank_of
from deploykit.core.vocabulary import decoded as as_text
from deploykit.measuring.boxes.decoding import decoded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The answer to an example whose scores hold NaN. It is never right, as for the metrics.
NOT_A_NUMBER = -1
#: Kinds with one number per answer.
_NUMBERS = ("logit", "probability", "classes")
#: Text outputs of models whose class names are numbers are read up to this one.
_MOST_NUMBERS = 10_000


def read(outputs: NDArray[Any], meaning: OutputMeaning, names: tuple[str, ...] = ()) -> NDArray[Any]:
    """An output in the form that metrics take.

    One number for two classes becomes two scores, classes come last, class names become numbers.

    Args:
        outputs: As the model gives it, batch first.
        meaning: What it is.
        names: Class names by index, for outputs that are text; the vocabulary that decodes them to text.

    Returns:
        Scores, shape (examples, …, classes); class numbers, shape (examples, …); texts, shape (examples,), or the
        numbers of their tokens where there is no vocabulary; or numbers as they are.
    """
    import numpy as np

    kind = meaning.kind
    if kind == "text":
        if not names and outputs.dtype.kind in "iu":  # a decoder wrote them, and there is no tokenizer
            return outputs
        return texts(outputs, names)
    if kind in _NUMBERS and meaning.class_axis not in (-1, outputs.ndim - 1):  # masks with their one channel first
        outputs = outputs.squeeze(meaning.class_axis)[..., None]
    if kind in ("logit", "probability"):
        one = _without_last(outputs).astype(np.float64)
        none = np.zeros_like(one) if kind == "logit" else 1.0 - one
        return np.stack([none, one], axis=-1)
    if kind == "classes":
        found = _without_last(outputs)
        if found.dtype.kind in "SUO":
            place = {name: i for i, name in enumerate(names)}
            if not names:  # labels are numbers: so are names that are written as numbers
                place = {str(i): i for i in range(_MOST_NUMBERS)}
            text = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in found.ravel().tolist()]
            return np.array([place.get(t, NOT_A_NUMBER) for t in text], np.int64).reshape(found.shape)
        if found.dtype.kind == "f":
            return np.where(np.isnan(found), NOT_A_NUMBER, found).astype(np.int64)
        whole = found.astype(np.int64)
        if any(name.startswith("-") for name in names):  # -1 and 1: names of classes that are numbers
            numbers = [int(name) for name in names]
            return np.where(np.isin(whole, numbers), np.searchsorted(numbers, whole), NOT_A_NUMBER)
        return whole
    if kind in ("scores", "probabilities") and outputs.dtype.kind in "iu":  # quantized, without a scale
        outputs = outputs.astype(np.float64)
    if kind in ("scores", "probabilities") and meaning.class_axis not in (-1, outputs.ndim - 1):
        return np.moveaxis(outputs, meaning.class_axis, -1)
    if kind == "several" and meaning.threshold != 0.5:
        return outputs - meaning.threshold + 0.5
    return outputs


def texts(outputs: NDArray[Any], vocabulary: tuple[str, ...]) -> NDArray[np.str_]:
    """An output as one text for each example, shape (examples,).

    Scores of a vocabulary at each step are decoded greedily: the likeliest token of each, where repeated ones are one
    and the blank is none if the vocabulary has one (connectionist temporal classification).

    Args:
        outputs: Text (examples,) or (examples, 1); scores (examples, steps, tokens); token numbers (examples, steps).
        vocabulary: The tokens by number.
    """
    import numpy as np

    if outputs.dtype.kind in "SUO":
        flat = outputs.reshape(len(outputs), -1)[:, 0].tolist() if outputs.size else []
        return np.array([v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in flat], np.str_)
    scores = outputs.dtype.kind == "f"
    tokens = answers(outputs) if scores else outputs
    blank = blank_of(vocabulary) if scores else None
    rows = tokens.reshape(len(tokens), -1).tolist()
    return np.array([as_text(row, vocabulary, blank) for row in rows], np.str_)


def read_as(outputs: NDArray[Any], contract: Contract) -> NDArray[Any]:
    """The scored output in the form that metrics take; see `read`. That of a detector is what `scored_of` gives."""
    return read(outputs, contract.scored, contract.labels.named)


def scored_of(outputs: Mapping[str, NDArray[Any]], contract: Contract) -> NDArray[Any]:
    """The scored output of all that a model gives, batch first; a detector's outputs are decoded into detections.

    Raises:
        DatasetError: The model is a detector, and it is not known how its outputs are to be read.
    """
    if contract.scored.kind != "boxes":
        return outputs[contract.scored.name]
    if contract.detection is None:
        raise DatasetError(
            "It is not known how the detector's outputs are to be read.",
            remedy="run dk.examine(model, data), which says it; or declare it with boxes= (--boxes).",
        )
    return decoded(outputs, contract.detection)


def _without_last(outputs: NDArray[Any]) -> NDArray[Any]:
    return outputs[..., 0] if outputs.ndim > 1 and outputs.shape[-1] == 1 else outputs


def are_classes(meaning: OutputMeaning, shape: tuple[int, ...]) -> bool:
    """Whether an example has one answer, a class.

    Args:
        meaning: What the output is.
        shape: Of what `read` gives for it.
    """
    return meaning.is_classes and len(shape) == (1 if meaning.kind == "classes" else 2)


def answers(scores: NDArray[Any]) -> NDArray[np.int64]:
    """The class of each example, shape (examples, …); `NOT_A_NUMBER` where scores hold NaN.

    −∞ is a score: the class is impossible.

    Args:
        scores: What `read` gives: scores, or class numbers.
    """
    import numpy as np

    if scores.dtype.kind in "iu":
        return scores.astype(np.int64)
    return np.where(np.isnan(scores).any(axis=-1), NOT_A_NUMBER, scores.argmax(axis=-1)).astype(np.int64)


def shares(scores: NDArray[Any], meaning: OutputMeaning) -> NDArray[np.float64]:
    """Confidences of classes, shape (examples, classes): scores that are not probabilities go through softmax.

    Args:
        scores: What `read` gives: scores, or class numbers, which are taken as sure.
        meaning: What the output is.

    Returns:
        Shares; NaN in the rows of examples whose scores hold NaN.
    """
    import numpy as np

    if scores.dtype.kind in "iu":
        width = int(scores.max(initial=0)) + 1
        found: NDArray[np.float64] = (scores[:, None] == np.arange(width)).astype(np.float64)
        return found
    values = scores.astype(np.float64)
    values[np.isnan(values).any(axis=1)] = np.nan
    if meaning.kind in ("probabilities", "probability"):
        return values
    with np.errstate(invalid="ignore"):
        raised = np.exp(values - values.max(axis=1, keepdims=True))
        soft: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
        return soft

"""What a model answered to one example, for people: the scored output, read as the contract says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract
from deploykit.measuring.answers import are_classes, read

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Numbers that are shown of an answer that is not a class.
_SHOWN = 8


@dataclass(frozen=True)
class Answered:
    """An answer.

    Attributes:
        prediction: Name of the class, or the text that the answer is; "" when it is neither.
        top: The best classes and their scores, best first.
        numbers: The first numbers of an answer that is not a class.
        shares: Whether scores are probabilities.
    """

    prediction: str
    top: tuple[tuple[str, float], ...] = ()
    numbers: tuple[float, ...] = ()
    shares: bool = False


def answered(
    outputs: Mapping[str, NDArray[Any]] | NDArray[Any], contract: Contract, classes: Sequence[str] = (), top: int = 5
) -> Answered:
    """The answer to the first example.

    Args:
        outputs: By name, batch first; just the array of a model with one output.
        contract: What outputs mean.
        classes: Class names by index; () for those of the contract.
        top: How many classes are named at most.
    """
    import numpy as np

    meaning = contract.scored
    output = outputs[meaning.name] if isinstance(outputs, Mapping) else outputs
    known = tuple(classes) or contract.labels.named
    if meaning.kind == "classes" and output.dtype.kind in "SUO":
        value = output[:1].ravel().tolist()[0]
        return Answered(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))
    scores = read(output[:1], meaning, known)
    if scores.dtype.kind == "U":
        return Answered(str(scores[0]))
    if not are_classes(meaning, scores.shape):
        return Answered("", numbers=tuple(float(v) for v in np.ravel(scores[0])[:_SHOWN]))
    if meaning.kind == "classes":
        return Answered(_name(int(scores[0]), known))
    order = np.argsort(-scores[0].astype(np.float64), kind="stable")[:top].tolist()
    best = tuple((_name(i, known), float(scores[0][i])) for i in order)
    return Answered(best[0][0], best, shares=meaning.kind in ("probabilities", "probability"))


def _name(index: int, known: Sequence[str]) -> str:
    return known[index] if 0 <= index < len(known) else str(index)

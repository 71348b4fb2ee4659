"""What looks wrong by itself: outputs and data of the original model, without trying anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract
from deploykit.data.dataset import Dataset
from deploykit.data.meaning import EMBEDDINGS
from deploykit.measuring.answers import NOT_A_NUMBER, answers, are_classes, read

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Up to so many examples may well get one answer.
_FEW = 20
#: How far the length of a vector may be from 1, and the share of right answers that no embedding gives.
_UNIT, _CHANCE = 1e-2, 0.5
#: Share of data outside the range of a quantized input that is worth a word.
_OUTSIDE = 0.5


def odd_outputs(
    contract: Contract,
    outputs: Mapping[str, NDArray[Any]],
    labels: NDArray[Any] | None,
    tells: Callable[[NDArray[Any]], bool],
) -> Iterator[str]:
    """What is odd about the outputs of the original model, one sentence each.

    Args:
        contract: What they are taken to mean.
        outputs: By name, examples first.
        labels: Of these examples.
        tells: Whether scores tell the classes apart, though one is always the highest.
    """
    import numpy as np

    scored = outputs[contract.scored.name]
    count = len(scored) if scored.ndim else 0
    for meaning in contract.outputs:
        value = outputs.get(meaning.name, np.zeros(0))
        if value.dtype.kind == "f" and (share := float(np.isnan(value).mean()) if value.size else 0.0):
            yield f"Output {meaning.name!r} is NaN in {100 * share:.1f} % of its values for the original model."
    meaning, value = contract.scored, scored
    if value.dtype.kind == "f" and meaning.why == "as said":
        low, high = float(np.nanmin(value)), float(np.nanmax(value))
        if meaning.kind in ("probability", "probabilities") and (low < -1e-3 or high > 1 + 1e-3):
            yield (
                f"Output {meaning.name!r} is said to hold probabilities, and goes from {low:.3g} to {high:.3g}: "
                f"leave out scores=, or say scores={'logit' if meaning.kind == 'probability' else 'scores'!r}."
            )
        if meaning.kind == "logit" and low >= 0 and high <= 1:
            yield (
                f"Output {meaning.name!r} is said to be a logit, and lies between 0 and 1 like a probability: "
                "leave out scores=, or say scores='probability'."
            )
    if labels is not None and labels.ndim == 1 and meaning.kind == "scores" and value.ndim == 2:
        named = any(word in meaning.name.lower() for word in EMBEDDINGS)
        unit = value.dtype.kind == "f" and bool((np.abs(np.linalg.norm(value, axis=1) - 1) < _UNIT).all())
        if (named or unit) and not tells(value) and not _told(value, labels):
            how = "by its name" if named else "its vectors have length 1"
            yield (
                f"Output {meaning.name!r} looks like an embedding ({how}), which has no column for each class: "
                "give no labels, and say scores='embedding' (--scores embedding), so that "
                "candidates are compared with the original's vectors."
            )
            return
    others = [o.name for o in contract.outputs if o.role == "judged"]
    if count > _FEW and others and value.ndim and bool((value == value[:1]).all()):
        ways = " or ".join(f"output={name!r}" for name in others)
        yield f"Output {meaning.name!r} is the same for all {count} examples: score another one, {ways}."
        return
    scores = read(value, meaning, contract.labels.named)
    if (
        value.dtype.kind in "SUO"
        and meaning.kind != "text"
        and labels is not None
        and bool((answers(scores) == NOT_A_NUMBER).all())
    ):
        some = value.flat[0].decode("utf-8", "replace") if isinstance(value.flat[0], bytes) else str(value.flat[0])
        yield (
            f"Output {meaning.name!r} gives names such as {some!r}, and none of them is a label: give the names as "
            "labels, or all of them in the order of the class numbers with classes=[…] (--classes)."
        )
        return
    if count <= _FEW or not are_classes(meaning, scores.shape) or len(np.unique(answers(scores))) > 1:
        return
    if labels is None or (len(np.unique(labels)) > 1 and not tells(scores)):
        yield f"The original model answers class {int(answers(scores)[0])} for all {count} examples."


def _told(value: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Whether answers are right more often than those of no class would be."""
    right = float((answers(value) == labels).mean())
    return bool(right > max(2 / value.shape[1], _CHANCE))


def odd_ranges(session: Any, data: Dataset) -> Iterator[str]:
    """Data that lie outside what quantized inputs can hold, one sentence for each input."""
    import numpy as np

    batch = data.batch("evaluation", slice(0, 64))
    for spec, meaning in session.feeding.inputs:
        if meaning is None or not spec.scale or meaning.raw or meaning.name not in batch:
            continue
        info, value = np.iinfo(spec.dtype), batch[meaning.name].astype(np.float64)
        low, high = ((q - spec.zero_point) * spec.scale for q in (info.min, info.max))
        share = float(((value < low - spec.scale) | (value > high + spec.scale)).mean())
        if share > _OUTSIDE:
            yield (
                f"{100 * share:.0f} % of the numbers for input {meaning.name!r} lie outside {low:.4g} to "
                f"{high:.4g}, the real numbers it can hold: scale them, or say that they are its own integers with "
                "preprocess=dk.Preprocess(raw=True) (--raw)."
            )

"""The loss that gradients are taken of: that of the labels where there are some, else that of the model's own answers.

The distance of a model to its own answers has no gradient. Where there are no labels, its answers therefore count as if
they were right: the most probable class, or the more probable side of two. Numbers that stand for themselves are
squared: what changes them most counts most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import OutputMeaning
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.model import TensorSpec, align
from deploykit.surgery.reconstruction.walk import Examples
from deploykit.training.objective import Objective, objective
from deploykit.training.targets import Labels, Several, TrainingGoal
from deploykit.training.teacher import looks_like
from deploykit.transforms._contract import TransformJob

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Ends:
    """The outputs of a model.

    Attributes:
        specs: What it gives, each with the last operator or activation where that is known.
        places: Their places among what it computes.
        run: Gives them for some examples, by name.
    """

    specs: Sequence[TensorSpec]
    places: Sequence[int]
    run: Callable[[Mapping[str, NDArray[Any]]], Mapping[str, Any]]


def goal_of(job: TransformJob, ends: Ends, examples: Examples) -> TrainingGoal:
    """The loss of calibration examples; notes which one it is.

    Args:
        job: Has the data, and is given the note.
        ends: The outputs of the model.
        examples: The examples.

    Raises:
        UnsupportedModelError: The model gives no real numbers.
        DatasetError: Labels and output do not belong together.
    """
    contract = job.examples.contract
    own = [spec.name for spec in ends.specs]
    meanings: dict[str, OutputMeaning] = {}
    if contract is not None:
        found = align([o.name for o in contract.outputs], own)
        meanings = {own[j]: o for j, o in zip(found, contract.outputs, strict=True) if j >= 0}
    scored = next((name for name in own if name in meanings and meanings[name].role == "scored"), own[0])
    answers, goals, words = _answers(ends, examples), dict[int, TrainingGoal](), list[str]()
    for spec, place in zip(ends.specs, ends.places, strict=True):
        meaning, sample = meanings.get(spec.name), answers[spec.name]
        if sample.dtype.kind != "f" or (meaning is not None and (meaning.role == "state" or meaning.fixed)):
            continue
        labels = job.examples.calibration_labels() if spec.name == scored and examples.index is not None else None
        if labels is not None:
            labels = labels[examples.index]
            goals[place] = Labels(objective(spec.operator.lower(), (None, *sample.shape[1:]), labels, sample), labels)
        else:
            goals[place] = Labels(*_as_if_right(sample, meaning))
        words.append(f"{goals[place].name} of {'the labels' if labels is not None else 'its own answers'}")
    if not goals:
        raise UnsupportedModelError(
            "The model gives no real numbers that a gradient could be taken of.",
            remedy="choose a criterion other than taylor.",
        )
    job.notes["gradient_of"] = ", ".join(dict.fromkeys(words))
    return Several(goals)


def _answers(ends: Ends, examples: Examples) -> dict[str, NDArray[Any]]:
    import numpy as np

    unit = examples.batch or 1
    found: dict[str, list[NDArray[Any]]] = {spec.name: [] for spec in ends.specs}
    for start in range(0, examples.count // unit * unit, unit):
        given = ends.run(examples.part(slice(start, start + unit)))
        for name, values in found.items():
            values.append(np.asarray(given[name]))
    return {name: np.concatenate(values) for name, values in found.items()}


def _as_if_right(sample: NDArray[Any], meaning: OutputMeaning | None) -> tuple[Objective, NDArray[Any]]:
    """The loss of answers as if they were labels, and these labels."""
    import numpy as np

    kind = meaning.kind if meaning is not None else looks_like(sample)
    if kind in ("scores", "probabilities") and (meaning is None or meaning.class_axis in (-1, sample.ndim - 1)):
        return Objective("SparseCategoricalCrossentropy", from_logits=kind == "scores"), sample.argmax(-1)
    if kind in ("logit", "probability", "several"):
        likely = sample > (0.0 if kind == "logit" else 0.5)
        return Objective("BinaryCrossentropy", from_logits=kind == "logit"), likely.astype(np.float32)
    return Objective("MeanSquaredError"), np.zeros_like(sample)

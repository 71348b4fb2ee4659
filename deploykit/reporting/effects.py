"""What the steps of stored rows have done to a model. Reasoning asks for effects; families are for the eye.

Among them is what a file would take if each weight took only the bits that it needs: computed, since no runtime reads
such files.
"""

from __future__ import annotations

from deploykit.core.candidate import Recipe, Step
from deploykit.core.errors import DeploykitError
from deploykit.core.problem import Effect
from deploykit.core.result import Result
from deploykit.reporting import numbers
from deploykit.transforms._contract import TRANSFORMS
from deploykit.transforms._weights.sharing import SAVED


def effects_of(step: Step) -> frozenset[Effect]:
    """What a step has done; nothing is known of a technique, or of settings, that this installation does not have."""
    if step.technique not in TRANSFORMS:
        return frozenset()
    try:
        return TRANSFORMS.get(step.technique).effects(step.parameters)
    except DeploykitError:
        return frozenset()


def has_effect(recipe: Recipe, effect: Effect) -> bool:
    """Whether a step of a recipe has an effect."""
    return any(effect in effects_of(step) for step in recipe.steps)


def packed_bytes(row: Result) -> int | None:
    """Size of the file packed so; None when the weights are not known to have few values, or are quantized for real."""
    found = [notes[SAVED] for notes in row.notes.values() if isinstance(notes, dict) and SAVED in notes]
    if row.measurement is None or not found or has_effect(row.candidate.recipe, "quantized"):
        return None
    return max(0, row.measurement.size_bytes - int(found[-1]))


def storage(row: Result) -> str:
    """The sizes of a file whose weights have few values, in words: what it is stored in, compressed and packed."""
    assert row.measurement is not None
    compressed = f"{numbers.kilobytes(row.measurement.compressed_bytes)} kB compressed"
    packed = packed_bytes(row)
    return compressed if packed is None else f"{compressed}, {numbers.kilobytes(packed)} kB packed (computed)"

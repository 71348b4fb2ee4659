"""What the steps of stored rows have done to a model. Reasoning asks for effects; families are for the eye."""

from __future__ import annotations

from deploykit.core.candidate import Recipe, Step
from deploykit.core.errors import DeploykitError
from deploykit.core.problem import Effect
from deploykit.transforms._contract import TRANSFORMS


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

"""Real images with a real, small model: digits of 8 × 8 pixels, told apart by logistic regression in numpy alone."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits

from deploykit.monitoring.fitting import fit
from deploykit.monitoring.profile import Observed, Profile

MODEL = "ab" * 32


class Digits(NamedTuple):
    images: Any
    labels: Any
    weights: Any
    directions: Any


@cache
def digits() -> Digits:
    """Images that the model has not seen, and the model."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    images, labels = data.images[order].astype(np.float32), data.target[order]
    directions = np.random.default_rng(1).normal(0, 0.05, (64, 32)).astype(np.float32)
    seen, weights = hidden(images[:600], directions), np.zeros((32, 10))
    for _ in range(300):
        gap = softmax(seen @ weights) - np.eye(10)[labels[:600]]
        weights -= 0.3 * seen.T @ gap / 600
    return Digits(images[600:], labels[600:], weights, directions)


def softmax(scores: Any) -> Any:
    found = np.exp(scores - scores.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def hidden(images: Any, directions: Any) -> Any:
    return np.maximum(images.reshape(len(images), -1) @ directions, 0)


def answered(images: Any) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Inputs, outputs and embedding."""
    known = digits()
    embedding = hidden(images, known.directions)
    return {"image": images}, {"class": softmax(embedding @ known.weights).astype(np.float32)}, embedding


@cache
def profile(seed: int = 0, count: int = 1200) -> Profile:
    """A profile of images drawn with replacement from those of `digits`, so that these are the truth."""
    chosen = np.random.default_rng(seed).integers(0, len(digits().images), count)
    inputs, outputs, embedding = answered(digits().images[chosen])
    return fit(
        inputs, outputs, "class", "probabilities", model=MODEL, labels=digits().labels[chosen], embedding=embedding,
        tap="hidden",
    )  # fmt: skip


def observed(images: Any, of: Profile | None = None) -> Observed:
    return (of or profile()).observe(*answered(images))


def taken(whole: Observed, places: Any) -> Observed:
    sure = whole.confidence
    return Observed(whole.features[places], whole.rarity[places], None if sure is None else sure[places])

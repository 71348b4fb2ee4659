"""Data as a model takes them: checked against its signature, and split for what can be done to it."""

from __future__ import annotations

from typing import Any

from deploykit.converters._contract import CONVERTERS
from deploykit.core.contract import Declared
from deploykit.core.model import Model
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.transforms._contract import TRANSFORMS


def checked(model: Model, data: Any, declared: Declared) -> Dataset:
    """The data with inputs and labels as the model needs them, and the contract that says what they mean.

    Nothing trains models of some formats, nor quantized ones: training examples beyond calibration are evaluated there.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        declared: What the user says of the signature.

    Raises:
        DatasetError: The data do not fit, or could be meant in two ways.
    """
    found = Dataset.of(data)
    if not trainable(model.format) or FORMATS.get(model.format).quantized(model):
        found = found.without_training()
    return found.check(model, declared)


def trainable(format_name: str) -> bool:
    """Whether a technique trains models of a format, or of one that it can be converted to."""
    reached, new = set[str](), {format_name}
    while new:
        reached |= new
        new = {c.produces for c in CONVERTERS.all() if c.accepts in reached} - reached
    return any("train" in v.needs and v.accepts & reached for t in TRANSFORMS.all() for v in t.variants)

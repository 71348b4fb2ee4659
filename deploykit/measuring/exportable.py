"""A candidate's file, with what running or exporting it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from deploykit.core.candidate import Recipe, Target
from deploykit.core.check import BaselineCheck
from deploykit.core.model import Model
from deploykit.core.result import Result
from deploykit.data.dataset import Dataset


@dataclass(frozen=True)
class Exportable:
    """A candidate's file and what its export needs to know.

    Attributes:
        path: The candidate's model file or folder, in ``format``.
        format: Its format.
        name: Name to serve it by.
        recipe: What was done to the model.
        target: What it was measured on.
        model: The original model.
        data: The data it was measured with, inputs named as the model's.
        result: Its row in the report, None when it was built without being measured.
        alternatives: Rows of the same report, best first, from which a layout that cannot hold this candidate names
            one it can.
        check: What was found when the original model was run on some examples.
    """

    path: Path
    format: str
    name: str
    recipe: Recipe
    target: Target
    model: Model
    data: Dataset
    result: Result | None = None
    alternatives: tuple[Result, ...] = ()
    check: BaselineCheck = field(default_factory=BaselineCheck)

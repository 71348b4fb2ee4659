"""A candidate's file, with what running or exporting it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from deploykit.core.candidate import Recipe, Target
from deploykit.core.check import BaselineCheck
from deploykit.core.class_change import ClassChange
from deploykit.core.digest import path_digest
from deploykit.core.errors import ExportError
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
        by_class: Returns how accuracy changes for each class of the evaluation split, greatest loss first; empty if
            answers are not classes or it was not measured. It may run the model.
        digest: SHA-256 that the file had when it was measured, for a file that lies outside the store.
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
    by_class: Callable[[], tuple[ClassChange, ...]] = tuple
    digest: str = ""

    def unchanged(self) -> Self:
        """Itself.

        Raises:
            ExportError: The file is not what it was.
        """
        if self.digest and path_digest(self.path) != self.digest:
            raise ExportError(
                f"{self.path} has changed since it was measured (its SHA-256 is another).",
                remedy="put the file back that was measured, or load the new one and measure it.",
            )
        return self

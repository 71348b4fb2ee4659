"""The exported folder: a model with everything needed to serve it and to check that it is the one that was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from deploykit.core.candidate import Recipe, Target
from deploykit.core.dataset import Dataset
from deploykit.core.errors import ExportError, SettingError
from deploykit.core.model import Model, TensorSpec
from deploykit.core.preprocess import Preprocess
from deploykit.core.result import Result
from deploykit.core.serial import Plain, dump, parse

MANIFEST = "manifest.json"
SCHEMA = 1


@dataclass(frozen=True)
class Exportable:
    """A candidate's file and what its export needs to know.

    Attributes:
        path: The candidate's model file or folder, in ``format``.
        format: Its format.
        name: Name to serve it by.
        recipe: What was done to the model.
        target: What it was measured on.
        model: The model as given.
        data: The data it was measured with, inputs named as the model's.
        result: Its row in the report, None when it was built without being measured.
        alternatives: Rows of the same report, best first, from which a layout that cannot hold this candidate names
            one it can.
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


@dataclass(frozen=True)
class Manifest(Plain):
    """Content of ``manifest.json``.

    Attributes:
        name: Name to serve the model by.
        layout: Name of the exporter.
        format: Format of the model file.
        model: Path of the model, relative to the folder.
        target: Runtime, device and threads it was measured on.
        inputs: Raw inputs as clients send them, before preprocessing: names, shapes (batch first, free), dtypes.
        outputs: Outputs as clients get them.
        preprocess: Input name → preprocessing, applied by the server.
        classes: Class names by index.
        recipe: What was done to the model.
        source: Name, format and digest of the model as given.
        result: The candidate's row.
        files: Relative path → SHA-256 of every file but the manifest.
        golden_inputs: Relative path of an ``.npz`` of raw inputs.
        golden_outputs: Relative path of an ``.npz`` of the outputs the measured candidate gave for them.
        tolerance: Largest difference from the golden outputs that still counts as the same, relative to their range.
        requirements: pip requirements to run the model.
        version: deploykit's version.
        schema: Version of this layout.
    """

    name: str
    layout: str
    format: str
    model: str
    target: Target
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocess: dict[str, Preprocess]
    classes: tuple[str, ...]
    recipe: Recipe
    source: dict[str, str]
    result: Result | None
    files: dict[str, str]
    golden_inputs: str
    golden_outputs: str
    tolerance: float
    requirements: tuple[str, ...]
    version: str
    schema: int = SCHEMA
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """An exported folder.

    Attributes:
        path: The folder.
        manifest: Its manifest.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read the manifest of an exported folder; checks no digest (``dk.verify`` does).

        Raises:
            ExportError: No artifact, or one from a newer version.
        """
        folder = Path(path).absolute()
        file = folder / MANIFEST
        if not file.is_file():
            raise ExportError(
                f"{folder} is no exported artifact: it has no {MANIFEST}.", remedy="make one with deploykit export."
            )
        try:
            data = parse(file.read_bytes())
        except ValueError as error:
            raise ExportError(f"{file} is not JSON: {error}.", remedy="export again.") from error
        schema = data.get("schema") if isinstance(data, dict) else None
        if not isinstance(schema, int) or schema > SCHEMA:
            raise ExportError(
                f"{file} has schema {schema!r}, this version reads up to {SCHEMA}.", remedy="upgrade deploykit."
            )
        try:
            return cls(folder, Manifest.from_json(data))
        except SettingError as error:
            raise ExportError(f"{file}: {error.message}", remedy="export again.") from error

    def save(self) -> None:
        """Write the manifest."""
        (self.path / MANIFEST).write_bytes(dump(self.manifest, indent=True))

    @property
    def model_path(self) -> Path:
        """The model file or folder."""
        return self.path / self.manifest.model

    def __repr__(self) -> str:
        return f"Artifact({str(self.path)!r}, {self.manifest.layout}, {self.manifest.format}: {self.manifest.recipe})"

"""What every export layout must do, and candidates to export."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.artifacts.artifact import MANIFEST, Artifact, files_of
from deploykit.core.candidate import Recipe, Target
from deploykit.core.errors import ExportError, SettingError
from deploykit.core.model import Model
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.exporters._contract import EXPORTERS
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.loading._load import load
from deploykit.measuring.exportable import Exportable
from deploykit.runtimes._contract import runtimes_for
from deploykit.testing import models

_EXAMPLES = 60


def exportable(kind: str, folder: Path, **changes: Any) -> Exportable:
    """A tiny model as a candidate: the original model, on the first runtime that runs its format.

    Image models get raw bytes of shape (8, 8), scaled to [0, 1] and reshaped by the preprocessing, and class names.

    Args:
        kind: A name in `deploykit.testing.models.KINDS`.
        folder: Existing folder for the model.
        **changes: Other values for `Exportable`'s fields, or ``data``.
    """
    path = models.build(kind, folder)
    model = load(path)
    runtime = runtimes_for(model.format)[0].name
    fields = {
        "path": path,
        "format": model.format,
        "name": kind.partition("_")[0],
        "recipe": Recipe(),
        "target": Target(runtime),
        "model": model,
        "data": changes.pop("data", None) or data_for(model),
    }
    return Exportable(**{**fields, **changes})


def data_for(model: Model) -> Dataset:
    """Seeded random data that fit a tiny model."""
    import numpy as np

    rng = np.random.default_rng(0)
    sizes = {spec.name: tuple(d or 1 for d in spec.shape[1:]) for spec in model.inputs if spec.shape}
    if any(spec.name == "image" or len(sizes[spec.name]) > 1 for spec in model.inputs):
        shape = sizes[model.inputs[0].name]
        raw = rng.integers(0, 256, (_EXAMPLES, *models.IMAGE_SHAPE[:2])).astype(np.uint8)
        labels = rng.integers(0, models.CLASSES, _EXAMPLES)
        steps = Preprocess(scale=1 / 255, reshape=shape)
        return Dataset.from_arrays(raw, labels, preprocess=steps, classes=("boot", "coat", "shirt")).check(model)
    arrays: Mapping[str, Any] = {
        spec.name: _random(rng, (_EXAMPLES, *sizes[spec.name]), spec.dtype) for spec in model.inputs
    }
    return Dataset.from_arrays(dict(arrays)).check(model)


def _random(rng: Any, shape: tuple[int, ...], dtype: str) -> Any:
    if dtype == "string":
        return rng.choice(["red", "grün", "blue"], shape)
    if "int" in dtype:
        return rng.integers(-9, 10, shape).astype(dtype)
    return rng.normal(size=shape).astype(dtype)


def _exported(name: str, candidate: Exportable, tmp_path: Path) -> Artifact:
    """An artifact of a layout, exported once a run of the tests: what changes it takes a copy."""
    home = tmp_path.parent / f"conformance-{name}-{candidate.path.stem}" / "out"
    return Artifact.open(home) if home.exists() else export(candidate, home, layout=name)


class ExporterConformance:
    """Derive, and give fixtures ``name`` (a layout) and ``candidate`` (an `Exportable` it can hold)."""

    def test_facts(self, name: str) -> None:
        """Declared facts are complete."""
        exporter = EXPORTERS.get(name)
        assert exporter.label
        assert exporter.help
        assert not exporter.missing()
        for parameter in exporter.parameters:
            assert parameter.help
            assert parameter.check(parameter.default, name) == parameter.default

    def test_its_parameters_are_kept(self, name: str, candidate: Exportable, tmp_path: Path) -> None:
        """The manifest holds them, and one that the layout does not have is refused before anything is written."""
        artifact = _exported(name, candidate, tmp_path)
        assert artifact.manifest.parameters == EXPORTERS.get(name).complete({})
        try:
            export(candidate, tmp_path / "other", layout=name, parameters={"papyrus": 1})
        except SettingError as error:
            assert "papyrus" in str(error)  # noqa: PT017
        else:
            raise AssertionError("an unknown parameter was taken")
        assert not (tmp_path / "other").exists()

    def test_an_export_is_complete(self, name: str, candidate: Exportable, tmp_path: Path) -> None:
        """Every file has a digest, the manifest reads back, and nothing temporary is left."""
        artifact = _exported(name, candidate, tmp_path)
        manifest = artifact.manifest
        assert manifest.layout == name
        assert sorted(manifest.files) == [f for f in files_of(artifact.path) if f != MANIFEST]
        assert Artifact.open(artifact.path).manifest == manifest
        assert artifact.model_path.exists()
        assert [p.name for p in artifact.path.parent.iterdir()] == ["out"]
        assert "README.md" in manifest.files

    def test_a_moved_artifact_verifies(self, name: str, candidate: Exportable, tmp_path: Path) -> None:
        """The folder holds all it needs, under any name."""
        moved = shutil.copytree(_exported(name, candidate, tmp_path).path, tmp_path / "elsewhere ünd new")
        found = verify(moved)
        assert found.ok, found
        assert found.difference == 0.0

    def test_a_changed_model_is_noticed(self, name: str, candidate: Exportable, tmp_path: Path) -> None:
        """One byte is enough."""
        artifact = Artifact.open(shutil.copytree(_exported(name, candidate, tmp_path).path, tmp_path / "out"))
        path = artifact.model_path
        file = path if path.is_file() else max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.name)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        found = verify(artifact)
        assert not found.ok
        assert file.relative_to(artifact.path).as_posix() in found.problems[0]
        assert found.difference is None

    def test_a_foreign_format_is_refused_by_name(self, name: str, candidate: Exportable) -> None:
        """The reason names the layout and the format."""
        exporter = EXPORTERS.get(name)
        reason = exporter.refuses("papyrus")
        assert not exporter.refuses(candidate.format)
        assert bool(reason) == (exporter.accepts is not None)
        if reason:
            assert exporter.label in reason
            assert "papyrus" in reason

    def test_an_occupied_folder_is_left_alone(self, name: str, candidate: Exportable, tmp_path: Path) -> None:
        """Somebody's files are not replaced."""
        folder = tmp_path / "mine"
        folder.mkdir()
        (folder / "notes.txt").write_text("keep", encoding="utf-8")
        try:
            export(candidate, folder, layout=name)
        except ExportError as error:
            assert "notes.txt" in str(error)  # noqa: PT017
        else:
            raise AssertionError("an occupied folder was replaced")
        assert files_of(folder) == ["notes.txt"]

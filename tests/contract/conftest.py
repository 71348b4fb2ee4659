"""Adapters of other packages, as pip would install them."""

import shutil
from pathlib import Path

import pytest

from deploykit.core import registry


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install one module with these entry points: the module, and its metadata beside it."""

    def added(module: Path, entry_points: str) -> None:
        shutil.copy(module, tmp_path)
        metadata = tmp_path / f"{module.stem}-1.0.dist-info"
        metadata.mkdir()
        name = module.stem.replace("_", "-")
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(entry_points)
        monkeypatch.syspath_prepend(str(tmp_path))
        registry._all_entry_points.cache_clear()

    yield added
    monkeypatch.undo()
    registry._all_entry_points.cache_clear()

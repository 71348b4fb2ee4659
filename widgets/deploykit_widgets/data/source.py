"""Which constructor of Dataset reads a path."""

from __future__ import annotations

from pathlib import Path

from deploykit.data.kinds import READERS, reader_of
from deploykit.data.preprocess import Preprocess
from deploykit_widgets.state import DataSource

__all__ = ["READERS", "source_of"]


def source_of(path: str, preprocess: Preprocess | None = None) -> DataSource:
    """How a path is read."""
    return DataSource(path, reader_of(Path(path).expanduser()), preprocess or Preprocess())

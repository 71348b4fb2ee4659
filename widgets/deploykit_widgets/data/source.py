"""Which constructor of Dataset reads a path."""

from __future__ import annotations

from pathlib import Path

from deploykit.data.preprocess import Preprocess
from deploykit_widgets.state import DataSource

#: Constructors of Dataset that read a path.
READERS = ("from_npz", "from_csv", "from_image_folder")


def source_of(path: str, preprocess: Preprocess | None = None) -> DataSource:
    """How a path is read: folders as images by class, .csv as a table, everything else as .npz."""
    found = Path(path).expanduser()
    reader = "from_image_folder" if found.is_dir() else "from_csv" if found.suffix.lower() == ".csv" else "from_npz"
    return DataSource(path, reader, preprocess or Preprocess())

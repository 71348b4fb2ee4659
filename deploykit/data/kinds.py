"""Which constructor of a dataset reads a path: what lies there decides."""

from __future__ import annotations

import contextlib
from pathlib import Path

#: Constructors of `deploykit.Dataset` that read a path and need nothing else to be said.
READERS = ("from_npz", "from_csv", "from_coco", "from_image_folder")


def reader_of(path: Path) -> str:
    """Name of the constructor that reads a path.

    A folder with ``.npy`` files is read like an ``.npz`` file, other folders as images by class, ``.csv`` as a table,
    ``.json`` as boxes in COCO's form, everything else as ``.npz``. Nothing is opened.

    Args:
        path: Of data; it need not exist.
    """
    with contextlib.suppress(OSError):
        if path.is_dir():
            arrays = any(p.suffix == ".npy" for p in path.iterdir())
            return "from_npz" if arrays else "from_image_folder"
    return {".csv": "from_csv", ".json": "from_coco"}.get(path.suffix.lower(), "from_npz")

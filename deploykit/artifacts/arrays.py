"""Named arrays in an ``.npz`` file, whatever the names are."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import ExportError
from deploykit.data.texts import with_objects, without_objects

if TYPE_CHECKING:
    from numpy.typing import NDArray


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of an ``.npz`` that ``numpy.load`` reads; unlike ``numpy.savez``, an array may be called ``file``.

    Text and bytes of any length are stored as plain arrays: object arrays would have to be pickled.
    """
    import numpy as np

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, array in without_objects(arrays).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
    return made.getvalue()


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an ``.npz``, see `packed`."""
    path.write_bytes(packed(arrays))


def load_arrays(path: Path, content: bytes | bytearray | None = None) -> dict[str, NDArray[Any]]:
    """Read an ``.npz``; nothing is unpickled.

    Args:
        path: The file.
        content: What it holds, if that is known already.

    Raises:
        ExportError: The file cannot be read; names it.
    """
    import numpy as np

    try:
        with np.load(path if content is None else io.BytesIO(content), allow_pickle=False) as file:
            return with_objects({name: file[name] for name in file.files})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path} cannot be read: {error}.", remedy="export again.") from error

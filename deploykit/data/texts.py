"""Text and bytes of any length on disk, without pickle and unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.mapped import is_large, open_mapped, write_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Between the name of an array and that of one of the parts it was packed into.
_MARK = "::"
_PARTS = ("shape", "ends", "bytes", "text")


def packed(array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """An object array of text and bytes as plain arrays.

    Returns:
        ``shape``; ``ends``, where each item ends in ``bytes`` (uint8); ``text``, whether each was text.
    """
    import numpy as np

    items = array.ravel().tolist()
    blobs = [v if isinstance(v, bytes) else v.encode("utf-8", "surrogatepass") for v in items]
    return {
        "shape": np.array(array.shape, np.int64),
        "ends": np.cumsum([len(b) for b in blobs], dtype=np.int64),
        "bytes": np.frombuffer(b"".join(blobs), np.uint8),
        "text": np.array([isinstance(v, str) for v in items], bool),
    }


def unpacked(parts: dict[str, NDArray[Any]]) -> NDArray[np.object_]:
    """What `packed` packed."""
    import numpy as np

    blob, ends = parts["bytes"].tobytes(), parts["ends"].tolist()
    found = np.empty(len(ends), object)
    start = 0
    for i, (end, is_text) in enumerate(zip(ends, parts["text"].tolist(), strict=True)):
        item = blob[start:end]
        found[i] = item.decode("utf-8", "surrogatepass") if is_text else item
        start = end
    return found.reshape(tuple(parts["shape"].tolist()))


def without_objects(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What ``numpy.savez`` can write: object arrays of text and bytes became several plain ones each."""
    found: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        if array.dtype == object:
            found |= {f"{name}{_MARK}{part}": value for part, value in packed(array).items()}
        else:
            found[name] = array
    return found


def with_objects(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What was given to `without_objects`, in the same order."""
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        whole, mark, part = name.rpartition(_MARK)
        if mark and part in _PARTS and all(f"{whole}{_MARK}{other}" in arrays for other in _PARTS):
            found.setdefault(whole, {})[part] = array
        else:  # also a tensor whose own name ends like a part
            found[name] = array
    return {name: unpacked(value) if isinstance(value, dict) else value for name, value in found.items()}


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write ``path`` (``.npy``); object arrays of text and bytes as an ``.npz`` beside it."""
    import numpy as np

    if array.dtype == object:
        np.savez(path.with_suffix(".npz"), **packed(array))  # type: ignore[arg-type]  # the stub's allow_pickle hides them
    elif is_large(array):
        write_array(path, array)
    else:
        np.save(path, np.asarray(array), allow_pickle=False)


def open_array(path: Path) -> NDArray[Any]:
    """Read what `save_array` wrote; plain arrays are mapped into memory.

    Raises:
        DatasetError: The file is missing or damaged; names it.
    """
    import numpy as np

    other = path.with_suffix(".npz")
    try:
        if other.exists():
            with np.load(other, allow_pickle=False) as file:
                return unpacked({name: file[name] for name in file.files})
        return open_mapped(path)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DatasetError(f"{path} cannot be read: {error}.", remedy="save the data again.") from error


def fixed_width(value: NDArray[Any]) -> NDArray[Any]:
    """Text with a fixed width: object arrays would have to be pickled."""
    if value.dtype.kind != "O":
        return value
    return value.astype("S" if all(isinstance(v, bytes) for v in value.flat) else "U")

"""Columns of numbers and of images as examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.data.resize import resized
from deploykit.data.sources._picture import decoded

if TYPE_CHECKING:
    from numpy.typing import NDArray


def numbers(source: str, columns: Sequence[tuple[str, Any, str]]) -> NDArray[Any]:
    """Columns of numbers side by side, shape (rows, numbers).

    Args:
        source: Named in messages.
        columns: Name, values, and ``"number"``, or ``"numbers"`` for a list in each row.

    Raises:
        DatasetError: A value is missing, or lists have several lengths.
    """
    import numpy as np

    parts = []
    for name, values, kind in columns:
        missing = [i for i, v in enumerate(values) if v is None]
        if missing:
            raise DatasetError(
                f"{source}: column {name!r} has {len(missing):,} missing values; the first is in row {missing[0] + 1}.",
                remedy="drop or fill those rows.",
            )
        if kind == "numbers" and len({len(v) for v in values}) > 1:
            raise DatasetError(
                f"{source}: the lists in column {name!r} differ in length.", remedy="pad or crop them to one length."
            )
        array = np.asarray(values)
        parts.append(array[:, None] if array.ndim == 1 else array)
    if len(parts) == 1:
        return parts[0]
    kinds = {part.dtype.kind for part in parts}
    return np.concatenate([p.astype(np.float32) if "f" in kinds else p for p in parts], axis=1)


def images(
    source: str, name: str, values: Sequence[Any], size: tuple[int, int] | None
) -> tuple[NDArray[Any], tuple[int, int], list[str]]:
    """Images of one size, shape (rows, height, width, channel), that size, and sentences.

    Args:
        source: Named in messages.
        name: Of the column.
        values: The bytes of each, or the path of its file.
        size: (height, width); None: the most frequent.

    Raises:
        DatasetError: One is missing, or cannot be read.
    """
    import numpy as np

    found = []
    for place, value in enumerate(values, 1):
        content = (value or {}).get("bytes")
        if content is None and (path := (value or {}).get("path")) and Path(path).is_file():
            content = Path(path).read_bytes()
        if content is None:
            raise DatasetError(
                f"{source}: row {place} of column {name!r} has no image.",
                remedy="save the dataset with the bytes of its images.",
            )
        try:
            found.append(decoded(content, lambda _height, _width: None))
        except DatasetError as error:
            raise DatasetError(f"{source}, row {place}: {error.message}", remedy=error.remedy) from error
    usual = size or Counter((int(p.shape[0]), int(p.shape[1])) for p in found).most_common(1)[0][0]
    scaled = sum(p.shape[:2] != usual for p in found)
    channels = max(p.shape[2] for p in found)
    whole = [p if p.shape[:2] == usual else resized(p[None], usual)[0] for p in found]
    whole = [np.repeat(p, channels, axis=2) if p.shape[2] == 1 < channels else p for p in whole]
    notes = [f"{scaled:,} of {len(found):,} images have another size and were scaled to {usual[0]} x {usual[1]}."]
    return np.stack(whole), usual, notes if scaled else []

"""Reading and checking data: every function gives arrays or one clear error."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_LABEL_COLUMNS = ("label", "target", "class", "y")
_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"}


def _present(path: Path) -> None:
    if not path.exists():
        raise DatasetError(f"no such data: {str(path)!r}.", remedy="check the path.")


def read_npz(path: Path, x_key: str | None, y_key: str | None) -> dict[str, Any]:
    """Arguments of ``from_arrays`` from an ``.npz`` file."""
    import numpy as np

    _present(path)
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path} is not an .npz file.", remedy="write it with numpy.savez(path, x=…, y=…).")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = list(file)
            if x_key is None and "x_train" in names:
                pairs = {"x": "x_train", "y": "y_train", "x_test": "x_test", "y_test": "y_test"}
            else:
                pairs = {"x": x_key or "x", "y": y_key or "y"}
            missing = [n for k, n in pairs.items() if n not in names and (k == "x" or (k == "y" and y_key))]
            if missing:
                raise DatasetError(
                    f"{path} has no array {missing[0]!r}; it has {', '.join(names) or 'none'}.",
                    remedy="name the arrays with x_key= and y_key= (--x-key, --y-key).",
                )
            found: dict[str, Any] = {k: file[n] for k, n in pairs.items() if n in names}
            if "classes" in names:
                found["classes"] = [str(c) for c in file["classes"].tolist()]
            return found
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise DatasetError(f"{path} cannot be read: {error}.", remedy="save plain arrays, not objects.") from error


def read_csv(path: Path, label: str | None) -> dict[str, Any]:
    """Arguments of ``from_arrays`` from a CSV file with a header."""
    import numpy as np

    _present(path)
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = [h.strip() for h in next(rows, [])]
        if label is not None and label not in header:
            raise DatasetError(f"{path} has no column {label!r}; it has {', '.join(header)}.")
        label = label or next((h for h in header if h.lower() in _LABEL_COLUMNS), None)
        target = header.index(label) if label else None
        values: list[list[float]] = []
        labels: list[str] = []
        for line, row in enumerate(rows, 2):
            if not row:
                continue
            if len(row) != len(header):
                raise DatasetError(f"{path}, line {line}: {len(row)} cells, the header has {len(header)}.")
            numbers = []
            for column, cell in enumerate(row):
                if column == target:
                    labels.append(cell.strip())
                    continue
                try:
                    numbers.append(float(cell))
                except ValueError:
                    raise DatasetError(
                        f"{path}, line {line}, column {header[column]!r}: {cell!r} is not a number.",
                        remedy="encode text as numbers, or name the label column with label= (--label).",
                    ) from None
            values.append(numbers)
    found: dict[str, Any] = {"x": np.array(values, np.float32).reshape(len(values), -1)}
    if target is not None:
        found["y"] = _numbers_or_text(labels)
    return found


def _numbers_or_text(cells: list[str]) -> NDArray[Any]:
    import numpy as np

    for kind in (np.int64, np.float32):
        try:
            return np.array(cells).astype(kind)
        except ValueError:
            continue
    return np.array(cells)


def read_image_folder(path: Path, size: tuple[int, int] | None) -> dict[str, Any]:
    """Arguments of ``from_arrays`` from a folder of images by class."""
    _present(path)
    parts = {"x": path / "train", "x_test": path / "test"} if (path / "train").is_dir() else {"x": path}
    classes = sorted(p.name for p in parts["x"].iterdir() if p.is_dir()) if parts["x"].is_dir() else []
    if not classes:
        raise DatasetError(f"{path} has no class folders.", remedy="put images into one sub-folder for each class.")
    found: dict[str, Any] = {"classes": classes}
    for key, folder in parts.items():
        if folder.is_dir():
            images, labels, size = _read_images(folder, classes, size)
            found |= {key: images, key.replace("x", "y"): labels}
    return found


def _read_images(
    folder: Path, classes: list[str], size: tuple[int, int] | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[int, int] | None]:
    import numpy as np

    image_module = require("PIL.Image", "")
    images, labels = [], []
    for index, name in enumerate(classes):
        for file in sorted((folder / name).glob("*")):
            if file.suffix.lower() not in _IMAGES:
                continue
            try:
                with image_module.open(file) as picture:
                    picture.draft("RGB", None)
                    picture = picture.convert("L" if picture.mode in {"1", "L"} else "RGB")
                    size = size or (picture.height, picture.width)
                    if (picture.height, picture.width) != size:
                        picture = picture.resize((size[1], size[0]))
                    pixels = np.asarray(picture, np.uint8)
            except (OSError, ValueError, image_module.DecompressionBombError) as error:
                raise DatasetError(
                    f"{file} is not a readable image: {error}.", remedy="remove or replace it."
                ) from error
            images.append(pixels if pixels.ndim == 3 else pixels[..., None])
            labels.append(index)
    if not images:
        raise DatasetError(f"{folder} holds no images ({', '.join(sorted(_IMAGES))}).")
    channels = max(i.shape[2] for i in images)
    return np.stack([np.broadcast_to(i, (*i.shape[:2], channels)) for i in images]), np.array(labels), size


def read_tf(dataset: Any) -> tuple[Any, Any]:
    """Examples and labels of a ``tf.data.Dataset``, concatenated."""
    import numpy as np

    spec = dataset.element_spec
    has_labels = isinstance(spec, tuple)
    example = spec[0] if has_labels else spec
    first = next(iter(example.values())) if isinstance(example, Mapping) else example
    # Batched datasets have a leading dimension that is free or differs from example to example.
    label_rank = spec[1].shape.rank if has_labels else None
    batched = (label_rank or 0) > 0 if has_labels else first.shape.rank is not None and first.shape[0] is None
    if int(dataset.cardinality()) == -1:
        raise DatasetError("the tf.data.Dataset is infinite.", remedy="add .take(n).")
    elements = list((dataset if batched else dataset.batch(256)).as_numpy_iterator())
    if not elements:
        raise DatasetError("the tf.data.Dataset is empty.")
    xs = [e[0] if has_labels else e for e in elements]
    y = np.concatenate([e[1] for e in elements]) if has_labels else None
    if isinstance(xs[0], Mapping):
        return {k: np.concatenate([e[k] for e in xs]) for k in xs[0]}, y
    return np.concatenate(xs), y

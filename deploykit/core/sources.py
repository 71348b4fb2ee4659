"""Reading data: every function gives the arguments of `Dataset.from_arrays`, or one clear error."""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LABEL_COLUMNS = ("label", "target", "class", "y")
_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"}
_TF_BATCH = 256
_INFINITE = -1


def _present(path: Path, *, folder: bool = False) -> None:
    if not path.exists():
        raise DatasetError(f"no such data: {str(path)!r}.", remedy="check the path.")
    if not folder and not path.is_file():
        raise DatasetError(f"{path} is not a regular file.", remedy="give the path of a file.")
    if folder and not path.is_dir():
        raise DatasetError(f"{path} is not a folder.", remedy="give a folder with one sub-folder for each class.")


def read_npz(path: Path, x_key: str | None, y_key: str | None) -> dict[str, Any]:
    """Arguments of ``from_arrays`` from an ``.npz`` file."""
    import numpy as np

    _present(path)
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path} is not an .npz file.", remedy="write it with numpy.savez(path, x=…, y=…).")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = list(file)
            pairs = _npz_names(names, x_key, y_key)
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
    except (ValueError, OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, MemoryError) as error:
        raise DatasetError(f"{path} cannot be read: {error}.", remedy="save plain arrays, not objects.") from error


def _npz_names(names: Sequence[str], x_key: str | None, y_key: str | None) -> dict[str, str]:
    if x_key is None and y_key is None and "x_train" in names:
        return {"x": "x_train", "y": "y_train", "x_test": "x_test", "y_test": "y_test"}
    return {"x": x_key or "x", "y": y_key or "y"}


def read_csv(path: Path, label: str | None) -> dict[str, Any]:
    """Arguments of ``from_arrays`` from a CSV file with a header."""
    import numpy as np

    _present(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = [h.strip() for h in next(rows, [])]
            target = _label_column(path, header, label)
            cells = list(_csv_rows(path, rows, header, target))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is not a CSV file: {error}.", remedy="save it as UTF-8 text.") from error
    if not cells:
        raise DatasetError(f"{path} is empty: it has no rows below its header.")
    found: dict[str, Any] = {"x": np.array([numbers for numbers, _ in cells], np.float32)}
    if target is not None:
        found["y"] = _numbers_or_text([text for _, text in cells])
    return found


def _label_column(path: Path, header: list[str], label: str | None) -> int | None:
    if label is not None and label not in header:
        raise DatasetError(
            f"{path} has no column {label!r}; it has {', '.join(header) or 'none'}.",
            remedy="name the label column with label= (--label).",
        )
    label = label or next((h for h in header if h.lower() in _LABEL_COLUMNS), None)
    return None if label is None else header.index(label)


def _csv_rows(
    path: Path, rows: Iterator[list[str]], header: list[str], target: int | None
) -> Iterator[tuple[list[float], str]]:
    for line, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != len(header):
            raise DatasetError(f"{path}, line {line}: {len(row)} cells, the header has {len(header)}.")
        label = "" if target is None else row[target].strip()
        if target is not None and not label:
            raise DatasetError(f"{path}, line {line}: the label is empty.", remedy="fill it, or drop the row.")
        yield [_number(path, line, header[i], cell) for i, cell in enumerate(row) if i != target], label


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise DatasetError(
            f"{path}, line {line}, column {column!r}: {cell!r} is not a number.",
            remedy="encode text as numbers, or name the label column with label= (--label).",
        ) from None


def _numbers_or_text(cells: list[str]) -> NDArray[Any]:
    import numpy as np

    for kind in (np.int64, np.float64):
        try:
            return np.array(cells).astype(kind)
        except (ValueError, OverflowError):
            continue
    return np.array(cells)


def read_image_folder(path: Path, size: tuple[int, int] | None, classes: Sequence[str]) -> dict[str, Any]:
    """Arguments of ``from_arrays`` from a folder of images by class."""
    _present(path, folder=True)
    parts = {"x": path / "train", "x_test": path / "test"} if (path / "train").is_dir() else {"x": path}
    if "x_test" in parts and not parts["x_test"].is_dir():
        del parts["x_test"]
    names = list(classes) or _class_folders(parts["x"])
    if not names:
        raise DatasetError(f"{path} has no class folders.", remedy="put images into one sub-folder for each class.")
    found: dict[str, Any] = {"classes": names}
    for key, folder in parts.items():
        if unknown := sorted(set(_class_folders(folder)) - set(names)):
            raise DatasetError(f"{folder} holds the folder {unknown[0]!r}, which is none of the classes {names}.")
        images, labels, size = _read_images(folder, names, size)
        found |= {key: images, key.replace("x", "y"): labels}
    return found


def _class_folders(folder: Path) -> list[str]:
    # Hidden folders (.ipynb_checkpoints) and what archives leave behind (__MACOSX) are no classes.
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _read_images(
    folder: Path, classes: list[str], size: tuple[int, int] | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[int, int]]:
    import numpy as np

    images, labels = [], []
    for index, name in enumerate(classes):
        for file in sorted((folder / name).glob("*")):
            if file.suffix.lower() in _IMAGES:
                pixels = _read_image(file, size)
                size = size or (pixels.shape[0], pixels.shape[1])
                images.append(pixels)
                labels.append(index)
    if not images or size is None:
        raise DatasetError(f"{folder} holds no images ({', '.join(sorted(_IMAGES))}).")
    channels = max(i.shape[2] for i in images)
    return np.stack([np.broadcast_to(i, (*i.shape[:2], channels)) for i in images]), np.array(labels), size


def _read_image(file: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    import numpy as np

    image_module = require("PIL.Image", "")
    try:
        with image_module.open(file) as picture:
            picture = picture.convert("L" if picture.mode in {"1", "L"} else "RGB")
            if size is not None and (picture.height, picture.width) != size:
                picture = picture.resize((size[1], size[0]))
            pixels: NDArray[np.uint8] = np.asarray(picture, np.uint8)
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
        raise DatasetError(f"{file} is not a readable image: {error}.", remedy="remove or replace it.") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


def read_tf(dataset: Any, batched: bool | None) -> tuple[Any, Any]:
    """Examples and labels of a ``tf.data.Dataset``, concatenated."""
    import numpy as np

    spec = dataset.element_spec
    pair = spec if isinstance(spec, tuple) else (spec,)
    parts = list(pair[0].values()) if isinstance(pair[0], Mapping) else [pair[0]]
    odd = [p for p in (*parts, *pair[1:2]) if not hasattr(p, "shape") or type(p).__name__ != "TensorSpec"]
    if odd:
        raise DatasetError(
            f"the elements of the tf.data.Dataset are {spec}.",
            remedy="map them to (x, y): x a tensor or a dictionary of tensors by input name, y a tensor.",
        )
    if int(dataset.cardinality()) == _INFINITE:
        raise DatasetError("the tf.data.Dataset is infinite.", remedy="add .take(n).")
    if batched is None:
        batched = _is_batched(parts[0].shape, pair[1].shape if len(pair) > 1 else None)
    elements = list((dataset if batched else dataset.batch(_TF_BATCH)).as_numpy_iterator())
    if not elements:
        raise DatasetError("the tf.data.Dataset is empty.")
    xs = [e[0] if isinstance(e, tuple) else e for e in elements]
    y = np.concatenate([e[1] for e in elements]) if len(pair) > 1 else None
    if isinstance(xs[0], Mapping):
        return {k: np.concatenate([e[k] for e in xs]) for k in xs[0]}, y
    return np.concatenate(xs), y


def _is_batched(x: Any, y: Any) -> bool:
    """Whether elements of shape ``x`` with labels of shape ``y`` are batches: a guess, but for the rare cases right."""
    if x.rank is None or x.rank == 0:
        return x.rank is None
    if x[0] is None:  # batched without drop_remainder
        return True
    if y is None or not y.rank:
        return False
    # With drop_remainder both have the batch size in front; one-hot labels of single examples seldom have.
    return bool(x[0] == y[0]) and x.rank > 1

"""Reading and checking data: every function gives arrays or one clear error."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.extras import require
from deploykit.core.model import align

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deploykit.core.dataset import Dataset, Split
    from deploykit.core.model import Model

_LABEL_COLUMNS = ("label", "target", "class", "y")
_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"}


def checked(x: Any, y: Any, classes: tuple[str, ...], name: str) -> tuple[Split, tuple[str, ...]]:
    """Validated examples and labels, and the class names (found when labels are text)."""
    from deploykit.core.dataset import Split

    given = x if isinstance(x, Mapping) else {"input": x}
    inputs = {str(k): _array(v, f"{name}[{k!r}]" if isinstance(x, Mapping) else name) for k, v in given.items()}
    if not inputs:
        raise DatasetError(f"{name} is an empty dictionary.", remedy="give one array for each input of the model.")
    lengths = {k: len(v) for k, v in inputs.items()}
    if len(set(lengths.values())) > 1:
        raise DatasetError(f"inputs have different numbers of examples: {lengths}.")
    count = next(iter(lengths.values()))
    if count == 0:
        raise DatasetError(f"{name} is empty: 0 examples.", remedy="check the file or the filter that made it.")
    if y is None:
        return Split(inputs, None), classes
    labels, classes = _labels(y, classes, name.replace("x", "y", 1))
    if len(labels) != count:
        raise DatasetError(f"{name} has {count} examples, its labels are {len(labels)}.")
    return Split(inputs, labels), classes


def _array(value: Any, name: str) -> NDArray[Any]:
    import numpy as np

    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DatasetError(f"{name} is ragged: examples differ in shape ({error}).") from error
    if array.dtype == object or array.dtype.kind not in "biufSU":
        raise DatasetError(f"{name} has dtype {array.dtype}.", remedy="give numbers of one shape (or text).")
    if array.ndim == 0:
        raise DatasetError(f"{name} is a single value.", remedy="give an array with the examples along its first axis.")
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = np.unique(np.nonzero(~np.isfinite(array))[0])
        raise DatasetError(
            f"{name} holds NaN or infinite values in {len(bad)} of {len(array)} examples (the first is {bad[0]}).",
            remedy="drop or fill these examples.",
        )
    return array


def _labels(value: Any, classes: tuple[str, ...], name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    import numpy as np

    labels = _array(value, name)
    if labels.dtype.kind in "SU":
        text = labels.astype(str)
        names = classes or tuple(sorted(set(text.tolist())))
        unknown = sorted(set(text.tolist()) - set(names))
        if unknown:
            raise DatasetError(f"{name} holds labels that are not in classes: {', '.join(unknown[:5])}.")
        place = {n: i for i, n in enumerate(names)}
        return np.array([place[t] for t in text.tolist()], np.int64), names
    if labels.ndim == 2 and labels.shape[1] > 1 and _one_hot(labels):
        labels = labels.argmax(axis=1)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind in "bu":
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise DatasetError(f"{name} holds the negative class index {labels.min()}.", remedy="number classes from 0.")
    if classes and labels.dtype.kind == "i" and labels.max() >= len(classes):
        raise DatasetError(f"{name} holds class {labels.max()}, but classes names only {len(classes)}.")
    return labels, classes


def _one_hot(labels: NDArray[Any]) -> bool:
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())


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


def fitted(data: Dataset, model: Model) -> Dataset:
    """The dataset with its inputs named as the model's; see `Dataset.check`."""
    if len(data.inputs) != len(model.inputs):
        raise DatasetError(
            f"the model takes {len(model.inputs)} input(s) ({'; '.join(map(str, model.inputs))}), the data have "
            f"{len(data.inputs)}: {', '.join(data.inputs)}.",
            remedy="give a dictionary with one array for each input.",
        )
    order = align([i.name for i in model.inputs], data.inputs)
    names = {data.inputs[j]: spec.name for spec, j in zip(model.inputs, order, strict=True)}
    probe = data.batch("evaluation", slice(0, 1))
    for spec in model.inputs:
        given = probe[next(old for old, new in names.items() if new == spec.name)]
        _check_input(spec.name, spec.example_shape, spec.dtype, given, bool(spec.scale))
    _check_classes(data, model)
    from deploykit.core.dataset import Split

    renamed = replace(
        data,
        splits={s: Split({names[k]: v for k, v in p.inputs.items()}, p.labels) for s, p in data.splits.items()},
        preprocess={names[k]: v for k, v in data.preprocess.items()},
    )
    renamed.__dict__.pop("digest", None)
    return renamed


def _check_input(
    name: str, wanted: tuple[int | None, ...] | None, dtype: str, batch: NDArray[Any], quantized: bool
) -> None:
    given = batch.shape[1:]
    if wanted is not None and (
        len(wanted) != len(given) or any(w not in (None, g) for w, g in zip(wanted, given, strict=True))
    ):
        shown = tuple("any" if w is None else w for w in wanted)
        raise DatasetError(
            f"input {name!r}: the model takes examples of shape {shown}, the data give {given} after preprocessing.",
            remedy="set reshape= or resize= in Preprocess (--reshape, --resize), or give the right data.",
        )
    if dtype == "string" or batch.dtype.kind in "SU":
        if (dtype == "string") != (batch.dtype.kind in "SU"):
            raise DatasetError(f"input {name!r}: the model takes {dtype}, the data are {batch.dtype}.")
        return
    if not quantized and dtype.lstrip("u").startswith("int") and batch.dtype.kind == "f":
        raise DatasetError(
            f"input {name!r}: the model takes {dtype}, the data are {batch.dtype} after preprocessing.",
            remedy="give whole numbers, and leave out scale= and offset=.",
        )


def _check_classes(data: Dataset, model: Model) -> None:
    labels = data.labels()
    shape = model.outputs[0].shape if model.outputs else None
    if labels is None or labels.dtype.kind != "i" or labels.ndim != 1 or not shape or len(shape) != 2:
        return
    outputs, highest = shape[1], int(labels.max())
    if outputs is not None and outputs > 1 and highest >= outputs:
        raise DatasetError(
            f"the labels go up to class {highest}, the model has {outputs} outputs (classes 0 to {outputs - 1}).",
            remedy="number classes from 0, or use the model that was trained on these classes.",
        )
    if outputs is not None and outputs > 1 and data.classes and len(data.classes) != outputs:
        raise DatasetError(f"{len(data.classes)} class names are given, the model has {outputs} outputs.")

"""Examples of a dataset as pictures or cells: compute, then draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.data.dataset import Dataset
from deploykit.reporting.views.images import as_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most columns of a table of samples.
COLUMNS = 8
#: Integers above this, and far above the number of examples, are amounts or codes rather than classes.
_MOST_CLASSES = 100_000


def picture_of(data: Dataset, index: int, split: str = "evaluation") -> NDArray[Any] | None:
    """An example as image bytes, or None if it is not an image.

    Args:
        data: The data; only data with a single input have pictures.
        index: Index of the example.
        split: Its split.

    Returns:
        (height, width) or (height, width, channel).
    """
    if len(data.inputs) != 1:
        return None
    name = data.inputs[0]
    raw = data.splits[split].inputs[name][index]
    preprocess = data.preprocess.get(name)
    if not getattr(raw, "ndim", 0):  # a text, or a number
        return None
    if preprocess is not None:
        raw = preprocess.reshaped(raw[None])[0]
    return as_picture(raw)


def label_of(data: Dataset, index: int, split: str = "evaluation") -> str:
    """The label of an example as text, "" if there is none."""
    labels = data.labels(split)
    return "" if labels is None else class_name(data, labels[index])


def class_name(data: Dataset, label: Any) -> str:
    """A label as text."""
    if isinstance(label, str):
        return str(label)
    if getattr(label, "ndim", 0):
        return ", ".join(f"{v:g}" for v in label.ravel()[:4])
    if getattr(label, "dtype", None) is not None and label.dtype.kind in "iub":
        return data.classes[int(label)] if 0 <= int(label) < len(data.classes) else str(int(label))
    return f"{label:.4g}" if isinstance(label, float) or hasattr(label, "dtype") else str(label)


def cells_of(data: Dataset, index: int, split: str = "evaluation") -> list[str]:
    """An example as the first numbers of each input."""
    found = []
    for values in data.splits[split].inputs.values():
        flat = values[index].ravel()[:COLUMNS] if getattr(values[index], "ndim", 0) else [values[index]]
        found += [f"{v:.4g}" if getattr(v, "dtype", None) is not None and v.dtype.kind == "f" else str(v) for v in flat]
    return found[:COLUMNS]


def class_counts(data: Dataset, split: str = "evaluation") -> list[tuple[str, int]]:
    """Number of examples per class; empty if the labels are not classes."""
    import numpy as np

    labels = data.labels(split)
    if labels is None or labels.dtype.kind not in "iub" or labels.ndim != 1 or not len(labels):
        return []
    if labels.min() < 0 or labels.max() > max(_MOST_CLASSES, 10 * len(labels), len(data.classes)):
        return []
    found = np.bincount(labels.astype(np.int64), minlength=len(data.classes))
    return [(data.classes[i] if i < len(data.classes) else str(i), int(n)) for i, n in enumerate(found)]

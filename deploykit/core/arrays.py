"""Checking examples and labels: arrays that can be used, or one clear error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.core.dataset import Split


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
    if empty := [k for k, v in inputs.items() if v.size == 0]:
        raise DatasetError(f"the examples of {', '.join(empty)} are empty: shape {inputs[empty[0]].shape[1:]}.")
    if y is None:
        return Split(inputs, None), classes
    labels_name = name.replace("x", "y", 1)
    labels = _array(y, labels_name)
    if len(labels) != count:
        raise DatasetError(f"{name} has {count} examples, {labels_name} has {len(labels)} labels.")
    labels, classes = _labels(labels, classes, labels_name)
    return Split(inputs, labels), classes


def same_kind(train: Split, held_out: Split) -> None:
    """Raise `DatasetError` unless held-out examples look like the training examples."""
    if set(held_out.inputs) != set(train.inputs):
        raise DatasetError(f"x has inputs {sorted(train.inputs)}, x_test has {sorted(held_out.inputs)}.")
    for name, array in train.inputs.items():
        if array.shape[1:] != held_out.inputs[name].shape[1:]:
            raise DatasetError(
                f"examples of x have shape {array.shape[1:]}, those of x_test {held_out.inputs[name].shape[1:]}.",
                remedy="give both the same form.",
            )
    ours, theirs = train.labels, held_out.labels
    if ours is not None and theirs is None:
        raise DatasetError("y is given, y_test is not.", remedy="pass y_test, so that accuracy can be measured.")
    if (
        ours is not None
        and theirs is not None
        and (ours.dtype.kind, ours.shape[1:])
        != (
            theirs.dtype.kind,
            theirs.shape[1:],
        )
    ):
        raise DatasetError(
            f"y is {ours.dtype} {ours.shape[1:]}, y_test is {theirs.dtype} {theirs.shape[1:]}.",
            remedy="give both as class indices, class names, one-hot rows or real numbers.",
        )


def _array(value: Any, name: str) -> NDArray[Any]:
    import numpy as np

    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DatasetError(
            f"{name} is ragged: its examples differ in shape.", remedy="pad or crop them to one shape."
        ) from error
    if array.dtype == object:
        array = _text(array, name)
    if array.dtype.kind not in "biufSU":
        raise DatasetError(f"{name} has dtype {array.dtype}.", remedy="give numbers of one shape (or text).")
    if array.ndim == 0:
        raise DatasetError(f"{name} is a single value.", remedy="give an array with the examples along its first axis.")
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise DatasetError(f"{name} holds bytes that are not UTF-8 text.") from error
    if array.dtype.kind == "f":
        array = _finite(array, name)
    return array


def _text(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Object arrays of strings (as pandas and tf.data give them) as text; anything else is refused."""
    import numpy as np

    odd = next((v for v in array.flat if not isinstance(v, str | bytes)), None)
    if odd is not None or array.size == 0:
        what = "Python objects" if odd is None else f"{type(odd).__name__} objects"
        raise DatasetError(
            f"{name} holds {what}, not numbers of one shape.", remedy="give a plain array; pad ragged examples."
        )
    return np.array([v if isinstance(v, str) else v.decode("utf-8", "replace") for v in array.flat]).reshape(
        array.shape
    )


def _finite(array: NDArray[Any], name: str) -> NDArray[Any]:
    import numpy as np

    if array.dtype.itemsize > 4:
        with np.errstate(over="ignore"):  # what does not fit becomes infinite and is reported below
            array = array.astype(np.float32)
    finite = np.isfinite(array)
    if not finite.all():
        bad = np.unique(np.nonzero(~finite)[0])
        raise DatasetError(
            f"{name} holds NaN or infinite values in {len(bad)} of {len(array)} examples (the first is {bad[0]}).",
            remedy="drop or fill these examples.",
        )
    return array


def _labels(labels: NDArray[Any], classes: tuple[str, ...], name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    import numpy as np

    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind == "U":
        return _named(labels, classes, name)
    if labels.ndim == 2 and _one_hot(labels):
        labels = labels.argmax(axis=1)
    if labels.dtype.kind in "bu":
        labels = labels.astype(np.int64)
    if classes and labels.dtype.kind == "f" and labels.ndim == 1 and (labels == np.rint(labels)).all():
        labels = labels.astype(np.int64)  # class indices that some tool has stored as real numbers
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise DatasetError(
            f"{name} holds the negative class index {labels.min()}.",
            remedy="number classes from 0; give regression targets as real numbers.",
        )
    if classes and labels.dtype.kind == "i" and labels.max() >= len(classes):
        raise DatasetError(f"{name} holds class {labels.max()}, but classes names only {len(classes)}.")
    return labels, classes


def _named(labels: NDArray[Any], classes: tuple[str, ...], name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    import numpy as np

    if labels.ndim != 1:
        raise DatasetError(f"{name} holds text of shape {labels.shape}.", remedy="give one class name an example.")
    text = labels.tolist()
    names = classes or tuple(sorted(set(text)))
    unknown = sorted(set(text) - set(names))
    if unknown:
        raise DatasetError(
            f"{name} holds labels that are not in classes: {', '.join(unknown[:5])}.",
            remedy=f"the classes are {', '.join(names[:10])}{' …' if len(names) > 10 else ''}.",
        )
    place = {n: i for i, n in enumerate(names)}
    return np.array([place[t] for t in text], np.int64), names


def _one_hot(labels: NDArray[Any]) -> bool:
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())

"""Checking examples: arrays that can be used as they are, or one clear error."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.mapped import blocks
from deploykit.data.labels import compact, understood
from deploykit.data.rows import left
from deploykit.data.split import Split

if TYPE_CHECKING:
    from numpy.typing import NDArray


_KINDS = "biufSU"
#: Real numbers with more bytes than these are wider than any runtime takes.
_WIDEST = 8
#: Texts of this many times the characters, as an array of one width, keep their own lengths; few of them do not.
_WIDE, _LEAST = 4, 1 << 20
#: A list of at most so many long arrays is one of inputs or outputs, not of examples.
_MOST_ARRAYS = 9


def checked(
    x: Any, y: Any, classes: tuple[str, ...], name: str, raw: Container[str] = (), *, texts: bool = False
) -> tuple[Split, tuple[str, ...], tuple[str, ...]]:
    """Validated examples and labels, the class names (found when labels are text), and what the labels were taken for.

    Args:
        x: Examples, or a mapping of them by input name.
        y: Labels, None for none.
        classes: Class names by index; empty when they are not known.
        name: What the examples are called in messages.
        raw: Inputs whose bytes may be anything; those of the others must be text.
        texts: Whether labels are texts rather than names of classes.

    Raises:
        DatasetError: Something cannot be used; says what.
    """
    if several := _list_of_arrays(x):
        raise DatasetError(
            f"{name} is a list of {several[0]} arrays with {several[1]} examples each.",
            remedy="give the arrays of several inputs in a dictionary, named as the model names its inputs.",
        )
    given = x if isinstance(x, Mapping) else {"input": x}
    inputs = {str(k): array_of(v, f"{name}[{k!r}]" if isinstance(x, Mapping) else name) for k, v in given.items()}
    for key, array in inputs.items():
        if array.dtype == object and key not in raw:
            _check_text(array, f"{name}[{key!r}]" if isinstance(x, Mapping) else name)
    if not inputs:
        raise DatasetError(f"{name} is an empty dictionary.", remedy="give one array for each input of the model.")
    lengths = {k: len(v) for k, v in inputs.items()}
    if len(set(lengths.values())) > 1:
        raise DatasetError(f"The inputs have different numbers of examples: {lengths}.")
    count = next(iter(lengths.values()))
    if count == 0:
        raise DatasetError(f"{name} is empty: 0 examples.", remedy="check the file or the filter that made it.")
    if empty := [k for k, v in inputs.items() if v.size == 0]:
        raise DatasetError(
            f"The examples of {', '.join(empty)} are empty: shape {inputs[empty[0]].shape[1:]}.",
            remedy="give at least one number per example.",
        )
    inputs = {k: left(v) for k, v in inputs.items()}
    if y is None:
        return Split(inputs, None), classes, ()
    labels_name = name.replace("x", "y", 1)
    _check_one(y, labels_name, count)
    _check_order(x, y, name, labels_name)
    labels = array_of(y, labels_name)
    if len(labels) != count:
        turned = labels.ndim == 2 and labels.shape[1] == count
        raise DatasetError(
            f"{name} has {count} examples, {labels_name} has {len(labels)} labels.",
            remedy=f"the labels lie along the second axis: give {labels_name}.T."
            if turned
            else "give one label for each example.",
        )
    found = understood(compact(labels), classes, labels_name, texts=texts)
    return Split(inputs, found.values), found.classes, found.notes


def _list_of_arrays(value: Any) -> tuple[int, int] | None:
    """How many arrays of how many examples each a list holds, None when it is a list of examples."""
    if not isinstance(value, list | tuple) or not 2 <= len(value) <= _MOST_ARRAYS:
        return None
    lengths = {len(v) if getattr(v, "shape", ()) else 0 for v in value}
    count = lengths.pop()
    return (len(value), count) if not lengths and count > _MOST_ARRAYS else None


def _check_one(y: Any, name: str, count: int) -> None:
    """Raise `DatasetError` for labels of several outputs."""
    parts = list(map(str, y)) if isinstance(y, Mapping) else None
    several = _list_of_arrays(y)
    if parts is None and (several is None or several[1] != count):
        return
    what = f"a dictionary ({_listed(parts)})" if parts is not None else f"a list of {several and several[0]} arrays"
    first = f"{name}[{parts[0]!r}]" if parts else f"{name}[0]"
    raise DatasetError(
        f"{name} is {what}: only one output has labels; the other outputs are compared with the original model.",
        remedy=f"give one array, for example {first}, and name its output with output= (--output) when it is not the "
        "first one.",
    )


def _check_order(x: Any, y: Any, name: str, labels_name: str) -> None:
    """Raise `DatasetError` for tables whose rows have the same names in another order."""
    ours: Any = getattr(x, "index", None)
    theirs: Any = getattr(y, "index", None)
    if not hasattr(ours, "sort_values") or not hasattr(theirs, "sort_values") or ours.equals(theirs):
        return
    try:
        same = ours.sort_values().equals(theirs.sort_values())
    except TypeError:  # names of several types have no order
        return
    if same:
        raise DatasetError(
            f"The rows of {labels_name} have the same names as those of {name} in another order (its index).",
            remedy=f"give {labels_name}.loc[{name}.index], or {labels_name}.to_numpy() if the rows are already in the "
            "right order.",
        )


def same_kind(train: Split, held_out: Split) -> tuple[str, ...]:
    """What differs between training and held-out examples without being wrong.

    Raises:
        DatasetError: Held-out examples do not look like the training examples.
    """
    if set(held_out.inputs) != set(train.inputs):
        raise DatasetError(f"x has inputs {sorted(train.inputs)}, x_test has {sorted(held_out.inputs)}.")
    notes = []
    for name, array in train.inputs.items():
        other = held_out.inputs[name]
        if array.shape[1:] != other.shape[1:]:
            raise DatasetError(
                f"Examples of x have shape {array.shape[1:]}, those of x_test {other.shape[1:]}.",
                remedy="give both the same shape.",
            )
        if is_text(array) != is_text(other):
            raise DatasetError(
                f"x is {_dtype(array)}, x_test is {_dtype(other)}.", remedy="give both as numbers, or both as text."
            )
        if (array.dtype.kind == "f") != (other.dtype.kind == "f"):
            notes.append(f"x is {array.dtype}, x_test is {other.dtype}: check that both are on the same scale.")
    ours, theirs = train.labels, held_out.labels
    if ours is not None and theirs is None:
        raise DatasetError("y is given, y_test is not.", remedy="pass y_test, so that accuracy can be measured.")
    if ours is None or theirs is None:
        return tuple(notes)
    if (ours.dtype.kind, ours.shape[1:]) != (theirs.dtype.kind, theirs.shape[1:]):
        raise DatasetError(
            f"y is {ours.dtype} {ours.shape[1:]}, y_test is {theirs.dtype} {theirs.shape[1:]}.",
            remedy="give both as class indices, class names, one-hot rows or real numbers.",
        )
    return tuple(notes)


def is_text(array: NDArray[Any]) -> bool:
    """Whether an array holds text, or bytes as they are."""
    return array.dtype.kind in "SUO"


def array_of(value: Any, name: str) -> NDArray[Any]:
    """An array with the dtype it came with; text as text, bytes that are not text as an object array of bytes.

    Args:
        value: Anything NumPy makes an array of.
        name: What it is called in messages.

    Raises:
        DatasetError: It is ragged, a single value, of an unusable dtype, or has missing, NaN or infinite values.
    """
    import numpy as np

    _check_columns(value, name)
    if hasattr(value, "toarray") and not hasattr(value, "__array__"):
        raise DatasetError(f"{name} is a sparse matrix.", remedy=f"give {name}.toarray().")
    if np.ma.isMaskedArray(value):
        if hidden := int(np.ma.getmaskarray(value).sum()):
            raise DatasetError(
                f"{name} is a masked array with {hidden} of {value.size} values masked: these are missing data.",
                remedy="drop those examples, or fill them with .filled(value).",
            )
        value = value.data
    try:
        array = np.asarray(value)
        if array.dtype.kind == "T" or (array.dtype.kind in "SU" and isinstance(value, list | tuple)):
            # NumPy turns numbers beside text into text, and cuts zero bytes at the end: look at what was given.
            array = np.asarray(value, object)
    except ValueError as error:
        raise DatasetError(
            f"{name} is ragged: its examples differ in shape.",
            remedy="pad or crop them to one shape; encode several labels per example as columns of 0 and 1.",
        ) from error
    except (TypeError, RuntimeError, OverflowError) as error:  # a tensor on a GPU, or one that needs its gradient
        raise DatasetError(
            f"{name} cannot be converted to a NumPy array: {error}.", remedy="give a NumPy array."
        ) from error
    if array.dtype.kind == "S":
        array = array.astype(object)
    if array.dtype == object:
        array = _of_objects(array, name)
    if array.dtype.kind not in _KINDS and array.dtype != object:
        dates = array.dtype.kind in "Mm"
        raise DatasetError(
            f"{name} has dtype {array.dtype}.",
            remedy="convert dates to numbers." if dates else "give numbers of one shape, or text.",
        )
    if array.dtype.kind == "f" and array.dtype.itemsize > _WIDEST:
        raise DatasetError(
            f"{name} has dtype {array.dtype}, which no runtime takes.", remedy="convert it: .astype(numpy.float64)."
        )
    if array.ndim == 0:
        raise DatasetError(f"{name} is a single value.", remedy="give an array with the examples along its first axis.")
    if array.dtype.kind == "f":
        _check_finite(array, name)
    return array


def _check_columns(value: Any, name: str) -> None:
    """Raise `DatasetError` for a table whose columns are not numbers; names them."""
    kinds = getattr(value, "dtypes", None)
    if not hasattr(value, "columns") or kinds is None or not hasattr(kinds, "items"):
        return
    if missing := [str(c) for c, n in value.isna().sum().items() if n]:
        raise DatasetError(
            f"{name} has empty cells in its column{'s' if len(missing) > 1 else ''} {_listed(missing)}.",
            remedy="drop or fill those examples.",
        )
    odd = {str(column): str(kind) for column, kind in kinds.items() if getattr(kind, "kind", "O") not in "biuf"}
    if odd and len(odd) < len(kinds):
        shown = _listed([f"{column} ({kind})" for column, kind in odd.items()])
        raise DatasetError(
            f"{name} mixes numeric columns with columns that are not numeric: {shown}.",
            remedy="encode them as numbers, or give a dictionary with one array for each input of the model.",
        )


def _of_objects(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Object arrays (as pandas and tf.data give them): text, bytes or numbers; anything else is refused."""
    import numpy as np

    flat = [v.item() if isinstance(v, np.generic) else v for v in array.ravel()]
    missing = [i for i, v in enumerate(flat) if _is_missing(v)]
    kinds = set(map(type, flat)) - {type(flat[i]) for i in missing}
    if missing and (kinds <= {str, bytes} or kinds <= {int, float, bool}):
        raise DatasetError(
            f"{name} has {len(missing)} missing values (None or NaN) among {len(flat)}; the first is at {missing[0]}.",
            remedy="drop or fill those examples.",
        )
    if flat and (kinds <= {int, float} or kinds == {bool}):
        numbers = np.array(flat).reshape(array.shape)
        if numbers.dtype == object:
            raise DatasetError(
                f"{name} holds integers that do not fit in 64 bits.", remedy="pass them as floats or as text."
            )
        return numbers
    if not flat or not all(isinstance(v, str | bytes) for v in flat):
        odd = next((v for v in flat if not isinstance(v, str | bytes)), None)
        what = "Python objects" if not flat else f"{type(odd).__name__} objects"
        if kinds <= {int, float, bool, str, bytes}:
            mixed = " and ".join(sorted(kind.__name__ for kind in kinds))
            raise DatasetError(f"{name} mixes {mixed}.", remedy="give all as numbers, or all as text.")
        raise DatasetError(
            f"{name} holds {what}, not numbers of one shape.", remedy="give a plain array; pad ragged examples."
        )
    return _text(flat, array.shape)


def _is_missing(value: Any) -> bool:
    return (
        value is None or (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")
    )


def _text(flat: list[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Text as text. What NumPy's text would change, bytes that are not UTF-8 and zeros at the end, stays as it is."""
    import numpy as np

    as_given = np.empty(len(flat), object)
    as_given[:] = flat
    try:
        texts = [v if isinstance(v, str) else v.decode("utf-8") for v in flat]
    except UnicodeDecodeError:
        return as_given.reshape(shape)
    if any(t.endswith("\0") for t in texts):
        return as_given.reshape(shape)
    longest = max(map(len, texts), default=0)
    if longest * len(texts) > _WIDE * max(sum(map(len, texts)), _LEAST):
        # One long text would make all of them as wide: they keep their lengths.
        as_given[:] = texts
        return as_given.reshape(shape)
    return np.array(texts).reshape(shape)


def _check_text(array: NDArray[Any], name: str) -> None:
    """Raise `DatasetError` for bytes that are not text, and for text that NumPy and runtimes would change."""
    for place, item in enumerate(array.ravel().tolist()):
        try:
            text = item if isinstance(item, str) else item.decode("utf-8")
        except UnicodeDecodeError:
            what = "bytes that are not UTF-8 text"
        else:
            if not text.endswith("\0"):
                continue
            what = "text that ends in a zero byte"
        raise DatasetError(
            f"{name} holds {what}: {item[:16]!r} at {place}.",
            remedy="if the model takes such bytes, keep them with preprocess=dk.Preprocess(raw=True) (--raw).",
        )


def _check_finite(array: NDArray[Any], name: str) -> None:
    import numpy as np

    count, first = 0, 0
    for part, block in blocks(array):
        finite = np.isfinite(block)
        if not finite.all():
            bad = np.unique(np.nonzero(~finite)[0])
            first = first if count else part.start + int(bad[0])
            count += len(bad)
    if count:
        raise DatasetError(
            f"{name} holds NaN or infinite values in {count} of {len(array)} examples (the first is {first}).",
            remedy="drop or fill those examples.",
        )


def _dtype(array: NDArray[Any]) -> str:
    return "bytes" if array.dtype == object else str(array.dtype)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

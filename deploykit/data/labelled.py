"""How an output's labels are read: as classes, one per position, several at once or values; or why they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import LabelMeaning
from deploykit.core.errors import DatasetError
from deploykit.core.mapped import blocks, distinct, each, extremes
from deploykit.core.model import batch_axis_of
from deploykit.data.boxes import CLASS, are_boxes
from deploykit.data.examples import Examples
from deploykit.data.labels import compact
from deploykit.data.rows import Rows, changed
from deploykit.data.splits import MOST_SORTED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.core.model import Model, TensorSpec

Shape = tuple[int | None, ...]
#: What labels of positions that are left out become, what they are given as, and white in a mask of bytes.
IGNORED, _IGNORED, _WHITE = -1, (-1, -100), 255
#: Names and gaps that a note lists.
_SHOWN = 5
#: How far the shares of classes may be from 1 in all.
_WHOLE = 1e-3


@dataclass(frozen=True)
class Read:
    """One way to read the labels for an output."""

    labels: LabelMeaning
    recode: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    class_axis: int = -1


def ways_to_read(
    labels: Mapping[str, NDArray[Any] | None],
    spec: TensorSpec,
    model: Model,
    *,
    sequences: bool,
    axis: int = 0,
    values: bool = False,
    embedding: bool = False,
) -> Read | str:
    """How the labels are read for an output; why they do not fit as text.

    Args:
        labels: By split.
        spec: The output.
        model: The model.
        sequences: Whether examples are sequences of steps.
        axis: The axis of classes (1 or -1) of scores for each position, 0 when it is not said.
        values: Whether the output is said to hold real values.
        embedding: Whether it is said to be an embedding, which has no column for each class.
    """
    given = {name: part for name, part in labels.items() if part is not None and len(part)}
    if not given:
        return Read(LabelMeaning())
    if all(are_boxes(part) for part in given.values()):
        return Read(LabelMeaning("boxes", 1 + int(max(part[..., CLASS].max() for part in given.values()))))
    shape = replace(spec, batch_axis=batch_axis_of(spec, model)).example_shape
    if shape is not None and sequences:
        shape = (None, *shape)
    first = next(iter(given.values()))
    if first.dtype.kind == "U":
        return _texts(spec, shape)
    whole = all(_is_whole(part) for part in given.values())
    rest: Shape = first.shape[1:]
    if shape is None:
        return _unknown_shape(given, whole)
    if len(rest) > 0 and rest[-1] == 1 and len(shape) == len(rest) and shape[-1] not in (None, 1):
        rest, given = rest[:-1], {name: changed(part, lambda rows: rows[..., 0]) for name, part in given.items()}
    if embedding and not rest and whole:
        return _classes(given, None)
    if not rest:
        return _one_each(given, spec, shape, whole=whole)
    if not values and _are_shares(given, spec, shape, rest):
        return _shares(given, shape[0])
    return _many_each(given, spec, shape, rest, whole=whole, axis=axis)


def _texts(spec: TensorSpec, shape: Shape | None) -> Read | str:
    """Texts: for an output that is text, or one that a vocabulary decodes to text."""
    single = shape is None or (shape in ((), (1,)) if spec.dtype == "string" else len(shape) == 1 + is_real(spec))
    if single:
        return Read(LabelMeaning("text"))
    return f"it returns {_show(shape or ())} per example, which is not a text, nor scores of a vocabulary at each step"


def _one_each(given: dict[str, NDArray[Any]], spec: TensorSpec, shape: Shape, *, whole: bool) -> Read | str:
    """One label per example."""
    single = shape in ((), (1,))
    if spec.dtype == "string":
        return _classes(given, None) if single and whole else "it returns text"
    if single and not is_real(spec):
        return _numbered(given) if whole else Read(LabelMeaning("values"))
    if single:
        if whole and (signs := _signs(given)):
            return signs
        binary = whole and all(_within(part, 0, 1) for part in given.values())
        if (
            whole
            and not binary
            and "sigmoid" in spec.operator.lower()
            and all(_within(p, 0, 2) for p in given.values())
        ):
            return _classes(given, 2)  # says which class the probability lacks: no measurement is 0, 1 or 2
        return _classes(given, 2) if binary else Read(LabelMeaning("values"))
    if shape == (None,) and not whole:
        return Read(LabelMeaning("values"))  # one column, if the model is right
    if len(shape) != 1:
        return f"it returns {_show(shape)} per example, the labels are one number per example"
    if not whole:
        return f"it returns {_show(shape)} per example, the labels are one real number per example"
    return _classes(given, shape[0])


def _many_each(
    given: dict[str, NDArray[Any]], spec: TensorSpec, shape: Shape, rest: Shape, *, whole: bool, axis: int
) -> Read | str:
    """Several labels per example: of several kinds, one per position, or real numbers."""
    alike = len(shape) == len(rest) and rest[0] == 1
    if alike and ((len(rest) > 1 and shape[0] == 1 and shape[-1] != 1) or (len(rest) > 2 and shape[0] != 1)):
        rest = rest[1:]  # masks with an axis of one channel
        given = {name: changed(part, lambda rows: rows[:, 0]) for name, part in given.items()}
    if len(shape) == len(rest) + 1 and shape[0] == 1 and shape[-1] != 1 and _matches(shape[1:], rest):
        if whole and not is_real(spec):
            return _positions(given, None, 1)
        return _one_channel(given, 1) if whole else Read(LabelMeaning("values"))
    if len(shape) == len(rest) + 1 and shape[-1] == 1 and len(rest) > 1 and is_real(spec) and whole:
        return _one_channel(given, -1)
    last = _matches(shape, (*rest, None)) and shape[-1] != 1 and whole
    first = _matches(shape, (None, *rest)) and shape[0] != 1 and whole
    if last and (not first or axis != 1):
        return _asking(_positions(given, shape[-1], -1), both=first and not axis and None not in shape)
    if first:
        return _positions(given, shape[0], 1)
    if not _matches(shape, rest) and not _matches(shape, (*rest, 1)):
        return f"it returns {_show(shape)} per example, the labels are {_show(rest)}"
    for axis in (-1, 1) if len(rest) > 1 and whole and is_real(spec) else ():
        empty = "softmax" in spec.operator.lower()  # where one class is always there, a row without any is padding
        if all(_is_one_hot(part, axis, empty=empty) for part in given.values()):
            return _positions(
                {n: _class_of(part, axis) for n, part in given.items()}, shape[-1 if axis < 0 else 0], axis, "one-hot"
            )
    binary = whole and all(_within(part, 0, 1) for part in given.values())
    if binary and len(rest) == 1 and is_real(spec):
        recode = {name: _whole_numbers(part) for name, part in given.items()}
        return Read(LabelMeaning("several", 0, how="0 and 1 for each label"), recode)
    if (binary and is_real(spec)) or (whole and not is_real(spec)):
        return _positions(given, 2 if binary else None, -1)
    return Read(LabelMeaning("values"))


def _asking(found: Read | str, *, both: bool) -> Read | str:
    """The labels of positions, with a question where the classes could be on the first axis as well as on the last."""
    if isinstance(found, str) or not both:
        return found
    note = (
        "the classes are taken to be on the last axis; the first one is as long: scores='channels_first' "
        "(--scores channels_first) takes that."
    )
    return replace(found, labels=replace(found.labels, notes=(*found.labels.notes, note)))


def _are_shares(given: dict[str, NDArray[Any]], spec: TensorSpec, shape: Shape, rest: Shape) -> bool:
    """Whether labels are the shares of classes: smoothed one-hot rows, or what another model answered."""
    import numpy as np

    if len(shape) != 1 or len(rest) != 1 or rest[0] in (None, 1) or not _matches(shape, rest) or not is_real(spec):
        return False
    return all(
        part.dtype.kind == "f"
        and each(part, lambda rows: rows.min() >= 0 and (np.abs(rows.sum(axis=1) - 1) < _WHOLE).all())
        for part in given.values()
    )


def _shares(given: dict[str, NDArray[Any]], count: int | None) -> Read | str:
    """Shares of classes as classes."""
    largest = {name: changed(part, lambda rows: rows.argmax(axis=1)) for name, part in given.items()}
    found = _classes(largest, count)
    if isinstance(found, str):
        return found
    note = (
        "each row of the labels sums to 1: the class with the largest share is the label; scores='values' compares the "
        "shares as numbers."
    )
    return replace(found, labels=replace(found.labels, how="shares of classes", notes=(*found.labels.notes, note)))


def _unknown_shape(given: dict[str, NDArray[Any]], whole: bool) -> Read:
    flat = all(part.ndim == 1 for part in given.values())
    return _classes(given, None) if flat and whole else Read(LabelMeaning("values"))  # type: ignore[return-value]  # no count


def _classes(given: dict[str, NDArray[Any]], count: int | None, *, ignored: bool = False) -> Read | str:
    recode = {name: _whole_numbers(part) for name, part in given.items()}
    every = distinct(*recode.values())
    every = every[every != IGNORED] if ignored else every
    low, high = int(every[0]), int(every[-1])
    if low < 0:
        signs = "; -1 and 1 are the classes 0 and 1 as (y + 1) // 2" if set(every.tolist()) == {-1, 1} else ""
        return f"the labels hold the negative class {low}{signs}"
    if count is not None and high >= count:
        shifted = low >= 1 and high - low < count and high == count
        hint = "; they look as if they count from 1: subtract 1 (y - 1)" if shifted else ""
        return f"the labels range from class {low} to {high}, it has classes 0 to {count - 1}{hint}"
    how = "real numbers" if any(p.dtype.kind == "f" for p in given.values()) else "class numbers"
    return Read(LabelMeaning("classes", count or high + 1, how=how, notes=tuple(_odd(every, count))), recode)


def _signs(given: dict[str, NDArray[Any]]) -> Read | None:
    """Labels -1 and 1 of two classes, as support vector machines and hinge losses have them, for one number."""
    if {int(v) for v in distinct(*given.values())} != {-1, 1}:
        return None
    found = _classes({name: _above_zero(part) for name, part in given.items()}, 2)
    assert isinstance(found, Read)
    return replace(found, labels=replace(found.labels, how="-1 and 1"))


def _numbered(given: dict[str, NDArray[Any]]) -> Read | str:
    """Labels for an output that gives class numbers; negative ones, such as -1 for outliers, are numbers by name."""
    import numpy as np

    every = distinct(*given.values())
    if every[0] >= 0:
        return _classes(given, None)
    found = _classes({name: np.searchsorted(every, part) for name, part in given.items()}, len(every))
    assert isinstance(found, Read)
    named = tuple(str(int(v)) for v in every)
    return replace(found, labels=replace(found.labels, named=named, how="class numbers, some of them negative"))


def _one_channel(given: dict[str, NDArray[Any]], axis: int) -> Read | str:
    """Masks for an output with one number per position."""
    if all(_within(part, 0, 1) for part in given.values()):
        return _positions(given, 2, axis)
    return _positions(given, 2, axis) if _is_white(given) else Read(LabelMeaning("values"))


def _is_white(given: dict[str, NDArray[Any]]) -> bool:
    """Whether masks are black and white bytes."""
    white = any(not each(part, lambda rows: (rows != _WHITE).all()) for part in given.values())
    return white and all(each(part, lambda rows: ((rows == 0) | (rows == _WHITE)).all()) for part in given.values())


def _left_out(
    given: dict[str, NDArray[Any]], count: int | None, words: str
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Labels with positions that are to be ignored as `IGNORED`, and what is said of them."""
    import numpy as np

    every = distinct(*given.values())
    known = [v for v in every.tolist() if v in _IGNORED or (v == _WHITE and count is not None and count <= _WHITE)]
    if not known or len(known) == len(every) or (_WHITE in known and len(every) == 2):
        return given, ()  # 0 and 255 are black and white
    shown = words or " and ".join(f"{v:g}" for v in known)

    def mark(part: NDArray[Any]) -> NDArray[Any]:
        return np.where(np.isin(part, known), IGNORED, part)

    marked = {name: changed(part, mark) for name, part in given.items()}
    share = float(np.mean([_mean(part, IGNORED) for part in marked.values()]))
    return marked, (f"positions whose label is {shown} ({100 * share:.0f} %) are skipped, like padding.",)


def _positions(given: dict[str, NDArray[Any]], count: int | None, axis: int, how: str = "class numbers") -> Read | str:
    if count == 2 and _is_white(given):
        return _positions({name: _above_zero(part) for name, part in given.items()}, 2, axis, f"0 and {_WHITE}")
    given, notes = _left_out(given, count, "not a class" if how == "one-hot" else "")
    found = _classes(given, count, ignored=bool(notes))
    if isinstance(found, str):
        return found
    notes += found.labels.notes
    return replace(found, labels=replace(found.labels, kind="positions", how=how, notes=notes), class_axis=axis)


def _odd(every: NDArray[Any], count: int | None) -> list[str]:
    """Offsets and gaps, in sentences."""
    have = {int(v) for v in every}
    last = (count or max(have) + 1) - 1
    lacking = [c for c in range(last + 1) if c not in have]
    if not lacking or len(have) < 2:
        return []
    if lacking == [0] and max(have) == last:
        return ["no example is labeled class 0: if the labels count from 1, subtract 1."]
    shown = ", ".join(map(str, lacking[:_SHOWN])) + (
        f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    )
    return [f"no example is labeled class {shown}, although the classes are 0 to {last}."]


def named(labels: LabelMeaning, data: Examples, spec: TensorSpec, model: Model) -> LabelMeaning:
    """Class names, which must be as many as the scored output has classes.

    Raises:
        DatasetError: They are not.
    """
    if labels.kind == "boxes":
        return replace(labels, named=data.classes, classes=max(labels.classes, len(data.classes)))
    if labels.kind not in ("classes", "positions", "text", "none") or not data.classes:
        return labels
    named = data.classes
    if labels.kind == "text":
        shape = replace(spec, batch_axis=batch_axis_of(spec, model)).example_shape
        if spec.dtype == "string":
            return labels
        if shape and is_real(spec) and shape[-1] not in (None, len(named)):
            raise DatasetError(
                f"{len(named)} tokens are given as classes, output {spec.name!r} has {shape[-1]} scores at each step.",
                remedy="give one token for each score, in their order, the blank included: classes=[…] (--classes).",
            )
        return replace(labels, named=named)
    shape = replace(spec, batch_axis=batch_axis_of(spec, model)).example_shape
    wanted = labels.classes if shape and is_real(spec) else 0
    if labels.kind == "none" and shape and len(shape) == 1 and is_real(spec) and shape[0] != 1:
        wanted = shape[0] or 0
    if wanted and len(named) != wanted:
        raise DatasetError(
            f"{len(named)} class names are given ({', '.join(named[:_SHOWN])}{' …' if len(named) > _SHOWN else ''}), "
            f"output {spec.name!r} has {wanted} classes.",
            remedy="give one name for each class, in the order of the classes: classes=[…] (--classes).",
        )
    return replace(labels, named=named, classes=max(labels.classes, len(named)))


def _is_whole(part: NDArray[Any]) -> bool:
    import numpy as np

    if part.dtype.kind in "iub":
        return True
    return part.dtype.kind == "f" and each(part, lambda rows: (rows == np.rint(rows)).all())


def _whole_numbers(part: Any) -> Any:
    """Labels as signed integers: those of very many examples keep the bytes they have."""
    if part.dtype.kind == "i" and (isinstance(part, Rows) or len(part) > MOST_SORTED):
        return part
    if isinstance(part, Rows):
        return part.astype("int16" if part.dtype.itemsize == 1 else "int64")
    return compact(part.astype("int64"))


def _above_zero(part: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = changed(part, lambda rows: (rows > 0).astype("int64"))
    return found


def _mean(part: NDArray[Any], value: int) -> float:
    """Share of a value among labels."""
    return float(sum((rows == value).sum() for _, rows in blocks(part)) / part.size)


def _within(part: NDArray[Any], low: int, high: int) -> bool:
    least, most = extremes(part)
    return bool(least >= low and most <= high)


def _is_one_hot(part: NDArray[Any], axis: int, *, empty: bool) -> bool:
    if not _within(part, 0, 1) or part.shape[axis] == 1:
        return False
    if each(part, lambda rows: (rows.sum(axis=axis) == 1).all()):
        return True
    some = not each(part, lambda rows: (rows.sum(axis=axis) != 1).all())
    return empty and some and each(part, lambda rows: (rows.sum(axis=axis) <= 1).all())


def _class_of(part: NDArray[Any], axis: int) -> NDArray[Any]:
    """Class numbers of one-hot rows, `IGNORED` for rows without a class."""
    import numpy as np

    found: NDArray[Any] = changed(
        part, lambda rows: np.where(rows.sum(axis=axis) == 1, rows.argmax(axis=axis), IGNORED)
    )
    return found


def _matches(shape: Shape, wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True)
    )


def _show(shape: Shape) -> str:
    return " × ".join("?" if d is None else str(d) for d in shape) or "one number"


def is_real(spec: TensorSpec) -> bool:
    """Whether an output holds real numbers: floats, or integers with a scale."""
    return spec.dtype.startswith(("float", "bfloat")) or bool(spec.scale)

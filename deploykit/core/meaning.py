"""What outputs and labels are: which output is scored, as what, and how the labels are to be read for it.

Shapes, dtypes and last operators decide as far as they can; `settled` takes the ranges that were seen when the model as
given was run. The same file and the same data give the same answer, in every process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract, Declared, Kind, LabelMeaning, OutputMeaning
from deploykit.core.errors import DatasetError
from deploykit.core.model import batch_axis_of
from deploykit.core.serial import Plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.core.dataset import Dataset
    from deploykit.core.model import Model, TensorSpec

Shape = tuple[int | None, ...]
#: Parts of names that say an output is a vector to be compared, not scores.
_EMBEDDINGS = ("embed", "feature", "pool", "hidden", "encod", "vector", "latent")
#: Why an output is taken as scores when nothing says so.
_GUESSED = "one number for each of several columns, taken as classes"
#: What labels of positions that are left out become, what they are given as, and white in a mask of bytes.
IGNORED, _IGNORED, _WHITE = -1, (-1, -100), 255
#: Names and gaps that a note lists.
_SHOWN = 5


@dataclass(frozen=True)
class Seen(Plain):
    """What one output of the model as given looked like on some examples.

    Attributes:
        shape: Shape of one example's output.
        dtype: NumPy name, or ``"string"``.
        low: Smallest number, 0 without any.
        high: Largest number.
        missing: Share of numbers that are NaN.
        sums: Axes of an example's output along which all numbers sum to 1.
        unit: Whether vectors along the last axis have length 1.
        constant: Whether all examples get the same.
    """

    shape: tuple[int, ...]
    dtype: str
    low: float = 0.0
    high: float = 0.0
    missing: float = 0.0
    sums: tuple[int, ...] = ()
    unit: bool = False
    constant: bool = False


@dataclass(frozen=True)
class _Read:
    """One way to read the labels for an output."""

    labels: LabelMeaning
    recode: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    class_axis: int = -1


def outputs_and_labels(
    data: Dataset, model: Model, declared: Declared, *, sequences: bool
) -> tuple[Dataset, tuple[OutputMeaning, ...], LabelMeaning, list[str]]:
    """The data with labels as the scored output needs them, the meaning of outputs and labels, and notes.

    Raises:
        DatasetError: Labels are given that no output fits, or that several fit; says which.
    """
    carried = set(declared.state)
    free = [s for s in model.outputs if s.name not in carried]
    if not free:
        raise DatasetError("All outputs are state: there is nothing to score.", remedy="leave an output out of state=.")
    whole = [s.name for s in free if s.shape == ()]  # one number for a whole batch
    if declared.output in whole:
        raise DatasetError(
            f"Output {declared.output!r} is one number for a whole batch: examples cannot be compared by it.",
            remedy="score an output with one value or more an example.",
        )
    free = [s for s in free if s.name not in whole] or free
    labels = {name: split.labels for name, split in data.splits.items()}
    said = declared.scores == "values"  # then the operator does not decide what the labels are
    ways = {s.name: _ways(labels, replace(s, operator="") if said else s, model, sequences=sequences) for s in free}
    scored, notes = _scored(free, ways, declared, labels["evaluation"])
    read = ways[scored.name]
    assert isinstance(read, _Read)
    read = replace(read, labels=_named(read.labels, data, scored, model))
    outputs = tuple(
        _meaning(
            s, model, declared, "state" if s.name in carried else "scored" if s.name == scored.name else "judged", read
        )
        for s in model.outputs
    )
    notes += [
        f"output {o.name!r} is one number for a whole batch: it is not compared example by example."
        for o in outputs
        if o.role == "judged" and o.shape == ()
    ]
    recoded = {name: replace(split, labels=read.recode.get(name, split.labels)) for name, split in data.splits.items()}
    return replace(data, splits=recoded), outputs, read.labels, notes


def _scored(
    free: Sequence[TensorSpec], ways: Mapping[str, _Read | str], declared: Declared, labels: NDArray[Any] | None
) -> tuple[TensorSpec, list[str]]:
    """The output the metric is about: the one the user names, else the first, else the only one the labels fit."""
    fitting = [s for s in free if isinstance(ways[s.name], _Read)]
    if declared.output:
        chosen = next((s for s in free if s.name == declared.output), None)
        if chosen is None:
            raise DatasetError(f"Output {declared.output!r} is state.", remedy="score another output.")
        if chosen not in fitting:
            raise DatasetError(
                f"Output {chosen.name!r}: {ways[chosen.name]}.", remedy="correct the labels, or output=."
            )
        return chosen, []
    if free[0] in fitting:
        return free[0], []
    assert labels is not None
    reasons = "; ".join(f"{s.name}: {ways[s.name]}" for s in free if s not in fitting)
    if not fitting and len(free) == 1:
        raise DatasetError(
            f"The labels do not fit output {free[0].name!r}: {ways[free[0].name]}.",
            remedy="correct the labels, or give none: candidates are then compared with the original's answers.",
        )
    if not fitting:
        raise DatasetError(
            f"The labels ({labels.dtype}, {labels.shape[1:] or 'one'} an example) fit no output of the model: "
            f"{reasons}.",
            remedy="correct the labels, or give none: candidates are then compared with the original's answers.",
        )
    if len(fitting) > 1:
        raise DatasetError(
            f"The labels do not fit the first output ({reasons}), but several others: "
            f"{', '.join(s.name for s in fitting)}.",
            remedy=f"name the one they are for: output={fitting[0].name!r} (--output {fitting[0].name}).",
        )
    return fitting[0], [f"output {fitting[0].name!r} is scored, the only one the labels fit; {reasons}."]


# -- labels -----------------------------------------------------------------------------------------------------------


def _ways(labels: Mapping[str, NDArray[Any] | None], spec: TensorSpec, model: Model, *, sequences: bool) -> _Read | str:
    """How the labels are read for an output; why they do not fit as text."""
    given = {name: part for name, part in labels.items() if part is not None and len(part)}
    if not given:
        return _Read(LabelMeaning())
    shape = replace(spec, batch_axis=batch_axis_of(spec, model)).example_shape
    if shape is not None and sequences:
        shape = (None, *shape)
    first = next(iter(given.values()))
    whole = all(_is_whole(part) for part in given.values())
    rest: Shape = first.shape[1:]
    if shape is None:
        return _unknown_shape(given, whole)
    if len(rest) > 0 and rest[-1] == 1 and len(shape) == len(rest) and shape[-1] not in (None, 1):
        rest, given = rest[:-1], {name: part[..., 0] for name, part in given.items()}
    if not rest:
        return _one_each(given, spec, shape, whole=whole)
    return _many_each(given, spec, shape, rest, whole=whole)


def _one_each(given: dict[str, NDArray[Any]], spec: TensorSpec, shape: Shape, *, whole: bool) -> _Read | str:
    """One label an example."""
    single = shape in ((), (1,))
    if spec.dtype == "string":
        return _classes(given, None) if single and whole else "it gives text"
    if single and not _is_real(spec):
        return _numbered(given) if whole else _Read(LabelMeaning("values"))
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
        return _classes(given, 2) if binary else _Read(LabelMeaning("values"))
    if shape == (None,) and not whole:
        return _Read(LabelMeaning("values"))  # one column, if the model is right
    if len(shape) != 1:
        return f"it gives {_show(shape)} an example, the labels are one number an example"
    if not whole:
        return f"it gives {_show(shape)} an example, the labels are one real number an example"
    return _classes(given, shape[0])


def _many_each(
    given: dict[str, NDArray[Any]], spec: TensorSpec, shape: Shape, rest: Shape, *, whole: bool
) -> _Read | str:
    """Several labels an example: of several kinds, one a position, or real numbers."""
    alike = len(shape) == len(rest) and rest[0] == 1
    if alike and ((len(rest) > 1 and shape[0] == 1 and shape[-1] != 1) or (len(rest) > 2 and shape[0] != 1)):
        rest, given = rest[1:], {name: part[:, 0] for name, part in given.items()}  # masks with an axis of one channel
    if len(shape) == len(rest) + 1 and shape[0] == 1 and shape[-1] != 1 and _matches(shape[1:], rest):
        if whole and not _is_real(spec):
            return _positions(given, None, 1)
        return _one_channel(given, 1) if whole else _Read(LabelMeaning("values"))
    if len(shape) == len(rest) + 1 and shape[-1] == 1 and len(rest) > 1 and _is_real(spec) and whole:
        return _one_channel(given, -1)
    if _matches(shape, (*rest, None)) and shape[-1] != 1 and whole:
        return _positions(given, shape[-1], -1)
    if _matches(shape, (None, *rest)) and shape[0] != 1 and whole:
        return _positions(given, shape[0], 1)
    if not _matches(shape, rest) and not _matches(shape, (*rest, 1)):
        return f"it gives {_show(shape)} an example, the labels are {_show(rest)}"
    for axis in (-1, 1) if len(rest) > 1 and whole and _is_real(spec) else ():
        empty = "softmax" in spec.operator.lower()  # where one class is always there, a row without any is padding
        if all(_is_one_hot(part, axis, empty=empty) for part in given.values()):
            return _positions(
                {n: _class_of(part, axis) for n, part in given.items()}, shape[-1 if axis < 0 else 0], axis, "one-hot"
            )
    binary = whole and all(_within(part, 0, 1) for part in given.values())
    if binary and len(rest) == 1 and _is_real(spec):
        recode = {name: part.astype("int64") for name, part in given.items()}
        return _Read(LabelMeaning("several", 0, how="0 and 1 for each label"), recode)
    if (binary and _is_real(spec)) or (whole and not _is_real(spec)):
        return _positions(given, 2 if binary else None, -1)
    return _Read(LabelMeaning("values"))


def _unknown_shape(given: dict[str, NDArray[Any]], whole: bool) -> _Read:
    flat = all(part.ndim == 1 for part in given.values())
    return _classes(given, None) if flat and whole else _Read(LabelMeaning("values"))  # type: ignore[return-value]  # no count


def _classes(given: dict[str, NDArray[Any]], count: int | None, *, ignored: bool = False) -> _Read | str:
    import numpy as np

    recode = {name: part.astype(np.int64) for name, part in given.items()}
    every = np.unique(np.concatenate([part.ravel() for part in recode.values()]))
    every = every[every != IGNORED] if ignored else every
    low, high = int(every[0]), int(every[-1])
    if low < 0:
        return f"the labels hold the negative class {low}"
    if count is not None and high >= count:
        shifted = low >= 1 and high - low < count and high == count
        hint = "; they look counted from 1: subtract 1 from them (y - 1)" if shifted else ""
        return f"the labels go from class {low} to {high}, it has the classes 0 to {count - 1}{hint}"
    how = "real numbers" if any(p.dtype.kind == "f" for p in given.values()) else "class numbers"
    return _Read(LabelMeaning("classes", count or high + 1, how=how, notes=tuple(_odd(every, count))), recode)


def _signs(given: dict[str, NDArray[Any]]) -> _Read | None:
    """Labels -1 and 1 of two classes, as support vector machines and hinge losses have them, for one number."""
    import numpy as np

    if {int(v) for part in given.values() for v in np.unique(part)} != {-1, 1}:
        return None
    found = _classes({name: (part > 0).astype("int64") for name, part in given.items()}, 2)
    assert isinstance(found, _Read)
    return replace(found, labels=replace(found.labels, how="-1 and 1"))


def _numbered(given: dict[str, NDArray[Any]]) -> _Read | str:
    """Labels for an output that gives class numbers; negative ones, such as -1 for outliers, are numbers by name."""
    import numpy as np

    every = np.unique(np.concatenate([part.ravel() for part in given.values()]))
    if every[0] >= 0:
        return _classes(given, None)
    found = _classes({name: np.searchsorted(every, part) for name, part in given.items()}, len(every))
    assert isinstance(found, _Read)
    named = tuple(str(int(v)) for v in every)
    return replace(found, labels=replace(found.labels, named=named, how="class numbers, some of them negative"))


def _one_channel(given: dict[str, NDArray[Any]], axis: int) -> _Read | str:
    """Masks for an output with one number a position."""
    if all(_within(part, 0, 1) for part in given.values()):
        return _positions(given, 2, axis)
    return _positions(given, 2, axis) if _is_white(given) else _Read(LabelMeaning("values"))


def _is_white(given: dict[str, NDArray[Any]]) -> bool:
    """Whether masks are black and white bytes."""
    white = any((part == _WHITE).any() for part in given.values())
    return white and all(((part == 0) | (part == _WHITE)).all() for part in given.values())


def _left_out(
    given: dict[str, NDArray[Any]], count: int | None, words: str
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Labels with positions that are to be ignored as `IGNORED`, and what is said of them."""
    import numpy as np

    every = np.unique(np.concatenate([part.ravel() for part in given.values()]))
    known = [v for v in every.tolist() if v in _IGNORED or (v == _WHITE and count is not None and count <= _WHITE)]
    if not known or len(known) == len(every) or (_WHITE in known and len(every) == 2):
        return given, ()  # 0 and 255 are black and white
    shown = words or " and ".join(f"{v:g}" for v in known)
    marked = {name: np.where(np.isin(part, known), IGNORED, part) for name, part in given.items()}
    share = float(np.mean([(part == IGNORED).mean() for part in marked.values()]))
    return marked, (f"positions whose label is {shown} ({100 * share:.0f} %) are left out, as padding is.",)


def _positions(given: dict[str, NDArray[Any]], count: int | None, axis: int, how: str = "class numbers") -> _Read | str:
    if count == 2 and _is_white(given):
        return _positions(
            {name: (part > 0).astype("int64") for name, part in given.items()}, 2, axis, f"0 and {_WHITE}"
        )
    given, notes = _left_out(given, count, "no class" if how == "one-hot" else "")
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
        return ["no label is class 0: if the labels count from 1, subtract 1 from them."]
    shown = ", ".join(map(str, lacking[:_SHOWN])) + (
        f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    )
    return [f"no label is class {shown}, of the classes 0 to {last}."]


def _named(labels: LabelMeaning, data: Dataset, spec: TensorSpec, model: Model) -> LabelMeaning:
    """Class names, which must be as many as the scored output has classes.

    Raises:
        DatasetError: They are not.
    """
    if labels.kind not in ("classes", "positions", "none") or not data.classes:
        return labels
    named = data.classes
    shape = replace(spec, batch_axis=batch_axis_of(spec, model)).example_shape
    wanted = labels.classes if shape and _is_real(spec) else 0
    if labels.kind == "none" and shape and len(shape) == 1 and _is_real(spec) and shape[0] != 1:
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
    return part.dtype.kind == "f" and bool((part == np.rint(part)).all())


def _within(part: NDArray[Any], low: int, high: int) -> bool:
    return bool(part.min() >= low and part.max() <= high)


def _is_one_hot(part: NDArray[Any], axis: int, *, empty: bool) -> bool:
    if not _within(part, 0, 1) or part.shape[axis] == 1:
        return False
    sums = part.sum(axis=axis)
    return bool((sums == 1).all()) or (empty and bool((sums <= 1).all()) and bool((sums == 1).any()))


def _class_of(part: NDArray[Any], axis: int) -> NDArray[Any]:
    """Class numbers of one-hot rows, `IGNORED` for rows without a class."""
    import numpy as np

    return np.where(part.sum(axis=axis) == 1, part.argmax(axis=axis), IGNORED)


def _matches(shape: Shape, wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True)
    )


def _show(shape: Shape) -> str:
    return " × ".join("?" if d is None else str(d) for d in shape) or "one number"


# -- outputs ----------------------------------------------------------------------------------------------------------


def _is_real(spec: TensorSpec) -> bool:
    return spec.dtype.startswith(("float", "bfloat")) or bool(spec.scale)


def _meaning(spec: TensorSpec, model: Model, declared: Declared, role: Any, read: _Read) -> OutputMeaning:
    axis = batch_axis_of(spec, model)
    if role == "state":
        fed = next(s for s in model.inputs if s.name == declared.state[spec.name])
        axis = batch_axis_of(fed, model)
    found = OutputMeaning(spec.name, "values", role, spec.dtype, spec.shape, axis)
    if role == "scored" and declared.scores != "auto":
        kind: Kind = declared.scores  # type: ignore[assignment]  # checked when it was declared
        return replace(found, kind=kind, class_axis=read.class_axis, why="as said")
    labels = read.labels.kind if role == "scored" else "none"
    shape = replace(spec, batch_axis=axis).example_shape
    kind, why = _kind(spec, shape, labels, read.class_axis if role == "scored" else -1)
    return replace(found, kind=kind, class_axis=read.class_axis if role == "scored" else -1, why=why)


def _kind(spec: TensorSpec, shape: Shape | None, labels: str, axis: int) -> tuple[Kind, str]:
    """What an output is, as far as the file and the labels tell, and by what that was decided."""
    operator = spec.operator.lower().replace("_", "")
    if spec.dtype in ("int8", "uint8") and labels == "classes" and shape and (shape[-1] or 0) > 1:
        return "scores", f"one {spec.dtype} a class: scores that were quantized"
    if not _is_real(spec):
        return ("values", "by the labels") if labels == "values" else ("classes", f"by its dtype, {spec.dtype}")
    if labels == "values":
        return "values", "by the labels"
    width = shape[axis if axis < 0 else axis - 1] if shape else 1 if shape == () else None
    several = labels == "several"
    if several:
        return "several", "by the labels"
    if width == 1 and labels in ("classes", "positions"):
        return (
            ("probability", f"by its operator, {spec.operator}") if "sigmoid" in operator else ("logit", "by its shape")
        )
    if labels in ("classes", "positions"):
        kind: Kind = "probabilities" if "softmax" in operator and "log" not in operator else "scores"
        return kind, f"by its operator, {spec.operator}" if kind == "probabilities" else "by the labels"
    return _kind_alone(spec, shape, operator)


def _kind_alone(spec: TensorSpec, shape: Shape | None, operator: str) -> tuple[Kind, str]:
    """What an output is when no labels tell."""
    by = f"by its operator, {spec.operator}"
    if "softmax" in operator and shape and shape[-1] != 1:
        return ("scores" if "log" in operator else "probabilities"), by
    if "sigmoid" in operator and shape in ((), (1,)):
        return "probability", by
    if any(word in spec.name.lower() for word in _EMBEDDINGS):
        return "embedding", "by its name"
    return "values", "nothing says that it is scores"


def settled(
    contract: Contract, seen: Mapping[str, Seen], declared: Declared, *, labelled: bool, positions: tuple[int, ...] = ()
) -> Contract:
    """The contract with what ranges and norms tell.

    Args:
        contract: By the file and the data.
        seen: What each output looked like when the model as given was run.
        declared: What the user says: it stands.
        labelled: Whether the data have labels.
        positions: Shape of one example's labels.
    """
    if labelled and declared.scores == "auto" and contract.scored.name in seen:
        contract = _shaped(contract, seen[contract.scored.name].shape, positions)
    outputs = tuple(_settle(o, seen[o.name], declared, labelled) if o.name in seen else o for o in contract.outputs)
    notes = [
        f"nothing says what the numbers of {o.name!r} are: they are taken as scores of classes; scores='values' (or "
        "'embedding') compares them as numbers."
        for o in outputs
        if o.why == _GUESSED
    ]
    return replace(contract, outputs=outputs, observed=True, notes=(*contract.notes, *notes))


def _shaped(contract: Contract, shape: tuple[int, ...], positions: tuple[int, ...]) -> Contract:
    """The contract where the file left dimensions of the scored output open: columns and the axis of classes."""
    scored, labels = contract.scored, contract.labels
    if scored.kind != "scores":
        return contract
    if labels.kind == "classes" and shape in ((), (1,)):
        changed = replace(scored, kind="logit", why="by its shape")
        if labels.classes > 2:  # whole numbers, but not of classes
            changed = replace(scored, kind="values", why="by its shape and the labels")
            labels = LabelMeaning("values")
    elif labels.kind == "positions" and positions and shape[1:] == positions and shape[:-1] != positions:
        changed = replace(scored, class_axis=1)
    else:
        return contract
    outputs = tuple(changed if o.name == scored.name else o for o in contract.outputs)
    return replace(contract, outputs=outputs, labels=labels)


def _settle(output: OutputMeaning, seen: Seen, declared: Declared, labelled: bool) -> OutputMeaning:
    if output.role == "scored" and declared.scores != "auto":
        return _threshold(output, seen)
    inside = seen.low >= 0 and seen.high <= 1
    last = len(seen.shape) - 1
    if output.kind in ("logit", "probability") and output.why.startswith("by its shape"):
        why = f"by its range, {seen.low:.3g} to {seen.high:.3g}"
        return replace(output, kind="probability" if inside else "logit", why=why)
    if output.kind == "scores" and inside and _axis(output, last) in seen.sums:
        return replace(output, kind="probabilities", why="they sum to 1")
    alone = output.role == "judged" or not labelled
    if (
        alone
        and output.kind == "values"
        and seen.shape
        and seen.shape[-1] > 1
        and seen.dtype.startswith(("float", "bf"))
    ):
        if inside and last in seen.sums:
            return replace(output, kind="probabilities", why="they sum to 1")
        if seen.unit and len(seen.shape) == 1:
            return replace(output, kind="embedding", why="its vectors have length 1")
        if output.role == "scored" and len(seen.shape) == 1:
            return replace(output, kind="scores", why=_GUESSED)
    return _threshold(output, seen)


def _axis(output: OutputMeaning, last: int) -> int:
    """Axis of the classes in one example's output."""
    return last if output.class_axis == -1 else output.class_axis - 1


def _threshold(output: OutputMeaning, seen: Seen) -> OutputMeaning:
    if output.kind != "several":
        return output
    inside = seen.low >= 0 and seen.high <= 1
    return replace(output, threshold=0.5 if inside else 0.0, why="by the labels and its range")

"""What outputs and labels are: which output is scored, as what, and how the labels are to be read for it.

Shapes, dtypes and last operators decide as far as they can; `settled` takes the ranges that were seen when the model as
given was run. The same file and the same data give the same answer, in every process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract, Declared, Kind, LabelMeaning, OutputMeaning
from deploykit.core.errors import DatasetError, unknown_name
from deploykit.core.model import batch_axis_of
from deploykit.core.serial import Plain
from deploykit.core.vocabulary import blank_of
from deploykit.data.boxes import are_boxes
from deploykit.data.examples import Data
from deploykit.data.labelled import Read, Shape, is_real, named, ways_to_read

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.core.decoder import Decoder
    from deploykit.core.model import Model, TensorSpec

#: Parts of names that say an output is a vector to be compared, not scores.
EMBEDDINGS = ("embed", "feature", "pool", "hidden", "encod", "vector", "latent")
#: So many labels at least are looked at before they are taken for texts unsaid.
_FEWEST_TEXTS = 10
#: Why an output is taken as scores when nothing says so.
_GUESSED = "one number for each of several columns, read as classes"


@dataclass(frozen=True)
class Seen(Plain):
    """What one output of the original model looked like on some examples.

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


def outputs_and_labels(
    data: Data, model: Model, declared: Declared, decoder: Decoder | None = None, *, sequences: bool
) -> tuple[Data, tuple[OutputMeaning, ...], LabelMeaning, list[str]]:
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
            f"Output {declared.output!r} is one number per batch, so it cannot be used to compare examples.",
            remedy="score an output with at least one value per example.",
        )
    free = [s for s in free if s.name not in whole] or free
    writes = decoder is not None and bool(decoder.write)
    if decoder is not None and writes:
        free = [_written(_chosen(free, declared), decoder)]
    data, spoken = _as_texts(data, replace(declared, scores="text") if writes else declared, free)
    labels = {name: split.labels for name, split in data.splits.items()}
    said = declared.kind == "values"  # then the operator does not decide what the labels are
    ways = {
        s.name: ways_to_read(
            labels,
            replace(s, operator="") if said else s,
            model,
            sequences=sequences,
            axis=declared.class_axis,
            values=said,
            embedding=declared.kind == "embedding",
        )
        for s in free
    }
    boxed = declared.kind == "boxes" or (declared.kind == "auto" and are_boxes(labels["evaluation"]))
    if boxed:
        scored, notes = _holding_boxes(free, declared, labels["evaluation"]), list[str]()
    else:
        scored, notes = _scored(free, ways, declared, labels["evaluation"])
    read = ways[scored.name]
    assert isinstance(read, Read)
    read = replace(read, labels=named(read.labels, data, scored, model))
    others = "state" if writes else "part" if boxed else "judged"
    if declared.kind == "text" and read.labels.kind == "none":
        read = replace(read, labels=replace(read.labels, named=data.classes))
    notes += spoken
    as_said = replace(declared, scores="values") if writes else declared  # it is text, whatever the file gives
    outputs = tuple(
        _meaning(
            s, model, as_said, "state" if s.name in carried else "scored" if s.name == scored.name else others, read
        )
        for s in model.outputs
    )
    if writes:
        why = "written token by token" if scored.dtype == "string" else "token numbers, written one by one"
        outputs = tuple(replace(o, kind="text", why=why) if o.name == scored.name else o for o in outputs)
    if boxed:
        outputs = tuple(replace(o, kind="boxes", why="") if o.name == scored.name else o for o in outputs)
    notes += [
        f"output {o.name!r} is one number per batch; it is not compared example by example."
        for o in outputs
        if o.role == "judged" and o.shape == ()
    ]
    recoded = {name: replace(split, labels=read.recode.get(name, split.labels)) for name, split in data.splits.items()}
    return replace(data, splits=recoded), outputs, read.labels, notes


def _chosen(free: Sequence[TensorSpec], declared: Declared) -> TensorSpec:
    """The output with the next token's scores: the one that is named, else the first one."""
    by_name = {s.name: s for s in free}
    if declared.output and declared.output not in by_name:
        raise DatasetError(f"Output {declared.output!r} is state.", remedy="score another output.")
    return by_name.get(declared.output, free[0])


def _written(spec: TensorSpec, decoder: Decoder) -> TensorSpec:
    """What a decoder writes instead of scores: a text for each example, or token numbers."""
    text = bool(decoder.tokenizer)
    return replace(spec, dtype="string" if text else "int64", shape=(None,) if text else (None, None), operator="")


def _scored(
    free: Sequence[TensorSpec], ways: Mapping[str, Read | str], declared: Declared, labels: NDArray[Any] | None
) -> tuple[TensorSpec, list[str]]:
    """The output the metric is about: the one the user names, else the first, else the only one the labels fit."""
    fitting = [s for s in free if isinstance(ways[s.name], Read)]
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
            f"The labels ({labels.dtype}, {labels.shape[1:] or 'one'} per example) fit no output of the model: "
            f"{reasons}.",
            remedy="correct the labels, or give none: candidates are then compared with the original's answers.",
        )
    if len(fitting) > 1:
        raise DatasetError(
            f"The labels do not fit the first output ({reasons}), but they fit several others: "
            f"{', '.join(s.name for s in fitting)}.",
            remedy=f"name the one they belong to: output={fitting[0].name!r} (--output {fitting[0].name}).",
        )
    return fitting[0], [f"output {fitting[0].name!r} is scored, the only one the labels fit; {reasons}."]


def _holding_boxes(free: Sequence[TensorSpec], declared: Declared, labels: NDArray[Any] | None) -> TensorSpec:
    """The output with a detector's boxes: the one that is named, else the first one with four numbers each.

    Raises:
        DatasetError: The labels are not boxes, or the output that is named is not there.
    """
    if labels is not None and not are_boxes(labels):
        raise DatasetError(
            f"Boxes (scores='boxes') need boxes as labels, these are {labels.dtype}, {labels.shape[1:]} per example.",
            remedy="read them with dk.Dataset.from_coco, or give none: candidates are then compared with the "
            "original's detections.",
        )
    by_name = {s.name: s for s in free}
    if name := declared.boxes.get("boxes") or declared.output:
        if name not in by_name:
            raise unknown_name("output in boxes", name, by_name)
        return by_name[name]
    for wanted in (4, 6):
        found = [s for s in free if s.shape and len(s.shape) == 3 and s.shape[-1] == wanted]
        if found:
            return found[0]
    return free[0]


# -- outputs ----------------------------------------------------------------------------------------------------------


def _meaning(spec: TensorSpec, model: Model, declared: Declared, role: Any, read: Read) -> OutputMeaning:
    axis = batch_axis_of(spec, model)
    if role == "state" and spec.name in declared.state:
        fed = next(s for s in model.inputs if s.name == declared.state[spec.name])
        axis = batch_axis_of(fed, model)
    found = OutputMeaning(spec.name, "values", role, spec.dtype, spec.shape, axis)
    if role == "scored" and declared.kind not in ("auto", "boxes"):
        kind: Kind = declared.kind  # type: ignore[assignment]  # checked when it was declared
        why = _decoding(spec, read.labels.named, "as you specified") if kind == "text" else "as you specified"
        return replace(found, kind=kind, class_axis=read.class_axis, why=why)
    if role == "scored" and read.labels.kind == "text":
        return replace(found, kind="text", why=_decoding(spec, read.labels.named, "by the labels"))
    labels = read.labels.kind if role == "scored" else "none"
    shape = replace(spec, batch_axis=axis).example_shape
    kind, why = _kind(spec, shape, labels, read.class_axis if role == "scored" else -1)
    return replace(found, kind=kind, class_axis=read.class_axis if role == "scored" else -1, why=why)


def _as_texts(data: Data, declared: Declared, free: Sequence[TensorSpec]) -> tuple[Data, list[str]]:
    """The data with labels that were taken for class names as texts, where the output is text and they are."""
    texts = any(s.dtype == "string" and declared.output in ("", s.name) for s in free)
    given = [s.labels for s in data.splits.values() if s.labels is not None and len(s.labels)]
    if not texts or not given or not data.classes or declared.kind not in ("auto", "text"):
        return data, []
    if any(part.dtype.kind not in "iu" or part.ndim != 1 for part in given):
        return data, []
    count = sum(map(len, given))
    sentences = sum(" " in name.strip() for name in data.classes) > len(data.classes) / 2
    guessed = declared.kind == "auto"
    if guessed and not (count >= _FEWEST_TEXTS and len(data.classes) > count / 2 and sentences):
        return data, []
    import numpy as np

    names = np.array(data.classes)
    splits = {n: s if s.labels is None else replace(s, labels=names[s.labels]) for n, s in data.splits.items()}
    note = "the labels are sentences that hardly repeat: they are read as texts; scores='classes' takes them as names."
    return replace(data, splits=splits, classes=()), [note] if guessed else []


def _decoding(spec: TensorSpec, vocabulary: tuple[str, ...], why: str) -> str:
    """What was decided that an output is text by, and how it becomes that.

    Raises:
        DatasetError: There is no vocabulary to decode it with.
    """
    if spec.dtype == "string":
        return why
    if not vocabulary:
        raise DatasetError(
            f"Output {spec.name!r} is {spec.dtype}, which becomes text only with a vocabulary.",
            remedy="give the tokens in the order of their numbers: classes=[…] (--classes).",
        )
    if not is_real(spec):
        return f"{why}; token numbers, decoded with {len(vocabulary)} tokens"
    blank = blank_of(vocabulary)
    how = "" if blank is None else f", repeated ones once, {vocabulary[blank]!r} as the blank"
    return f"{why}; the likeliest of {len(vocabulary)} tokens at each step{how}"


def _kind(spec: TensorSpec, shape: Shape | None, labels: str, axis: int) -> tuple[Kind, str]:
    """What an output is, as far as the file and the labels tell, and by what that was decided."""
    operator = spec.operator.lower().replace("_", "")
    if spec.dtype in ("int8", "uint8") and labels == "classes" and shape and (shape[-1] or 0) > 1:
        return "scores", f"one {spec.dtype} a class: scores that were quantized"
    if not is_real(spec):
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
    if any(word in spec.name.lower() for word in EMBEDDINGS):
        return "embedding", "by its name"
    return "values", "nothing identifies it as scores"


def settled(
    contract: Contract, seen: Mapping[str, Seen], declared: Declared, *, labelled: bool, positions: tuple[int, ...] = ()
) -> Contract:
    """The contract with what ranges and norms tell.

    Args:
        contract: By the file and the data.
        seen: What each output looked like when the original model was run.
        declared: What the user says: it stands.
        labelled: Whether the data have labels.
        positions: Shape of one example's labels.
    """
    if labelled and declared.kind == "auto" and contract.scored.name in seen:
        contract = _shaped(contract, seen[contract.scored.name].shape, positions)
    outputs = tuple(_settle(o, seen[o.name], declared, labelled) if o.name in seen else o for o in contract.outputs)
    notes = [
        f"nothing identifies the numbers of {o.name!r}: they are read as class scores; scores='values' (or "
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
    if output.kind == "boxes" or output.role == "part":
        return output
    if output.role == "scored" and declared.kind != "auto":
        return _threshold(output, seen)
    inside = seen.low >= 0 and seen.high <= 1
    last = len(seen.shape) - 1
    if output.kind == "logit":  # by its shape alone: declared ones were returned above
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

"""TensorFlow Serving's examples: named features in, classes with their scores or values out.

Source: TensorFlow Serving's RESTful API documentation ("Classify and Regress API") and its messages `tf.Example`,
`ClassificationResult` and `RegressionResult`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import OutputMeaning
from deploykit.core.model import TensorSpec
from deploykit.core.protos.messages import message
from deploykit.serving.batches import Batch
from deploykit.serving.classification import named, scores, takes
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.faults import InvalidInputError, shown
from deploykit.serving.tensors import from_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    #: Features by name, each a value or a flat list of values.
    Features = Mapping[str, Any]


#: Names that TensorFlow Serving's methods look for in a signature's outputs.
_CLASSES, _SCORES, _VALUES = "classes", "scores", "outputs"
#: The largest number of float32, which features of real numbers are.
_LARGEST = 3.4028234663852886e38


def read_examples(plane: DataPlane, examples: Sequence[Features], context: Features | None = None) -> Batch:
    """The batch that examples of features are.

    A feature has the name of an input and holds its values in order, flat; a truth value among numbers is 0 or 1.
    Features that are not inputs are ignored, as by a graph that parses examples.

    Args:
        plane: The model.
        examples: At least one.
        context: Features that all examples share; none of them may have these.

    Raises:
        InvalidInputError: A feature is missing, is in the context as well, or does not fit its input.
    """
    if plane.parses:  # the graph says what is missing
        together = None if context is None else message_of(context)
        return plane.batch({plane.needed[0]: serialized([message_of(one) for one in examples], together)})
    shared = context or {}
    if twice := sorted({name for example in examples for name in example} & set(shared)):
        raise InvalidInputError(f"Expected each feature in the context or in the examples, got {twice[0]!r} in both.")
    rows = [{**shared, **example} for example in examples]
    names = [n for n in plane.inputs if n in plane.needed or (rows and n in rows[0])]
    arrays = {}
    for name in names:
        for number, row in enumerate(rows):
            if name not in row:
                raise InvalidInputError(
                    f"Example {number} has no feature {name!r}; expected the model's inputs as features: "
                    f"{', '.join(map(repr, plane.needed))}.",
                    f"Feature: {name} (data type: {plane.inputs[name].dtype}) is required but could not be found.",
                )
        arrays[name] = _feature([row[name] for row in rows], plane, plane.inputs[name])
    return plane.batch(arrays)


def message_of(features: Features) -> Any:
    """The ``tf.Example`` message of features.

    Raises:
        InvalidInputError: A feature's values are not of one kind.
    """
    found = message("tensorflow.Example")()
    for name, given in features.items():
        values = given if isinstance(given, list) else [given]
        try:
            _put(found.features.feature[name], values)
        except (TypeError, ValueError) as error:  # beyond 64 bits, half a surrogate pair, lists in lists
            raise InvalidInputError(
                f"Feature {shown(name)}: expected numbers or text of 64 bits, got {shown(values)}.",
                f"Example feature: {shown(name)[1:-1]} has values of unexpected types",
            ) from error
    return found


def _put(feature: Any, values: list[Any]) -> None:
    kinds = {type(value) for value in values}
    if kinds <= {int, bool}:
        feature.int64_list.value.extend(map(int, values))
    elif kinds <= {int, float, bool}:
        if any(_LARGEST < abs(value) < math.inf for value in values):
            raise ValueError("out of range")
        feature.float_list.value.extend(map(float, values))
    elif kinds <= {str, bytes}:
        feature.bytes_list.value.extend(v if isinstance(v, bytes) else v.encode() for v in values)
    else:
        raise TypeError("of several kinds")


def serialized(examples: Sequence[Any], context: Any) -> NDArray[Any]:
    """``tf.Example`` messages as the text that a graph parses: an array of bytes, one for each example.

    Args:
        examples: The messages.
        context: Features that all of them get; None for none.
    """
    import numpy as np

    found = np.empty(len(examples), object)
    for place, one in enumerate(examples):
        if context is not None:
            merged = type(one)()
            merged.CopyFrom(context)
            merged.MergeFrom(one)
            one = merged
        found[place] = one.SerializeToString()
    return found


def check_classifies(plane: DataPlane) -> None:
    """Raise `InvalidInputError` unless an output holds scores of classes, one answer per example."""
    if not _is_for(plane, "classify"):
        _output(plane, "classify")


def check_regresses(plane: DataPlane) -> None:
    """Raise `InvalidInputError` unless an output holds one number per example."""
    if not _is_for(plane, "regress"):
        _output(plane, "regress")


def classifications(plane: DataPlane, outputs: Mapping[str, NDArray[Any]]) -> list[list[tuple[str, float]]]:
    """All classes of each example with their scores, in the model's order; a class without a name is its number.

    Raises:
        InvalidInputError: No output holds scores of classes.
    """
    if _is_for(plane, "classify"):
        return _labelled(outputs)
    meaning = _output(plane, "classify")
    found = scores(outputs[meaning.name], meaning, "classify")
    names = named(plane.classes_of(meaning), found.shape[1])
    return [list(zip(names, row.tolist(), strict=True)) for row in found]


def regressions(plane: DataPlane, outputs: Mapping[str, NDArray[Any]]) -> list[float]:
    """The value of each example.

    Raises:
        InvalidInputError: No output holds one number per example.
    """
    name = _VALUES if _is_for(plane, "regress") else _output(plane, "regress").name
    found = outputs[name]
    if found.size != len(found):
        raise InvalidInputError(
            f"Output {name!r}: 'regress' is for one number per example, and this output has shape "
            f"{('batch', *found.shape[1:])}; use 'predict'."
        )
    numbers: list[float] = found.reshape(len(found)).tolist()
    return numbers


def _is_for(plane: DataPlane, method: str) -> bool:
    """Whether a signature that deploykit did not make gives what TensorFlow Serving's method reads, by its names."""
    if not plane.tensors:
        return False
    names = set(plane.outputs)
    return names == {_VALUES} if method == "regress" else bool(names) and names <= {_CLASSES, _SCORES}


def _labelled(outputs: Mapping[str, NDArray[Any]]) -> list[list[tuple[str, float]]]:
    """Classes and scores of a signature made for them; what it does not give is empty, and zero."""
    shape = next(iter(outputs.values())).shape
    for name, array in outputs.items():
        if array.ndim != 2 or array.shape != shape:
            raise InvalidInputError(
                f"Output {name!r} has shape {array.shape}, which is not one row of classes for each example.",
                f"Expected Tensor shape: [batch_size num_classes] but got {list(array.shape)}",
            )
    labels = outputs[_CLASSES].tolist() if _CLASSES in outputs else [[""] * shape[1]] * shape[0]
    values = outputs[_SCORES].tolist() if _SCORES in outputs else [[0.0] * shape[1]] * shape[0]
    return [
        [(_text(label), value) for label, value in zip(*row, strict=True)] for row in zip(labels, values, strict=True)
    ]


def _text(label: Any) -> str:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)


def _output(plane: DataPlane, method: str) -> OutputMeaning:
    """The output that a method is about: the scored one if it suits, else the first one that does."""
    suits = takes if method == "classify" else _is_value
    for meaning in sorted(plane.meanings.values(), key=lambda m: m.role != "scored"):
        if suits(meaning):
            return meaning
    kinds = ", ".join(f"{m.name!r} ({m.kind})" for m in plane.meanings.values())
    what = "scores of classes" if method == "classify" else "one number per example"
    name = "classification" if method == "classify" else "regression"
    raise InvalidInputError(
        f"The model's outputs are {kinds}; expected one with {what} for {method!r}: use 'predict'.",
        f"Expected {name} signature method_name to be tensorflow/serving/{method}. Was: tensorflow/serving/predict",
    )


def _is_value(meaning: OutputMeaning) -> bool:
    sizes = () if meaning.shape is None else meaning.shape[1:]
    return meaning.kind in ("values", "probability", "logit") and all(size in (1, None) for size in sizes)


def _feature(values: list[Any], plane: DataPlane, spec: TensorSpec) -> NDArray[Any]:
    """An input from each example's feature."""
    lists = [value if isinstance(value, list) else [value] for value in values]
    if len({len(one) for one in lists}) != 1:
        raise InvalidInputError(
            f"Feature {spec.name!r}: expected as many values in all examples, got other numbers of them."
        )
    size = len(lists[0])
    flat = [_number(v, spec) for one in lists for v in one]
    shape = (len(lists), *_sizes(size, spec))
    return from_lists(flat, spec, shape, real=plane.real.get(spec.name, ""))


def _number(value: Any, spec: TensorSpec) -> Any:
    """Features have no truth values: they are whole numbers."""
    if spec.dtype == "bool":
        return bool(value) if type(value) is int and value in (0, 1) else value
    return int(value) if type(value) is bool and spec.dtype != "string" else value


def _sizes(size: int, spec: TensorSpec) -> tuple[int, ...]:
    """Shape of one example of so many values."""
    wanted = spec.shape[1:] if spec.shape is not None else (None,)
    known = math.prod(d for d in wanted if d is not None)
    free = sum(d is None for d in wanted)
    if free == 1 and known and size % known == 0:
        return tuple(size // known if d is None else d for d in wanted)
    if free == 0 and size == known:
        return tuple(d for d in wanted if d is not None)
    raise InvalidInputError(
        f"Feature {spec.name!r}: expected {'a multiple of ' if free else ''}{known} values per example, got {size}."
        if free < 2
        else f"Feature {spec.name!r}: its values are flat, and the input has free sizes {wanted}; use 'predict'."
    )

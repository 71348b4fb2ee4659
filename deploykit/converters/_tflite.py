"""Setting up and running TensorFlow's TFLite converter; conversions and quantization share it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.converters._keras import SIGNATURE, Names, signature_function, signature_names
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.readers.flatbuffers import Table

#: Fields of the schema's tables: of the model, and of a subgraph (of a signature, they are one less).
_SUBGRAPHS, _SIGNATURES, _TENSORS, _INPUTS, _OUTPUTS = 2, 7, 0, 1, 2
#: Of a tensor.
_NAME = 3
_OPERATORS = re.compile(r"(?:TF Select|Flex|Custom) ops: ([\w, .:]+?)(?= ?(?:Details|Custom|TF Select|Flex|See|$))")


def converter_of(saved_model: Path) -> Any:
    """A ``tf.lite.TFLiteConverter`` for the serving signature of a SavedModel.

    Raises:
        UnsupportedModelError: The SavedModel has no serving signature.
    """
    tf = require("tensorflow", "tensorflow")
    try:
        return tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[SIGNATURE])
    except (KeyError, ValueError) as error:
        signature_function(saved_model)  # says which signatures there are
        text = " ".join(str(error).split())
        raise UnsupportedModelError(f"TFLite cannot read the SavedModel: {text[:300]}") from error


def fixed_batch_converter_of(saved_model: Path) -> Any:
    """A converter for the serving signature with the batch fixed at one.

    Recurrent layers keep their steps in lists of tensors; TFLite has those only when their shape is known.
    """
    tf = require("tensorflow", "tensorflow")
    loaded, signature = signature_function(saved_model)
    taken = signature.structured_input_signature[1]
    specs = [tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, name=name) for name, spec in taken.items()]

    def call(*tensors: Any) -> Any:
        return signature(**dict(zip(taken, tensors, strict=True)))

    function = tf.function(call, input_signature=specs).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], loaded)
    converter._experimental_default_to_single_batch_in_tensor_list_ops = True
    return converter


def converted(converter: Any) -> bytes:
    """Run the converter.

    Raises:
        UnsupportedModelError: TFLite lacks an operator (names all of them), or the quantizer refuses the graph.
    """
    try:
        return bytes(converter.convert())
    except MemoryError:
        raise
    except Exception as error:  # the converter's own class is private; what it wraps can be anything
        raise conversion_error(error) from error


def conversion_error(error: Exception) -> UnsupportedModelError:
    """The converter's message, which quotes the whole graph, in one line that names the operators."""
    text = " ".join(str(error).split())
    if operators := missing_operators(text):
        return UnsupportedModelError(
            f"TFLite has no operator for {', '.join(operators)}, which the model needs.",
            remedy="use ONNX Runtime or TensorFlow for this model, or replace the layers that need it.",
        )
    return UnsupportedModelError(
        f"TFLite cannot convert the model: {text[:400]}",
        remedy="use ONNX Runtime or TensorFlow for this model; the log has the converter's full message.",
    )


def missing_operators(text: str) -> list[str]:
    """Names of TensorFlow operators the converter says it lacks."""
    found = {op.strip() for group in _OPERATORS.findall(text) for op in group.split(",")}
    return sorted(f for f in found if f)


def write(
    saved_model: Path, target: Path, notes: dict[str, Any], setup: Any = None, names: Names | None = None
) -> Names:
    """Convert a SavedModel to a ``.tflite`` file.

    Args:
        saved_model: The folder.
        target: The file to write.
        notes: Takes a note when the batch had to be fixed.
        setup: Called with the converter before it runs, to set quantization options.
        names: Inputs and outputs in the order wanted; None: as the reader of SavedModels lists them.

    Returns:
        The names in the file.
    """
    if names is None:
        names = signature_names(signature_function(saved_model)[1])
    try:
        content = _attempt(converter_of(saved_model), setup)
    except UnsupportedModelError as error:
        if "TensorList" not in str(error.__cause__):  # the converter says what it lacks only in words
            raise
        content = _attempt(fixed_batch_converter_of(saved_model), setup)
        notes["batch"] = "fixed at 1, because TFLite supports recurrent layers only for a known batch size"
    target.write_bytes(ordered(content, names))
    return names


def ordered(content: bytes, names: Names) -> bytes:
    """The file with its inputs and outputs in the order of ``names``: the converter's depends on the process.

    Only the lists of the graph's inputs and outputs are changed: signatures refer to tensors, not to places.
    """
    changed = bytearray(content)
    model = Table.root(memoryview(content))
    graph, signature = next(model.tables(_SUBGRAPHS), None), next(model.tables(_SIGNATURES), None)
    if graph is None or signature is None:
        return content
    for field, wanted in ((_INPUTS, names.inputs), (_OUTPUTS, names.outputs)):
        tensors = {entry.text(0): entry.number(1, "I") for entry in signature.tables(field - 1)}
        found, place = graph.numbers(field, "i"), graph.span(field, 4)
        new = [tensors.get(name, -1) for name in wanted.values()]
        if place is not None and sorted(new) == sorted(found):
            struct.pack_into(f"<{len(new)}i", changed, place[0], *new)
    return bytes(changed)


@dataclass(frozen=True)
class Tensors:
    """Names of the tensors that the inputs and outputs of a graph are, in the file's order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def tensors(content: bytes) -> Tensors:
    """The tensors of a file that are its inputs and outputs."""
    graph = next(Table.root(memoryview(content)).tables(_SUBGRAPHS))
    names = [tensor.text(_NAME) for tensor in graph.tables(_TENSORS)]
    return Tensors(*(tuple(names[place] for place in graph.numbers(side, "i")) for side in (_INPUTS, _OUTPUTS)))


def _attempt(converter: Any, setup: Any) -> bytes:
    if setup is not None:
        setup(converter)
    return converted(converter)

"""A trained model as a file or folder: what can be known of it without running it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.layers.kinds import LayerKind
from deploykit.core.serial import RARE, Plain

#: Layers shown in a notebook; the rest is counted.
MAX_LAYERS = 200


@dataclass(frozen=True)
class TensorSpec(Plain):
    """One input or output.

    Attributes:
        name: Name in the signature.
        shape: Dimensions with the batch first; None for a free dimension; the whole is None when the rank is unknown.
        dtype: NumPy name, for example ``"float32"``; ``"string"`` for text.
        scale: Affine quantization r = (q - zero_point) * scale; 0 when the tensor is not quantized.
        zero_point: See ``scale``.
        operator: What makes an output, as its format calls it: a Keras layer and its activation (``"Dense softmax"``),
            the node of an ONNX or TFLite graph behind casts and reshapes (``"Softmax"``); "" when it is not known.
        batch_axis: The axis that counts examples: a recurrent state of shape (layers, batch, units) has it on axis 1.
        rows: Rows of the table that an input of whole numbers chooses from, which must be smaller; 0: not known.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    scale: float = 0.0
    zero_point: int = 0
    operator: str = ""
    batch_axis: int = 0
    rows: int = field(default=0, metadata={RARE: True})

    def __str__(self) -> str:
        shape = "any shape" if self.shape is None else ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}: {self.dtype} ({shape})"

    @property
    def example_shape(self) -> tuple[int | None, ...] | None:
        """Shape of one example: without the batch dimension."""
        if self.shape is None:
            return None
        return self.shape[: self.batch_axis] + self.shape[self.batch_axis + 1 :]

    @property
    def batch_size(self) -> int | None:
        """The fixed batch size, None when the batch dimension is free."""
        return self.shape[self.batch_axis] if self.shape else None


@dataclass(frozen=True)
class Layer(Plain):
    """One layer or graph node.

    Attributes:
        name: Name in the file (text from outside: show it as text only).
        type: Class or operator.
        shape: Output shape with the batch first, None when unknown.
        parameters: Number of weights it owns.
        kind: What it does, whatever the format calls it.
    """

    name: str
    type: str
    shape: tuple[int | None, ...] | None = None
    parameters: int = 0
    kind: LayerKind = ""


@dataclass(frozen=True)
class Model(Plain):
    """A trained model on disk.

    Attributes:
        path: Absolute path of the file or folder.
        format: Name of the format's adapter, recognized by content.
        inputs: Signature, in order.
        outputs: Signature, in order.
        layers: Per-layer summary in file order.
        parameter_count: Number of weights.
        size_bytes: Size of the file, or of all files of the folder and external data.
        digest: SHA-256 of the content.
        imports: Python modules that define custom layers; child processes also import them.
        trusted: Whether code inside the model may run (Lambda layers, file operators). Can only be set in code.
        warnings: Problems that do not stop the work, for example NaN weights.
        origin: The path the user gave if ``path`` is a copy.
        extra_files: Absolute paths of further files of the model (external data), which are next to it.
        operator_set: Version of the standard operators it uses, 0 for formats without one.
        stateful: Layers or variables that keep state for the next call; () for a pure function of the inputs.
        classes: Names of its classes by index, as the ``config.json`` beside it has them; empty when it says nothing.
        hub: The Hugging Face folder that it lies in, "" for any other place.
        named_inputs: Inputs that the user has named, where it is a part of ``origin``; see `deploykit.load`.
        named_outputs: The same for outputs.

    Example:
        >>> model.format, model.parameter_count
        ('onnx', 158219)
        >>> print(model.inputs[0])
        image: float32 (?, 28, 28, 1)
    """

    path: str
    format: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
    parameter_count: int
    size_bytes: int
    digest: str
    imports: tuple[str, ...] = ()
    trusted: bool = False
    warnings: tuple[str, ...] = ()
    origin: str = ""
    extra_files: tuple[str, ...] = ()
    operator_set: int = 0
    stateful: tuple[str, ...] = ()
    classes: tuple[str, ...] = field(default=(), metadata={RARE: True})
    hub: str = field(default="", metadata={RARE: True})
    named_inputs: tuple[str, ...] = field(default=(), metadata={RARE: True})
    named_outputs: tuple[str, ...] = field(default=(), metadata={RARE: True})

    @property
    def is_part(self) -> bool:
        """Whether it is a part of ``origin``, between inputs and outputs that were named."""
        return bool(self.named_inputs or self.named_outputs)

    @property
    def name(self) -> str:
        """File name without its extension; that of the folder for the one model of a Hugging Face folder."""
        own = Path(self.origin or self.path).stem
        return Path(self.hub).name if self.hub and own in ("model", "saved_model", "1") else own

    def _repr_html_(self) -> str:
        return _html(self)

    def __str__(self) -> str:
        return (
            f"{Path(self.origin or self.path).name}: {self.format}, {self.parameter_count:,} parameters, "
            f"{self.size_bytes / 1000:,.0f} kB, {len(self.layers)} layer{'s' if len(self.layers) != 1 else ''}; "
            f"in {'; '.join(map(str, self.inputs))}; out {'; '.join(map(str, self.outputs))}"
        )


def _html(model: Model) -> str:
    """A model as a card: facts, warnings, signature, and the layers folded away."""
    from deploykit.core.tables import card, fold, notes, table

    shown = Path(model.origin or model.path).name
    count = f"{len(model.layers):,} layer{'s' if len(model.layers) != 1 else ''}"
    facts = (
        f"{model.format} · {model.parameter_count:,} parameters · {model.size_bytes / 1000:,.0f} kB · "
        f"{count} · sha256 {model.digest[:12]}"
    )
    signature = table(
        ("signature", "name", "type", "shape"),
        [
            *(("input", spec.name, _type(spec), _shape(spec.shape)) for spec in model.inputs),
            *(("output", spec.name, _type(spec), _shape(spec.shape)) for spec in model.outputs),
        ],
    )
    layers = table(
        ("layer", "type", "output shape", "parameters"),
        [
            (layer.name, layer.type, _shape(layer.shape), f"{layer.parameters:,}" if layer.parameters else "")
            for layer in model.layers[:MAX_LAYERS]
        ],
        numeric=(3,),
    )
    hidden = len(model.layers) - MAX_LAYERS
    title = count + (f" (the first {MAX_LAYERS})" if hidden > 0 else "")
    return card(shown, facts, notes(model.warnings), signature, fold(title, layers) if model.layers else "")


def _type(spec: TensorSpec) -> str:
    return f"{spec.dtype} × {spec.scale:.6g}, zero {spec.zero_point}" if spec.scale else spec.dtype


def _shape(shape: tuple[int | None, ...] | None) -> str:
    return "" if shape is None else " × ".join("?" if d is None else str(d) for d in shape) or "scalar"


def align(
    reference: Sequence[str],
    names: Sequence[str],
    forms: tuple[Sequence[object], Sequence[object]] | None = None,
) -> list[int]:
    """Which of ``names`` stands for each reference tensor.

    Converters keep, decorate or replace tensor names. Equal names are matched first, then names equal but for
    decoration (``serving_default_image:0`` for ``image``), then the only ones of their form, and the last one that is
    left. Tensors that could be exchanged are never paired by their order.

    Args:
        reference: Names that are wanted.
        names: Names there are.
        forms: Something comparable for each of ``reference`` and of ``names``, such as shape and dtype.

    Returns:
        For each reference name, in order, an index into ``names``; -1 when ``names`` is shorter.

    Raises:
        UnsupportedModelError: Several tensors are left that names and forms do not distinguish.
    """
    if list(reference) == list(names):  # the usual case, and on the path of every request
        return list(range(len(names)))
    taken: dict[int, int] = {}
    for simplify in (str, plain_name):
        wanted, keys = [simplify(r) for r in reference], [simplify(n) for n in names]
        for i, key in enumerate(wanted):
            free = [j for j, k in enumerate(keys) if k == key and j not in taken.values()]
            rivals = [k for k, other in enumerate(wanted) if other == key and k not in taken]
            if i not in taken and len(free) == 1 and len(rivals) == 1:
                taken[i] = free[0]
    _align_forms(taken, forms)
    left = [i for i in range(len(reference)) if i not in taken]
    free = [j for j in range(len(names)) if j not in taken.values()]
    if len(left) > 1 and free:
        raise UnsupportedModelError(
            f"It is not clear which of {', '.join(repr(names[j]) for j in free)} stands for which of "
            f"{', '.join(repr(reference[i]) for i in left)}: their names differ.",
            remedy="give the tensors the same names.",
        )
    if left:
        taken |= dict.fromkeys(left, -1) | ({left[0]: free[0]} if len(free) == 1 else {})
    return [taken[i] for i in range(len(reference))]


def _align_forms(taken: dict[int, int], forms: tuple[Sequence[object], Sequence[object]] | None) -> None:
    """Pair what is left where only one tensor on each side has the form."""
    if forms is None:
        return
    ours, theirs = forms
    left = [i for i in range(len(ours)) if i not in taken]
    free = [j for j in range(len(theirs)) if j not in taken.values()]
    for i in left:
        same = [j for j in free if theirs[j] == ours[i]]
        if len(same) == 1 and sum(ours[k] == ours[i] for k in left) == 1:
            taken[i] = same[0]


def signature_order(key: str) -> tuple[int, str]:
    """Sorts the keys of a signature, which a SavedModel keeps in no order: ``output_2`` before ``output_10``."""
    return (len(key), key) if key.startswith("output_") else (0, key)


def plain_name(name: str) -> str:
    """A tensor name without the decoration converters add, in the characters that all formats allow."""
    inner = name.removeprefix("serving_default_").partition(":")[0].rpartition("/")[2]
    return re.sub(r"[^0-9a-z]", "_", inner.lower())


def fits_shape(wanted: Sequence[int | None] | None, given: Sequence[int]) -> bool:
    """Whether a shape is one that is wanted: None stands for any size, and as a whole for any shape."""
    if wanted is None:
        return True
    return len(wanted) == len(given) and all(w in (None, g) for w, g in zip(wanted, given, strict=True))


def batch_axis_of(spec: TensorSpec, model: Model) -> int:
    """The axis of the batch: the first one, but for a tensor that fixes it where other inputs, or all outputs, do not.

    A recurrent state (layers, batch, units) is such a tensor, and a sequence with its steps first: of its axes only the
    second one is free.
    """
    if spec.batch_axis or not spec.shape or spec.shape[0] is None:
        return spec.batch_axis
    free = [axis for axis, size in enumerate(spec.shape) if size is None]
    others = any(s.shape and s.shape[0] is None for s in model.inputs if s.name != spec.name)
    if not others and spec.shape[0] > 1 and all(s.name != spec.name for s in model.outputs):
        others = bool(model.outputs) and all(s.shape and s.shape[0] is None for s in model.outputs)  # steps first
    return free[0] if others and len(free) == 1 else 0

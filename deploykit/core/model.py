"""A trained model as a file or folder: what can be known of it without running it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploykit.core.serial import Plain


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
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    scale: float = 0.0
    zero_point: int = 0
    operator: str = ""
    batch_axis: int = 0

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
    """

    name: str
    type: str
    shape: tuple[int | None, ...] | None = None
    parameters: int = 0


@dataclass(frozen=True)
class Model(Plain):
    """A trained model on disk.

    Attributes:
        path: Absolute path of the file or folder.
        format: Name of the format's adapter, told by content.
        inputs: Signature, in order.
        outputs: Signature, in order.
        layers: Per-layer summary in file order.
        parameter_count: Number of weights.
        size_bytes: Size of the file, or of all files of the folder and external data.
        digest: SHA-256 of the content.
        imports: Python modules that define custom layers; children import them too.
        trusted: Code inside the model may be run (Lambda layers, file operators). Only ever set in code.
        warnings: Problems that do not stop the work, for example NaN weights.
        origin: The path the user gave, when ``path`` is a copy.
        extra_files: Absolute paths of further files the model consists of (external data); they lie beside it.
        operator_set: Version of the standard operators it uses, 0 for formats without one.
        stateful: Layers or variables that keep what they computed for the next call; () for a function of its inputs.
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

    @property
    def name(self) -> str:
        """File name without its ending."""
        return Path(self.origin or self.path).stem

    def _repr_html_(self) -> str:
        from deploykit.core.tables import model_html

        return model_html(self)

    def __str__(self) -> str:
        return (
            f"{Path(self.origin or self.path).name}: {self.format}, {self.parameter_count:,} parameters, "
            f"{self.size_bytes / 1000:,.0f} kB, {len(self.layers)} layer{'s' if len(self.layers) != 1 else ''}; "
            f"in {'; '.join(map(str, self.inputs))}; out {'; '.join(map(str, self.outputs))}"
        )


def align(reference: Sequence[str], names: Sequence[str]) -> list[int]:
    """Which of ``names`` stands for each reference tensor.

    Converters keep, decorate or replace tensor names. Equal names are matched first, then names equal but for
    decoration (``serving_default_image:0`` for ``image``); the rest keeps its order.

    Returns:
        For each reference name, in order, an index into ``names``; -1 when ``names`` is shorter.
    """
    if list(reference) == list(names):  # the usual case, and on the path of every request
        return list(range(len(names)))
    taken: dict[int, int] = {}
    for simplify in (str, plain_name):
        keys = [simplify(n) for n in names]
        for i, wanted in enumerate(simplify(r) for r in reference):
            if i not in taken and keys.count(wanted) == 1 and keys.index(wanted) not in taken.values():
                taken[i] = keys.index(wanted)
    free = [j for j in range(len(names)) if j not in taken.values()]
    for i in range(len(reference)):
        if i not in taken:
            taken[i] = free.pop(0) if free else -1
    return [taken[i] for i in range(len(reference))]


def plain_name(name: str) -> str:
    """A tensor name without the decoration converters add."""
    return name.removeprefix("serving_default_").partition(":")[0].rpartition("/")[2].lower().replace(".", "_")

"""A node of an ONNX graph as its rule sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.converters._tensorflow_graph.values import Dims, Value
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ELSEWHERE = "use ONNX Runtime or OpenVINO for this model, or export it without this operator."


@dataclass(frozen=True)
class Call:
    """A node with its inputs.

    Attributes:
        node: The ``NodeProto``.
        version: Version of the operator set.
        inputs: Its inputs; None for those that are left out.
        attributes: Its attributes.
        dims: Sizes of its first output, as far as shape inference knows them; None when it does not know the rank.
    """

    node: Any
    version: int
    inputs: Sequence[Value | None]
    attributes: dict[str, Any]
    dims: Dims | None = None

    def __getitem__(self, place: int) -> Value:
        found = self.optional(place)
        if found is None:
            raise self.refused(f"input {place} is missing")
        return found

    def optional(self, place: int) -> Value | None:
        """An input, None when it is left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute; text as str."""
        found = self.attributes.get(name, default)
        return found.decode() if isinstance(found, bytes) else found

    def setting(self, place: int, name: str = "") -> NDArray[Any] | None:
        """A constant input, or the attribute that older operator sets have instead; None when there is neither.

        Raises:
            UnsupportedModelError: The input is not constant.
        """
        import numpy as np

        if name in self.attributes:
            return np.asarray(self.attributes[name])
        found = self.optional(place)
        if found is None:
            return None
        if found.known is None:
            raise self.refused(f"its {name or f'input {place}'} is not constant")
        return found.known

    def numbers(self, place: int, name: str = "") -> list[int] | None:
        """A setting of whole numbers."""
        found = self.setting(place, name)
        return None if found is None else [int(value) for value in found.reshape(-1)]

    def refused(self, why: str) -> UnsupportedModelError:
        """The error for a use of an operator that its rule does not know."""
        return UnsupportedModelError(
            f"The operator {self.node.op_type} (node {self.node.name or self.node.output[0]!r}) cannot be converted "
            f"to TensorFlow: {why}.",
            remedy=_ELSEWHERE,
        )


#: Writes one operator.
Rule = Callable[[Call], Value | Sequence[Value]]


def unknown(nodes: Sequence[tuple[str, str]]) -> UnsupportedModelError:
    """The error for operators without a rule.

    Args:
        nodes: Operator and name of each node.
    """
    first = dict(reversed(nodes))
    said = ", ".join(f"{operator} (node {first[operator]!r})" for operator in sorted(first))
    quantized = any("Quantize" in o or o.startswith("QLinear") or o.endswith(("Integer", "NBits")) for o in first)
    return UnsupportedModelError(
        f"The model cannot be converted to TensorFlow: there is no rule for {said}.",
        remedy="convert the float model that it was made from, and quantize afterwards." if quantized else _ELSEWHERE,
    )


def together(call: Call, function: Callable[..., Any], values: Sequence[Value] | None = None) -> Value:
    """Apply a function of tensors that broadcasts, in the order that one of them is held in."""
    given = list(values if values is not None else [v for v in call.inputs if v is not None])
    if all(value.known is not None and value.known.dtype.kind in "iu" for value in given):  # arithmetic of sizes
        with tensorflow().init_scope():
            return Value(known=function(*(tensorflow().constant(value.known) for value in given)).numpy())
    rank = max(value.rank for value in given)
    turned = any(value.turned and value.rank == rank for value in given)
    if not turned:
        rows = [value.rank > 1 and value.dims[:-1] == [1] * (value.rank - 1) for value in given]
        if any(value.rank == rank and not row for value, row in zip(given, rows, strict=True)):
            # TensorFlow adds what follows a product as a bias, and then takes vectors alone.
            return Value(function(*(v.row() if row else v.first() for v, row in zip(given, rows, strict=True))))
        return Value(function(*(value.first() for value in given)))
    return Value(last=function(*(value.beside_last(rank) for value in given)))


def each(call: Call, function: Callable[[Any], Any]) -> Value:
    """Apply a function of one tensor, element by element."""
    return call[0].like(function(call[0].native))


def tensorflow() -> Any:
    """TensorFlow."""
    return require("tensorflow", "tensorflow")

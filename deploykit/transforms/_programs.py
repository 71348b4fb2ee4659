"""What techniques on PyTorch's programs have in common: what they cannot do, and PT2E's integers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from deploykit.core.layers.kinds import LayerKind
from deploykit.core.model import Layer
from deploykit.core.problem import Facts, Problem
from deploykit.surgery import selection
from deploykit.transforms._conditions import FLOAT_LAYERS, Condition, Without
from deploykit.transforms._contract import Variant


def unsuited(layers: Sequence[Layer]) -> Iterator[Problem]:
    """TorchScript, which can only be run and converted: its layers are classes, those of programs are operators."""
    if layers and all(layer.type[:1].isupper() for layer in layers):
        yield Problem("impossible", "TorchScript can only be run and converted: make a .pt2 file of the module")


class Integers(Variant):
    """Integers by PT2E of torchao; a variant says which layers, and when activations are quantized.

    Attributes:
        words: Types of layers whose weights become integers, for people.
        types: The same, as operators.
        floating: Kinds of layers that stay float.
    """

    name = "pytorch"
    extra = "torch"
    requires = ("torch", "torchao")
    group = "torch"
    accepts = frozenset({"pytorch"})
    produces = "pytorch"
    seeded = False
    words: ClassVar[str]
    types: ClassVar[frozenset[str]]
    floating: ClassVar[tuple[LayerKind, ...]]

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Integers of 8 bits, but for what stays float."""
        return 1.0 + 3.0 * facts.share(*self.floating)

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Layers in float, not yet marked to be compiled."""
        return FLOAT_LAYERS, Without("compiled", "to be compiled already", "compile last")

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """TorchScript, programs without such layers, and names that no layer has."""
        if found := [*unsuited(layers)]:
            yield from found
            return
        if not any(layer.type in self.types and layer.parameters for layer in layers):
            yield Problem("impossible", f"nothing to quantize: PyTorch quantizes {self.words} alone")
            return
        yield from selection.unsuited(parameters["exclude"], layers, "layer", "operator")

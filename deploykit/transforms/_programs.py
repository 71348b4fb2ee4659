"""What techniques that work on PyTorch's programs cannot do with TorchScript."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deploykit.core.model import Layer
from deploykit.core.problem import Problem


def unsuited(layers: Sequence[Layer]) -> Iterator[Problem]:
    """TorchScript, which can only be run and converted: its layers are classes, those of programs are operators."""
    if layers and all(layer.type[:1].isupper() for layer in layers):
        yield Problem("impossible", "TorchScript can only be run and converted: make a .pt2 file of the module")

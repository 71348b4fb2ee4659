"""An ONNX graph whose constants are changed: what writes a tensor, what reads it, and what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery.channels.onnx_axes import captured

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Wires:
    """The tensors of a graph by name.

    Args:
        model: A ``ModelProto``, changed in place.
    """

    def __init__(self, model: Any) -> None:
        self._graph = model.graph
        self._constants = {t.name: t for t in self._graph.initializer}
        self._makers = {name: node for node in self._graph.node for name in node.output}
        self._reads: dict[str, list[Any]] = {}
        for node in self._graph.node:
            for name in (*node.input, *captured(node)):
                self._reads.setdefault(name, []).append(node)
        self._outputs = {value.name for value in self._graph.output}

    def _value(self, name: str) -> NDArray[Any]:
        """What a constant holds."""
        found: NDArray[Any] = require("onnx.numpy_helper", "").to_array(self._constants[name])
        return found

    def _store(self, name: str, values: NDArray[Any]) -> None:
        """Let a constant hold something else; a new one where there is none of that name."""
        if name not in self._constants:
            self._constants[name] = self._graph.initializer.add()
        self._constants[name].CopyFrom(require("onnx.numpy_helper", "").from_array(values, name))

"""Running an ONNX graph node by node; see `deploykit.surgery.reconstruction.walk`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.loading._onnx.parts import has_inner_graphs
from deploykit.surgery.channels.onnx_axes import captured
from deploykit.surgery.onnx_session import opened
from deploykit.surgery.reconstruction.walk import BUDGET, Examples, Steps

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Walk(Steps):
    """An ONNX graph on its way from inputs to outputs.

    Args:
        model: The ``ModelProto``; nodes that have not run yet may be changed, and their initializers.
        examples: What is fed.
        budget: Bytes of tensors it may hold.

    Attributes:
        constants: The initializers, by name.
    """

    def __init__(self, model: Any, examples: Examples, *, budget: int = BUDGET) -> None:
        self.constants = {t.name: t for t in model.graph.initializer}
        self._model = model
        outputs = [value.name for value in model.graph.output]
        super().__init__(list(model.graph.node), outputs, examples, budget=budget)

    def _needs(self, node: Any) -> list[str]:
        return [*node.input, *captured(node)]

    def _read(self, nodes: list[Any]) -> list[str]:
        found = [name for node in nodes for name in node.input if name]
        inner = has_inner_graphs(nodes)
        return list(dict.fromkeys([*found, *self.values, *self.constants] if inner else found))

    def _run(
        self, nodes: list[Any], feeds: Mapping[str, NDArray[Any]], wanted: Collection[str] | None, count: int
    ) -> dict[str, NDArray[Any]]:
        """What some nodes compute, all of it when nothing is wanted in particular."""
        import numpy as np

        made = [name for node in nodes for name in node.output if name and (wanted is None or name in wanted)]
        if not made:
            return {}
        session = self._session(nodes, feeds, made)
        batch = self._batch or count
        if batch == count:
            return dict(zip(made, session.run(None, dict(feeds)), strict=True))
        parts = [
            session.run(None, {n: v[k : k + batch] if v.ndim and len(v) == count else v for n, v in feeds.items()})
            for k in range(0, count, batch)
        ]
        joined = (np.concatenate(p) if p[0].ndim and len(p[0]) == batch else p[0] for p in zip(*parts, strict=True))
        return dict(zip(made, joined, strict=True))

    def _session(self, nodes: list[Any], feeds: Mapping[str, NDArray[Any]], made: list[str]) -> Any:
        helper = require("onnx.helper", "")
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim)
            for name, value in feeds.items()
        ]
        outputs = [helper.make_empty_tensor_value_info(name) for name in made]
        used = [self.constants[name] for name in self._read(nodes) if name in self.constants]
        graph = helper.make_graph(nodes, "part", inputs, outputs, used)
        part = helper.make_model(graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)
        return opened(part, arena=False)  # an arena keeps what it has ever taken

"""What nodes of an ONNX graph give while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.data.dataset import Dataset
from deploykit.data.feeding import Feeding
from deploykit.loading.onnx import signature
from deploykit.surgery.onnx_session import opened

if TYPE_CHECKING:
    from numpy.typing import NDArray


def tensors(model: Any) -> dict[str, str]:
    """The tensor that stands for each node's name, and each tensor for itself; constants are left out."""
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    found = {name: name for node in nodes for name in node.output if name}
    return found | {node.name: node.output[0] for node in nodes if node.name and node.output[0]}


def opened_up(model: Any, names: Sequence[str]) -> Any:
    """A copy of a ``ModelProto`` that gives some of its tensors as well, after its outputs."""
    onnx = require("onnx", "")
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return made


class OnnxLayers:
    """An ONNX model that is asked for some of its tensors.

    Args:
        model: The ``ModelProto``.
        path: Where it comes from, for messages.
        names: Names of tensors, by what they are called here.
        data: The data, with the contract if there is one.
    """

    def __init__(self, model: Any, path: Path, names: Mapping[str, str], data: Dataset) -> None:
        self._inputs, _ = signature(model, path)
        self._feeding, self._names = Feeding.of(data.contract, self._inputs), dict(names)
        made = opened_up(model, [])
        del made.graph.output[:]
        self._session = opened(opened_up(made, list(names.values())), optimized=True)

    def predict(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The tensors for some examples."""
        arrays = self._feeding.arrange(feeds)
        found = self._session.run(
            list(self._names.values()), {spec.name: array for spec, array in zip(self._inputs, arrays, strict=True)}
        )
        return dict(zip(self._names, found, strict=True))

    def close(self) -> None:
        """Nothing is kept open."""

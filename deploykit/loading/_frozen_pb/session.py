"""A frozen graph run by TensorFlow: what its conversions are compared with, and where they begin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray


class GraphSession(Session):
    """An opened graph.

    Args:
        path: The file.
        inputs: Tensors of the graph by the names of the inputs, in order.
        outputs: The same for outputs.

    Attributes:
        function: Takes and gives tensors of TensorFlow in these orders.
    """

    def __init__(self, path: Path, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
        tf = require("tensorflow", "tensorflow")
        self._tf = tf
        self.function = _function(tf, path, list(inputs.values()), list(outputs.values()))
        self.inputs = tuple(map(_spec, inputs, self.function.inputs))
        self.outputs = tuple(map(_spec, outputs, self.function.outputs))

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        return [tensor.numpy() for tensor in self.function(*map(self._tf.constant, arrays))]

    def arguments(self, names: Iterable[str]) -> list[Any]:
        """What the function takes, as TensorFlow specifies it, under other names."""
        tensors = self.function.inputs
        return [self._tf.TensorSpec(t.shape, t.dtype, name=name) for name, t in zip(names, tensors, strict=True)]


def _function(tf: Any, path: Path, inputs: list[str], outputs: list[str]) -> Any:
    """The part of a graph between some tensors, as a function of TensorFlow.

    Raises:
        UnsupportedModelError: TensorFlow cannot take the graph, or a tensor is not in it.
    """
    try:
        graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
        wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
        element = wrapped.graph.as_graph_element
        return wrapped.prune([element(name) for name in inputs], [element(name) for name in outputs])
    except (ValueError, KeyError, TypeError, tf.errors.OpError) as error:
        text = " ".join(str(error).split())
        raise UnsupportedModelError(
            f"{path}: TensorFlow {tf.__version__} cannot use the graph: {text[:300]}",
            remedy="export the model again with a newer TensorFlow, or choose other inputs and outputs.",
        ) from error


def _spec(name: str, tensor: Any) -> TensorSpec:
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return TensorSpec(name, shape, tensor.dtype.name)

"""Writing an ONNX graph as a function of TensorFlow tensors."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.converters._tensorflow_graph.calls import Call, unknown
from deploykit.converters._tensorflow_graph.gelu import fused
from deploykit.converters._tensorflow_graph.rules import RULES
from deploykit.converters._tensorflow_graph.values import Dims, Keep, Value, to_last
from deploykit.core.errors import DeploykitError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.loading._onnx.parts import STANDARD, attributes, initializers, operator_set
from deploykit.loading._onnx.shapes import dims_of, shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A constant that is made of others is not kept if it is larger than this: it would be stored a second time.
_FOLDED_BYTES = 1 << 20


class Graph:
    """An ONNX graph that can be called with TensorFlow tensors.

    Args:
        model: A ``ModelProto``, external data loaded.
        keep: Makes a tensor of each constant that is needed, as TensorFlow wants it arranged; None: ``tf.constant``.

    Attributes:
        inputs: Names of the inputs; initializers are not among them.
        outputs: Names of the outputs.

    Raises:
        UnsupportedModelError: There is no rule for an operator; names it.
    """

    def __init__(self, model: Any, keep: Keep | None = None) -> None:
        numpy_helper = require("onnx.numpy_helper", "")
        if model.functions:
            model = require("onnx.inliner", "").inline_local_functions(model)
        self._constants = initializers(model.graph)
        for node in model.graph.node:
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and value is not None:
                self._constants[node.output[0]] = numpy_helper.to_array(value)
        scalars = {
            name: float(a.reshape(())) for name, a in self._constants.items() if a.size == 1 and a.dtype.kind == "f"
        }
        outputs = {value.name for value in model.graph.output}
        self._nodes = [(node, attributes(node)) for node in _read(fused(model.graph.node, scalars), outputs)]
        self._wanted = outputs.union(*(node.input for node, _ in self._nodes))
        lost = [
            (node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}", node.name or node.output[0])
            for node, _ in self._nodes
            if node.domain not in STANDARD or node.op_type not in RULES
        ]
        if lost:
            raise unknown(lost)
        if model.graph.sparse_initializer:
            raise UnsupportedModelError(
                "The model has sparse weights, which cannot be converted to TensorFlow.",
                remedy="export it with dense weights.",
            )
        self._keep = keep
        self._version = operator_set(model) or 1
        self._dims = shapes(model)
        self._output_dims = {value.name: dims_of(value) for value in model.graph.output}
        self.inputs = [value.name for value in model.graph.input if value.name not in self._constants]
        self.outputs = [value.name for value in model.graph.output]

    def __call__(self, tensors: Sequence[Any], variables: Mapping[str, Any] | None = None) -> list[Any]:
        """The outputs for some inputs.

        Args:
            tensors: The inputs in order.
            variables: Tensors or variables to use for constants, by their names.
        """
        values = self._values(tensors, variables or {})
        return [self._given(name, values[name]) for name in self.outputs]

    def _values(self, tensors: Sequence[Any], changed: Mapping[str, Any]) -> dict[str, Value]:
        """All tensors of the graph by name."""
        tf = require("tensorflow", "tensorflow")
        values = {
            name: Value(known=array, name=name, keep=self._keep)
            for name, array in self._constants.items()
            if name not in changed
        }
        values |= {name: Value(tensor) for name, tensor in zip(self.inputs, tensors, strict=True)}
        values |= {name: Value(tf.convert_to_tensor(tensor)) for name, tensor in changed.items()}
        for node, given_attributes in self._nodes:
            if node.op_type == "Constant" and node.output[0] in values:
                continue
            given = [values[name] if name else None for name in node.input]
            if (found := self._folded(node, given)) is not None:
                values |= {name: Value(known=array, name=name, keep=self._keep) for name, array in found.items()}
                continue
            call = Call(node, self._version, given, given_attributes, self._dims.get(node.output[0]))
            values |= self._written(call)
        return values

    def _written(self, call: Call) -> dict[str, Value]:
        try:
            found = RULES[call.node.op_type](call)
        except (DeploykitError, MemoryError):
            raise
        except Exception as error:  # TensorFlow raises what a combination makes it stumble over
            traceback.print_exc()  # into the log of the task
            raise call.refused(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
        made = [found] if isinstance(found, Value) else list(found)
        named = dict(zip(call.node.output, made, strict=False))  # a rule may leave out what nothing reads
        if lost := [name for name in call.node.output if name in self._wanted and name not in named]:
            raise call.refused(f"there is no rule for its output {lost[0]!r}")
        for name, value in named.items():
            _state(value, self._dims.get(name))
        return named

    def _given(self, name: str, value: Value) -> Any:
        tf = require("tensorflow", "tensorflow")
        _state(value, self._output_dims.get(name))
        return tf.identity(value.first())  # it may be an input, or two outputs at once

    def _folded(self, node: Any, given: Sequence[Value | None]) -> dict[str, NDArray[Any]] | None:
        """What a node gives, when all that it reads is constant."""
        arrays = [None if value is None else value.known for value in given]
        if any(value is not None and array is None for value, array in zip(given, arrays, strict=True)):
            if node.op_type != "Shape" or given[0] is None or None in given[0].dims:
                return None
            import numpy as np

            arrays = [np.broadcast_to(np.float32(0), [int(d or 0) for d in given[0].dims])]
        feeds = {name: array for name, array in zip(node.input, arrays, strict=True) if array is not None}
        size = sum(array.nbytes for array in feeds.values())
        if size > _FOLDED_BYTES and node.op_type not in {"Constant", "Shape"}:
            return None
        return _evaluate(node, feeds, self._version)


def _evaluate(node: Any, feeds: Mapping[str, NDArray[Any]], version: int) -> dict[str, NDArray[Any]] | None:
    """Let onnx's reference compute a node; None where it cannot."""
    helper, reference = require("onnx.helper", ""), require("onnx.reference", "")
    types = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    names = [name for name in node.output if name]
    graph = helper.make_graph([node], "node", types, [helper.make_empty_tensor_value_info(name) for name in names])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    try:
        found = reference.ReferenceEvaluator(model).run(None, dict(feeds))
    except MemoryError:
        raise
    except Exception:  # the reference lacks some forms; the rule says what it thinks of them
        traceback.print_exc()  # into the log of the task
        return None
    import numpy as np

    return {name: np.asarray(array) for name, array in zip(names, found, strict=True)}


def _read(nodes: Sequence[Any], outputs: set[str]) -> list[Any]:
    """The nodes that something reads."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


def _state(value: Value, dims: Dims | None) -> None:
    """Tell TensorFlow of sizes that it has not found."""
    if dims is None or value.known is not None:
        return
    if value.native.shape.rank is None:
        value.native.set_shape(dims)
    if None not in value.native.shape.as_list():
        return
    if len(dims) == value.rank and all(a is None or b is None or a == b for a, b in zip(dims, value.dims, strict=True)):
        value.native.set_shape([dims[axis] for axis in to_last(len(dims))] if value.turned else dims)

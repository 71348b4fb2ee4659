"""A graph to train by that computes the same with less work.

Exporters spell a batch normalization out as a product and a sum behind a convolution. Both are then done for every
position, and the derivatives of scale and shift are sums over all of them. Here they are done on the weights instead,
which are few: the function and its derivatives stay the same, and the file that is written does not change.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from deploykit.core.extras import require

_LINEAR = frozenset({"Conv"})


def folded(model: Any) -> Any:
    """A copy of a ``ModelProto`` in which vectors that scale or shift the channels of a convolution are in its weights.

    Args:
        model: The model; tensors that it gives stay.
    """
    onnx = require("onnx", "")
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    dims = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    kept = {value.name for value in graph.output}
    reader = {name: node for node in graph.node for name in node.input}
    numbers = iter(range(1 << 30))
    nodes: list[Any] = []
    gone: set[int] = set()

    def add(operator: str, *inputs: str) -> str:
        name = f"folded_{next(numbers)}"
        nodes.append(onnx.helper.make_node(operator, list(inputs), [name]))
        return name

    def shaped(name: str, *shape: int) -> str:
        size = f"folded_{next(numbers)}"
        graph.initializer.append(onnx.numpy_helper.from_array(require("numpy", "").array(shape, "int64"), size))
        return add("Reshape", name, size)

    for node in graph.node:
        if id(node) in gone:
            continue
        if node.op_type in _LINEAR and node.input[1] in dims:
            weight, count, rank = node.input[1], dims[node.input[1]][0], len(dims[node.input[1]])
            bias = node.input[2] if len(node.input) > 2 else ""
            last = node.output[0]
            while last not in kept and readers[last] == 1 and (following := reader[last]).op_type in ("Mul", "Add"):
                vector = next((name for name in following.input if name != last), "")
                if not _by_channel(dims.get(vector), count, rank):
                    break
                flat = shaped(vector, count)
                if following.op_type == "Mul":
                    weight = add("Mul", weight, shaped(vector, count, *[1] * (rank - 1)))
                    bias = bias and add("Mul", bias, flat)
                else:
                    bias = add("Add", bias, flat) if bias else flat
                gone.add(id(following))
                last = following.output[0]
            node.input[1] = weight
            if bias:
                del node.input[2:]
                node.input.append(bias)
            node.output[0] = last
        nodes.append(node)
    found = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(found)
    return made


def _by_channel(shape: list[int] | None, count: int, rank: int) -> bool:
    """Whether a constant has one number per channel of a tensor with channels on axis 1."""
    return shape is not None and [1] * (rank - len(shape)) + shape == [1, count, *[1] * (rank - 2)]

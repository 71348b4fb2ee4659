"""Solving a cut ONNX model's weights again, so that each layer answers as the original's layer did.

Both graphs are walked side by side. The weights of each convolution and product are solved for the inputs that the cut
model really has by then, so that a layer also makes up for what those before it have lost, and the last layer of a
branch for what was lost beside it. Calibration inputs are all it takes: no labels, no gradients.

Source: He et al. 2017, https://arxiv.org/abs/1707.06168
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery.channels.labels import kept
from deploykit.surgery.channels.onnx_axes import Traced
from deploykit.surgery.reconstruction.linear import Linear, solved
from deploykit.surgery.reconstruction.onnx_linear import linear
from deploykit.surgery.reconstruction.onnx_walk import Walk
from deploykit.surgery.reconstruction.walk import BUDGET, Examples, begin_together, take_in_together

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A bias of its own that a layer gets, and none.
_NEW = "/new"
_NOWHERE = "/nowhere"


def reconstruct(traced: Traced, gone: Collection[int], cut: Any, examples: Examples) -> Any:
    """The cut model with weights and biases solved again; a ``ModelProto``.

    Args:
        traced: The original.
        gone: The components that were removed.
        cut: The cut model, whose nodes are those of the original in the same order; some may be missing. A node belongs
            to the one of the original that writes the same tensor.
        examples: Calibration inputs.
    """
    import numpy as np

    onnx, numpy_helper = require("onnx", ""), require("onnx.numpy_helper", "")
    made = onnx.ModelProto()
    made.CopyFrom(cut)
    generator = np.random.default_rng(examples.seed)
    first, second = (Walk(model, examples, budget=BUDGET // 2) for model in (traced.model, made))
    begin_together(first, second)
    reads, pairs = _reads(made.graph), {node.output[0]: node for node in made.graph.node}
    olds = {node.output[0]: node for node in traced.model.graph.node}
    total = len(olds)
    for number, old in enumerate(list(traced.model.graph.node)):
        new = pairs.get(old.output[0])
        if new is None:
            first.step()
            first.forget()
            continue
        take_in_together(first, second)
        first.step()
        tensor = second.constants.get(new.input[1]) if len(new.input) > 1 else None
        constants = {} if tensor is None else {new.input[1]: numpy_helper.to_array(tensor)}
        layer = linear(new, constants)
        place = None if layer is None else _bias_place(layer, second.constants, reads)
        if layer is not None and place is not None and len(reads[new.input[1]]) == 1:
            target = _target(traced, gone, new, first, second, reads, olds)
            source, before = second.values[new.input[0]], first.values.get(old.input[0])
            same = np.array_equal(target, _kept(traced, gone, new.output[0], first.values[new.output[0]]))
            if before is None or not same or not np.array_equal(source, before):  # else it answers as the original does
                matrices, bias = solved(layer, source, target, generator, bias=place != _NOWHERE)
                second.constants[new.input[1]].CopyFrom(numpy_helper.from_array(layer.restored(matrices), new.input[1]))
                _write_bias(made.graph, new, place, bias, second.constants, reads)
        second.step()
        first.forget()
        second.forget()
        examples.report(number + 1, total, "reconstructing")
    return made


def _reads(graph: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    for value in graph.output:
        found.setdefault(value.name, []).append(None)
    return found


def _target(
    traced: Traced, gone: Collection[int], node: Any, first: Walk, second: Walk, reads: dict[str, list[Any]],
    olds: Mapping[str, Any],
) -> NDArray[Any]:  # fmt: skip
    """What a layer of the cut model should answer: what the original's does, and what the branch beside it has lost."""
    name = node.output[0]
    found = _kept(traced, gone, name, first.values[name])
    reader, other = _added(name, reads)
    if reader is not None and other in traced.constants:  # a bias, and the branch beside it behind that
        reader, other = _added(reader.output[0], reads)
    if reader is None or other not in second.values:
        return found
    before = olds[reader.output[0]].input[list(reader.input).index(other)]  # where the cut reads another tensor
    if before in first.values:
        beside = _kept(traced, gone, before, first.values[before])
        if beside.shape == found.shape == second.values[other].shape:
            found = found + (beside - second.values[other])
    return found


def _added(name: str, reads: dict[str, list[Any]]) -> tuple[Any, str]:
    """The addition that alone reads a tensor, and what it adds to it; None when there is none."""
    readers = reads.get(name, [])
    if len(readers) != 1 or readers[0] is None or readers[0].op_type != "Add":
        return None, ""
    return readers[0], next((i for i in readers[0].input if i != name), "")


def _kept(traced: Traced, gone: Collection[int], name: str, value: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    for k, axis in enumerate(traced.axes[name]):
        stays = None if axis is None else kept(traced.labels, axis, gone)
        if stays is not None and len(stays) == value.shape[k] and not stays.all():
            value = np.compress(stays, value, axis=k)
    return value


def _bias_place(layer: Linear, constants: Mapping[str, Any], reads: dict[str, list[Any]]) -> str | None:
    """Where a layer's bias can be written: a constant, `_NEW` or `_NOWHERE`; None when another bias is in the way."""
    node, outputs = layer.node, layer.matrices().shape[0] * layer.matrices().shape[2]
    if node.op_type != "MatMul" and len(node.input) < 3:
        return _NEW
    if node.op_type == "MatMul":
        reader, name = _added(node.output[0], reads)
        if reader is None or name not in constants:
            return _NOWHERE
    else:
        name = node.input[2]
    fits = name in constants and list(constants[name].dims) in ([outputs], [1, outputs]) and len(reads[name]) == 1
    return name if fits else _NOWHERE if node.op_type == "MatMul" else None


def _write_bias(
    graph: Any, node: Any, place: str, bias: NDArray[Any], constants: dict[str, Any], reads: dict[str, list[Any]]
) -> None:
    import numpy as np

    numpy_helper = require("onnx.numpy_helper", "")
    if place == _NOWHERE:
        return
    if place == _NEW:
        name = f"{node.output[0]}/bias"
        graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), name))
        constants[name], reads[name] = graph.initializer[-1], [node]
        node.input.append(name)
        return
    old = numpy_helper.to_array(constants[place])
    values = old + bias.reshape(old.shape) if node.op_type == "MatMul" else bias.reshape(old.shape)
    constants[place].CopyFrom(numpy_helper.from_array(values.astype(np.float32), place))

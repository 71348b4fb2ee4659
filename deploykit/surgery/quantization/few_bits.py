"""Weights of few bits in ONNX files whose activations stay float.

Matrix products become MatMulNBits of ONNX Runtime, convolutions read int8 weights that are unpacked when the file is
loaded (`stored`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.loading._onnx.parts import attributes
from deploykit.sandbox.task import Report
from deploykit.surgery import selection
from deploykit.surgery.quantization import graphs, learned, prepare, rounding, stored
from deploykit.surgery.quantization.moments import Moments, key
from deploykit.surgery.quantization.rounding import FewBits
from deploykit.surgery.quantization.write import parts_of
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.onnx_linear import linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Operators whose weights are packed.
PRODUCTS, CONVOLUTIONS = ("Gemm", "MatMul"), ("Conv", "ConvTranspose")
#: The number of float32 among the types of a file.
_FLOAT = 1
#: The operators that ONNX Runtime adds.
_DOMAIN = "com.microsoft"


def pack(
    model: Any,
    target: Path,
    how: FewBits,
    *,
    exclude: str,
    notes: dict[str, Any],
    report: Report,
    batches: Iterable[Mapping[str, NDArray[Any]]] = (),
) -> list[list[Any]]:
    """Pack the weights of a prepared model and write it.

    Args:
        model: A ``ModelProto`` that `prepare` has prepared; changed.
        target: File to write.
        how: How weights are packed.
        exclude: Says what stays float.
        notes: Gets what was packed, and what stays float with the reason.
        report: Called with the progress in layers.
        batches: Calibration inputs by name, one batch after the other, where the method reads some.

    Returns:
        Which nodes were changed: ``[name, type, number of weights]`` for each, in order.

    Raises:
        SettingError: A name in ``exclude`` is neither a node's nor an operator's.
        UnsupportedModelError: There is nothing to pack.
        CandidateError: ONNX Runtime fails on it.
    """
    graph = model.graph
    parts, before = parts_of(graph), graphs.done_before(graph)
    left = selection.excluded(exclude, parts, "node", "operator") | before
    chosen, stays = packable(graph, left, how)
    if not chosen:
        raise _nothing(stays, before)
    with graphs.failures("quantize"):
        told = packed_in(model, chosen, how, report, batches)
        require("onnx", "").save(model, str(target))
        prepare.check_opens(target)
    if stays:
        notes["stays_float"] = stays
    if told:
        notes["rounding"] = learned.notes(told)
    packed = [part for part in parts if part.name in chosen]
    notes["packed"] = {kind: sum(p.type == kind for p in packed) for kind in sorted({p.type for p in packed})}
    return selection.units(packed, set())


def packed_in(
    model: Any, chosen: set[str], how: FewBits, report: Report, batches: Iterable[Mapping[str, NDArray[Any]]] = ()
) -> dict[str, float]:
    """Pack the weights of some nodes of a prepared model; see `pack`.

    Args:
        model: A ``ModelProto``, changed in place. A Gemm becomes a product and, with ``_Add`` behind its name, a sum.
        chosen: Names of nodes that `packable` has found.
        how: How weights are packed.
        report: Called with the progress in layers.
        batches: Calibration inputs.

    Returns:
        Where rounding was learned, how much of the error of the nearest values is left, by the names of nodes.
    """
    _products(model.graph, chosen)
    told = _pack(model, chosen, how, report, batches)
    stored.fold(model)
    _tidy(model)
    return told


def _nothing(stays: Mapping[str, str], before: set[str]) -> UnsupportedModelError:
    if stays:
        name, why = next(iter(stays.items()))
        return UnsupportedModelError(
            f"Nothing can be stored in fewer bits: {name!r} stays float since {why}.", remedy="use another technique."
        )
    if before:
        return UnsupportedModelError(
            "The model is already quantized: nothing that this step would quantize is left in float.",
            remedy="quantize the float model it was made from, or let the first step leave layers out with exclude.",
        )
    return UnsupportedModelError(
        "There is no matrix product and no convolution with weights in the file to store in fewer bits.",
        remedy="leave fewer nodes out with exclude, let convolutions be int8, or skip this technique for the model.",
    )


def packable(graph: Any, left: Collection[str], how: FewBits) -> tuple[set[str], dict[str, str]]:
    """Names of the nodes whose weights are packed, and of those whose weights cannot be, with the reason."""
    constants = {i.name: i for i in graph.initializer}
    chosen, stays = set[str](), dict[str, str]()
    for node in graph.node:
        kinds = (*PRODUCTS, *(CONVOLUTIONS if how.convolutions else ()))
        if node.op_type not in kinds or node.name in left or constants.keys().isdisjoint(node.input[:2]):
            continue
        weight = constants.get(node.input[1])
        if weight is None:
            stays[node.name] = "its weights are the left factor"
        elif weight.data_type != _FLOAT:
            stays[node.name] = "its weights are not float32"
        elif node.op_type in PRODUCTS and len(weight.dims) != 2:
            stays[node.name] = "its weights are not a matrix"
        elif node.op_type == "Gemm" and attributes(node).get("transA"):
            stays[node.name] = "its input is transposed"
        else:
            chosen.add(node.name)
    return chosen, stays


def _products(graph: Any, chosen: set[str]) -> None:
    """Write a MatMul and an Add for each chosen Gemm, which `normal` has freed of its factors."""
    helper, numpy_helper = require("onnx.helper", ""), require("onnx.numpy_helper", "")
    constants = {i.name: i for i in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type != "Gemm" or node.name not in chosen:
            nodes.append(node)
            continue
        weight = constants[node.input[1]]
        if attributes(node).get("transB"):  # a weight that only this node reads
            turned = numpy_helper.to_array(weight).T.copy()
            weight.CopyFrom(numpy_helper.from_array(turned, weight.name))
        bias = node.input[2] if len(node.input) > 2 else ""
        product = f"{node.name}_product" if bias else node.output[0]
        nodes.append(helper.make_node("MatMul", list(node.input[:2]), [product], node.name))
        if bias:
            nodes.append(helper.make_node("Add", [product, bias], list(node.output), f"{node.name}_Add"))
    graph.ClearField("node")
    graph.node.extend(nodes)


def _read(model: Any, chosen: set[str], how: FewBits, batches: Iterable[Mapping[str, NDArray[Any]]]) -> Moments:
    """What the chosen layers read, where the method asks for it."""
    kinds = {"gptq": ("MatMul",), "learned": ("Conv", "MatMul")}.get(how.method, ())
    to_array = require("onnx.numpy_helper", "").to_array
    constants = {i.name: i for i in model.graph.initializer}
    layers: dict[str, Linear] = {}
    for node in model.graph.node:
        if node.name in chosen and node.op_type in kinds:
            layer = linear(node, {node.input[1]: to_array(constants[node.input[1]])})
            layers |= {key(node): layer} if layer is not None else {}
    return Moments(model, layers, batches, parted=how.method == "learned")


def _pack(
    model: Any, chosen: set[str], how: FewBits, report: Report, batches: Iterable[Mapping[str, NDArray[Any]]]
) -> dict[str, float]:
    graph = model.graph
    read = _read(model, chosen, how, batches)
    packed: dict[str, list[Any]] = {}
    told: dict[str, float] = {}
    for node in graph.node:
        if node.name not in chosen:
            continue
        if node.op_type == "MatMul":
            packed[node.name] = rounding.METHODS[how.method](graph, node, how, read, told)
        else:
            chosen_by = rounding.convolution(node, how, read, told)
            packed[node.name] = [stored.pack(graph, node, _channels(node), chosen_by), node]
        report(len(packed), len(chosen), "layers")
    nodes = [new for node in graph.node for new in packed.get(node.name, [node])]
    graph.ClearField("node")
    graph.node.extend(nodes)
    return told


def _channels(node: Any) -> int:
    """The axis of a convolution's output channels in its weights; of its input channels where groups share those."""
    return int(node.op_type == "ConvTranspose" and attributes(node).get("group", 1) == 1)


def _tidy(model: Any) -> None:
    """Keep one of each tensor, and only those that are read; say which operators are used."""
    tools = require("onnxruntime.quantization.onnx_model", "")
    own = {i.name: i for i in model.graph.initializer}  # weights that two nodes share were packed twice
    if len(own) < len(model.graph.initializer):
        kept = list(own.values())
        model.graph.ClearField("initializer")
        model.graph.initializer.extend(kept)
    made = tools.ONNXModel(model)
    made.clean_initializers()
    if any(node.domain == _DOMAIN for node in model.graph.node):
        made.set_opset_import(_DOMAIN, 1)

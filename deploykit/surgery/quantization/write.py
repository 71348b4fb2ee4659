"""What quantized ONNX files have in common: writing them, and counting what stayed float."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.model import Layer
from deploykit.loading._onnx.kinds import seen
from deploykit.loading.onnx import ADAPTER as ONNX
from deploykit.surgery import selection
from deploykit.surgery.quantization import floating, graphs, normal, prepare, stored

#: Operators that pass on or clip what comes before them: they are integer when that is.
FOLLOWERS = frozenset(
    {
        "AveragePool", "Clip", "Flatten", "MaxPool", "Relu", "Reshape", "Resize", "Slice", "Split", "Squeeze", "TopK",
        "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip
#: Types of tensors that can be quantized: float32, float16, float64 and bfloat16, and the unknown.
_FLOATS = frozenset({0, 1, 10, 11, 16})
#: Makes one of ONNX Runtime's quantizers from a model, the names of nodes that stay float, and the operator types to
#: quantize.
Quantizer = Callable[[Any, list[str], list[str]], Any]


def write(
    model: Any,
    target: Path,
    types: Iterable[str],
    quantizer: Quantizer,
    *,
    exclude: str,
    notes: dict[str, Any],
    per_channel: bool = False,
    qoperator: bool = False,
    ranges: Any = None,
) -> list[list[Any]]:
    """Quantize a prepared model, write it, and count what became of its operators.

    Args:
        model: A ``ModelProto`` that `prepare` has prepared.
        target: File to write.
        types: Types of operators to quantize.
        quantizer: Makes one of ONNX Runtime's quantizers.
        exclude: Says what stays float.
        notes: Gets what became of the operators.
        per_channel: The weights get one scale for each output channel.
        qoperator: Integer operators are written, not pairs of conversions.
        ranges: What calibration measured, as ONNX Runtime takes it; None for dynamic quantization.

    Returns:
        Which nodes were changed: ``[name, type, number of weights]`` for each, in order.

    Raises:
        SettingError: A name in ``exclude`` is neither a node's nor an operator's.
        CandidateError: The quantizer failed.
        UnsupportedModelError: It found nothing to quantize.
    """
    wanted = list(types)
    parts = parts_of(model.graph, wanted)
    before = graphs.done_before(model.graph)
    left = selection.excluded(exclude, parts_of(model.graph), "node", "operator") | before
    if before and all(part.follows or part.name in left for part in parts):
        raise UnsupportedModelError(
            "The model is already quantized: nothing that this step would quantize is left in float.",
            remedy="quantize the float model it was made from, or let the first step leave layers out with exclude.",
        )
    wrong = spared(model.graph, ranges, per_channel=per_channel, qoperator=qoperator)
    # What dynamic quantization makes of a Gemm first has a name of its own.
    names = sorted({*left, *wrong, *(f"{name}_MatMul" for name in left)})

    def made_for(kinds: Sequence[str]) -> Any:
        graph = copy.deepcopy(model)
        if qoperator:
            normal.shield(graph.graph)
        made = quantizer(graph, names, list(kinds))
        made.quantize_model()
        if left or wrong:
            floating.protect(made.model.model)
        if before:
            stored.fold(made.model.model)
        made.model.save_model_to_file(str(target), False)
        prepare.check_opens(target)
        return made

    with graphs.failures("quantize"):
        made = graphs.with_fewer(wanted, made_for, notes)
    if wrong:
        notes["stays_float"] = wrong
    counts = operators(made.model.model.graph)
    if not counts.get("quantized"):
        target.unlink()
        raise UnsupportedModelError(
            "ONNX Runtime found nothing to quantize in the model.",
            remedy="allow more kinds of operators to be quantized, or skip this technique for the model.",
        )
    notes |= counts
    return selection.units(parts, left)


def spared(graph: Any, ranges: Any, *, per_channel: bool, qoperator: bool = False) -> dict[str, str]:
    """Nodes that ONNX Runtime would quantize wrongly, each with the reason; see `write`."""
    wrong = normal.spared(graph, per_channel=per_channel, qoperator=qoperator)
    if ranges is not None:
        ends = {n: (float(d.range_value[0].min()), float(d.range_value[1].max())) for n, d in ranges.items()}
        wrong |= normal.masked(graph, ends)
    return wrong


def parts_of(graph: Any, types: Iterable[str] | None = None) -> list[selection.Selectable]:
    """The nodes of a graph, of some types or all."""
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    sizes = {name: math.prod(dims) for name, dims in shapes.items()}
    chosen = None if types is None else set(types)
    integers = {v.name for v in graph.value_info if v.type.tensor_type.elem_type not in _FLOATS}  # shapes, mostly
    return [
        selection.Selectable(
            n.name, n.op_type, sum(sizes.get(i, 0) for i in n.input),
            n.op_type in FOLLOWERS or not integers.isdisjoint(n.output),
            seen(n, shapes) or ONNX.kind_of(Layer(n.name, n.op_type)),
        )
        for n in graph.node
        if chosen is None or n.op_type in chosen
    ]  # fmt: skip


def operators(graph: Any) -> dict[str, dict[str, int]]:
    """Operators that compute in integers and in floats, by type: ``{"quantized": …, "float": …}``."""
    found: dict[str, Counter[str]] = {"quantized": Counter(), "float": Counter()}
    for node, integer in zip(graph.node, graphs.integer_nodes(graph), strict=True):
        if node.op_type not in graphs.CONVERSIONS and node.op_type != "Constant":
            found["quantized" if integer else "float"][node.op_type] += 1
    return {kind: dict(sorted(counts.items())) for kind, counts in found.items() if counts}

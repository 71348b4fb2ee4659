"""What the outputs of an ONNX graph lose when operators become integer; see `budget`."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.surgery.layers.onnx_loss import answers
from deploykit.surgery.mixing.budget import Operator, damage_of
from deploykit.surgery.onnx_session import opened
from deploykit.surgery.quantization import few_bits, floating
from deploykit.surgery.quantization.moments import Batch
from deploykit.surgery.quantization.rounding import FewBits
from deploykit.surgery.quantization.write import Quantizer, parts_of
from deploykit.surgery.reconstruction.walk import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How products are stored in 4 bits.
NARROW = FewBits(4, 32, True, "rtn", convolutions=False)
#: Calls of a graph whose operators are timed.
_CALLS = 20


def operators(model: Any, types: Iterable[str], left: Collection[str]) -> list[Operator]:
    """The operators that compete for 8 bits, in the order of the graph.

    Args:
        model: A prepared ``ModelProto``.
        types: Types of operators to quantize.
        left: Names of nodes that stay float anyway.
    """
    parts = {p.name: p for p in parts_of(model.graph, types) if not p.follows and p.name not in left}
    makers: dict[str, tuple[str, ...]] = {}
    found = []
    for node in model.graph.node:
        behind = tuple(dict.fromkeys(name for i in node.input for name in makers.get(i, ())))
        part = parts.get(node.name)
        if part is not None:
            found.append(Operator(part.name, part.type, part.weights, behind))
        makers |= dict.fromkeys(node.output, (part.name,) if part is not None else behind)
    return found


def measured(
    model: Any,
    found: Sequence[Operator],
    quantizer: Quantizer,
    types: Sequence[str],
    left: Collection[str],
    examples: Examples,
    *,
    narrow: bool = False,
) -> list[Operator]:
    """Operators with what quantizing each of them alone costs, and what it takes in float.

    Args:
        model: A prepared ``ModelProto``.
        found: What `operators` has found.
        quantizer: Makes one of ONNX Runtime's quantizers.
        types: Types of operators to quantize.
        left: Names of nodes that stay float anyway.
        examples: Calibration inputs.
        narrow: Whether weights of 4 bits are tried as well.
    """
    wanted, times = answers(model, examples), _times(model, examples)
    names = {operator.name for operator in found}
    packable = few_bits.packable(model.graph, left, NARROW)[0] if narrow else set()
    known = []
    for number, operator in enumerate(found):
        stay = {*left, *names} - {operator.name}
        make = partial(quantized, model, quantizer, types, stay)
        damage, problem = damage_of(partial(_answers, make, examples), wanted)
        few = None
        if operator.name in packable:
            few, _ = damage_of(partial(_answers, partial(packed, model, {operator.name}), examples), wanted)
        seconds = times.get(operator.name, 0.0)
        known.append(replace(operator, damage=damage, narrow=few, seconds=seconds, problem=problem))
        examples.report(number + 1, len(found), "quantizing operators one by one")
    return known


def quantized(model: Any, quantizer: Quantizer, types: Sequence[str], left: Collection[str]) -> Any:
    """A quantized copy of a prepared ``ModelProto``; ``left`` names the nodes that stay float."""
    made = quantizer(copy.deepcopy(model), sorted(left), list(types))
    made.quantize_model()
    floating.protect(made.model.model)
    return made.model.model


def _answers(make: Callable[[], Any], examples: Examples) -> dict[str, NDArray[Any]]:
    return answers(make(), examples)


def packed(model: Any, names: set[str], batches: Iterable[Batch] = (), told: dict[str, float] | None = None) -> Any:
    """A copy of a prepared ``ModelProto`` in which some products have weights of 4 bits.

    Args:
        model: The model.
        names: Names of the products.
        batches: Calibration inputs, from which rounding is learned; none where it is to the nearest values.
        told: Gets how much of the error of the nearest values is left, where rounding is learned.
    """
    made = copy.deepcopy(model)
    how = replace(NARROW, method="learned") if batches else NARROW
    found = few_bits.packed_in(made, names, how, lambda *_: None, batches)
    if told is not None:
        told |= found
    return made


def _times(model: Any, examples: Examples) -> dict[str, float]:
    """Seconds of each node for one example, by its name; the graph is not optimized, so that all nodes are there."""
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        session = opened(model, profile=Path(folder) / "profile")
        feeds = {name: values[: examples.batch or 1] for name, values in examples.feeds.items()}
        for _ in range(_CALLS):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    found: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            found.setdefault(event["name"].removesuffix("_kernel_time"), []).append(event["dur"] / 1e6)
    return {name: sorted(values)[len(values) // 2] for name, values in found.items()}

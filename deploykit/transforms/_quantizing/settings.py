"""Settings that techniques share that quantize ONNX files, and what is known to be wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from deploykit.core.layers.kinds import WORDS, LayerKind
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Facts, Problem
from deploykit.surgery import selection

PER_CHANNEL = Parameter(
    "per_channel",
    "bool",
    None,
    "One scale per output channel instead of one per weight tensor: more accurate, hardly slower. By default where "
    "depthwise convolutions are quantized, which lose most without.",
    usual=False,
)
CALIBRATION = Parameter(
    "calibration",
    "choice",
    "minmax",
    "How ranges are computed from the calibration examples: entropy and percentile clip outliers, in a second "
    "pass over the examples.",
    choices=("minmax", "entropy", "percentile"),
)
OPERATORS = Parameter(
    "operators",
    "choice",
    None,
    "Which operators are quantized: convolutions and matrix products alone often keep far more accuracy at "
    "nearly the same speed. By default all, but those alone where the model has attention.",
    choices=("all", "conv_matmul"),
    usual="all",
)
ROUNDING = Parameter(
    "rounding",
    "choice",
    "nearest",
    "Where weights go on the grid of integers: to the nearest value, or each down or up, whichever leaves what its "
    "layer gives nearest on the calibration data (learned): more accurate at the same size and speed, most where "
    "scales are coarse, and it takes longer to build. A layer keeps the nearest values where learning does not help on "
    "batches that it has not seen.",
    choices=("nearest", "learned"),
    late=True,
)
REDUCE_RANGE = Parameter(
    "reduce_range",
    "bool",
    False,
    "7-bit weights, for x86 processors without VNNI, whose 8-bit products can overflow.",
)
EXCLUDE = selection.setting(
    "nodes",
    "operator types",
    "stay float",
    "Names are those in the ONNX graph after constant folding, or of the layers of a PyTorch program.",
)


def problems(parameters: dict[str, Any], facts: Facts, *, floating: Iterable[LayerKind] = ()) -> Iterator[Problem]:
    """What is known to be wrong with settings that quantizers share; ``floating``: kinds of layers left alone."""
    from deploykit.surgery.quantization.normal import OPERATORS

    stays = sorted(kind for kind in floating if facts.weights.get(kind))
    if facts.weights and facts.share(*stays) == 1.0:
        yield Problem("impossible", f"nothing to quantize: all weights are in layers that stay float ({_words(stays)})")
    elif facts.share(*stays) > 0.5:
        percent = round(100 * facts.share(*stays))
        yield Problem("pointless", f"{percent} % of the weights are in layers that stay float ({_words(stays)})")
    if parameters.get("reduce_range") and facts.features and not facts.lacks_dot_products:
        yield Problem("pointless", "8-bit products do not overflow on this CPU: 7-bit weights only lose accuracy")
    if 0 < facts.model.operator_set < OPERATORS:
        yield Problem(
            "note",
            f"operator set {facts.model.operator_set} lacks operators that quantization needs: the graph is first "
            f"raised to {OPERATORS}",
        )


def following(facts: Facts) -> dict[str, Value]:
    """Settings that follow from what a model is made of: `PER_CHANNEL` and `OPERATORS`."""
    return {
        "per_channel": bool(facts.weights.get("depthwise")),
        "operators": "conv_matmul" if attends(facts) else "all",
    }


def advice(parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
    """What the layers of a model ask for and the settings of static quantization do not give."""
    if facts.weights.get("depthwise") and not parameters["per_channel"]:
        yield Problem(
            "note",
            "the model has depthwise convolutions, which lose most with one scale for all channels: per_channel=true "
            "often keeps far more accuracy at about the same speed",
        )
    if attends(facts) and parameters["operators"] == "all":
        yield Problem(
            "note",
            "the model has attention, where what lies between the products does not bear 8 bits: "
            "operators=conv_matmul often keeps far more accuracy at about the same speed",
        )


def attends(facts: Facts) -> bool:
    """Whether the model has attention: as a layer, or as products of activations."""
    return any(
        x.kind == "attention" or (x.kind == "dense" and x.type == "MatMul" and not x.parameters)
        for x in facts.model.layers
    )


def unsuited(parameters: dict[str, Any], layers: Iterable[Layer]) -> Iterator[Problem]:
    """Names in ``exclude`` that no node has; a note, since preparing the graph gives some nodes other names."""
    for problem in selection.unsuited(parameters["exclude"], layers, "node", "operator"):
        said, _, known = problem.reason.partition(": ")[2].partition(": ")
        reason = f"{said}, and building refuses that unless preparing the graph makes one ({known})"
        yield Problem("note", f"exclude: {reason}")


def _words(kinds: Iterable[LayerKind]) -> str:
    return ", ".join(WORDS[kind] for kind in kinds)

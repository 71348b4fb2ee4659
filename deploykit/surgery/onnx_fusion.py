"""ONNX Runtime's transformer optimizer: attention and what surrounds it become one operator each."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.surgery.onnx_simplify import compare, refusing, restore

#: Operators that are attention: without one of them nothing that matters was fused.
ATTENTION = frozenset({"Attention", "MultiHeadAttention", "GroupQueryAttention"})
_REMEDY = "leave it out for this model: the runtime fuses what it knows when it loads the file."
#: What the optimizer can look for, as it calls it: encoders, vision transformers, decoders.
_KINDS = ("bert", "vit", "gpt2")
_REAL = (1, 10, 11, 16)


def fused(model: Any) -> tuple[Any, dict[str, int], str]:
    """A model whose attention, layer normalization and GELU are operators of ONNX Runtime.

    The optimizer (``onnxruntime.transformers.optimizer``) recognizes graphs by the patterns that exporters of PyTorch,
    TensorFlow and Keras leave; it needs no PyTorch. Both graphs are run on random inputs and compared.

    Args:
        model: A ``ModelProto`` whose nodes that nothing reads are gone.

    Returns:
        The new ``ModelProto``, how many of each operator were fused, and why it could not be compared; "" when it was.

    Raises:
        UnsupportedModelError: It recognizes no attention; the operators around the softmax are named.
        CandidateError: The new graph computes something else.
    """
    best: tuple[int, Any] = (0, None)
    for kind in _likely(model):
        made = _optimized(model, kind)
        found = sum(node.op_type in ATTENTION for node in made.graph.node)
        if found > best[0]:
            best = (found, made)
        if found and not any(node.op_type == "Softmax" for node in made.graph.node):
            break
    made = best[1]
    if made is None:
        raise UnsupportedModelError(
            "ONNX Runtime's transformer optimizer recognizes no attention in this graph: "
            f"{_around(model)}; it knows encoders, vision transformers and GPT-2 as PyTorch exports them.",
            remedy=_REMEDY,
        )
    restore(model, made)
    before = Counter(node.op_type for node in model.graph.node)
    after = Counter(node.op_type for node in made.graph.node if node.domain == "com.microsoft")
    counts = {name: count - before[name] for name, count in sorted(after.items()) if count > before[name]}
    return made, counts, compare(model, made, "fused", _REMEDY)


def _likely(model: Any) -> list[str]:
    """Kinds to look for, the likeliest first."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.type.tensor_type for value in model.graph.input if value.name not in constants]
    images = any(len(kind.shape.dim) == 4 and kind.elem_type in _REAL for kind in inputs)
    return ["vit", "bert"] if images else ["bert", "gpt2"]


def _optimized(model: Any, kind: str) -> Any:
    optimizer = require("onnxruntime.transformers.optimizer", "")
    options = require("onnxruntime.transformers.fusion_options", "").FusionOptions(kind)
    options.use_raw_attention_mask(True)  # else a mask is taken for a length: wrong with padding on the left
    copy = type(model)()
    copy.CopyFrom(model)
    with _quiet(), refusing("ONNX Runtime's transformer optimizer fails on this graph", _REMEDY):
        # Sizes of 0: it finds heads and width in the graph.
        return optimizer.optimize_model(copy, kind, 0, 0, options, opt_level=0).model


def _around(model: Any) -> str:
    """What feeds and follows each kind of softmax, in words: where attention would be."""
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    readers: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    found: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type == "Softmax":
            after = " and ".join(readers.get(node.output[0], ["an output"]))
            found[f"{makers.get(node.input[0], 'an input')} → Softmax → {after}"] += 1
    if not found:
        return "it has no Softmax"
    return "; ".join(f"{count}× {pattern}" for pattern, count in found.most_common(3))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without messages about what it tries."""
    logger = logging.getLogger("onnxruntime.transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)

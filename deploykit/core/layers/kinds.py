"""What layers do, whatever a format calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

#: ``dense``: products of matrices, also of two activations; ``convolution``: also transposed and grouped ones, but for
#: ``depthwise``, one filter for each channel; ``reshape``: moves or copies values; ``conversion``: quantizes,
#: dequantizes or casts; ``arithmetic``: element by element, reductions included; ``other``: none of these; "": not
#: known, as in summaries that were stored before layers had kinds.
LayerKind = Literal[
    "", "dense", "convolution", "depthwise", "attention", "recurrent", "embedding", "normalization", "activation",
    "pooling", "reshape", "conversion", "arithmetic", "input", "other",
]  # fmt: skip

#: What several layers of a kind are called in a sentence.
WORDS: dict[LayerKind, str] = {
    "dense": "dense layers",
    "convolution": "convolutions",
    "depthwise": "depthwise convolutions",
    "attention": "attention layers",
    "recurrent": "recurrent layers",
    "embedding": "embeddings",
}
#: Kinds that hold few weights and take little time: they do not count where layers are compared by their weights.
LIGHT: frozenset[LayerKind] = frozenset({"", "normalization", "activation", "input"})
#: Convolutions of all sorts.
CONVOLUTIONS: tuple[LayerKind, ...] = ("convolution", "depthwise")

#: What a node of a graph, as a runtime executes it, spends its time on: ``convert``: quantizes, dequantizes or casts;
#: ``move``: reshapes, transposes, reorders, copies.
Work = Literal["conv", "matmul", "convert", "move", "compute"]
#: Work that does the arithmetic.
HEAVY: frozenset[Work] = frozenset({"conv", "matmul"})
#: What layers spend their time on; those of other kinds compute.
WORK: Mapping[LayerKind, Work] = {
    "convolution": "conv",
    "depthwise": "conv",
    "dense": "matmul",
    "attention": "matmul",
    "recurrent": "matmul",
    "conversion": "convert",
    "reshape": "move",
}

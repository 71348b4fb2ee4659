"""What Caffe's layers do."""

from __future__ import annotations

from collections.abc import Mapping

from deploykit.core.layers.kinds import LayerKind

KINDS: Mapping[LayerKind, frozenset[str]] = {
    "dense": frozenset({"InnerProduct"}),
    "convolution": frozenset({"Convolution", "Deconvolution"}),
    "recurrent": frozenset({"LSTM", "RNN"}),
    "embedding": frozenset({"Embed"}),
    "normalization": frozenset({"BatchNorm", "LRN", "MVN", "Normalize", "Scale", "Bias"}),
    "activation": frozenset({"ReLU", "PReLU", "ELU", "Sigmoid", "TanH", "BNLL", "Softmax", "AbsVal", "Exp", "Power"}),
    "pooling": frozenset({"Pooling", "SPP"}),
    "arithmetic": frozenset({"Eltwise"}),
    "reshape": frozenset({"Concat", "Flatten", "Permute", "Reshape", "Slice", "Split", "Dropout", "Silence"}),
}

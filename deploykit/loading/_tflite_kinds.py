"""What the operators of TFLite do."""

from __future__ import annotations

from collections.abc import Mapping

from deploykit.core.layers.kinds import LayerKind

KINDS: Mapping[LayerKind, frozenset[str]] = {
    "dense": frozenset({"FULLY_CONNECTED", "BATCH_MATMUL"}),
    "convolution": frozenset({"CONV_2D", "CONV_3D", "TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"}),
    "depthwise": frozenset({"DEPTHWISE_CONV_2D"}),
    "recurrent": frozenset(
        {"LSTM", "RNN", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM",
         "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN"}
    ),
    "embedding": frozenset({"EMBEDDING_LOOKUP", "EMBEDDING_LOOKUP_SPARSE", "HASHTABLE_LOOKUP"}),
    "normalization": frozenset({"L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION"}),
    "activation": frozenset(
        {"RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "PRELU", "ELU", "GELU", "HARD_SWISH", "LOGISTIC",
         "TANH", "SOFTMAX", "LOG_SOFTMAX"}
    ),
    "pooling": frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"}),
    "reshape": frozenset(
        {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CONCATENATION", "SPLIT", "SPLIT_V", "SLICE",
         "STRIDED_SLICE", "PAD", "PADV2", "MIRROR_PAD", "TILE", "PACK", "UNPACK", "GATHER", "GATHER_ND", "SHAPE",
         "BROADCAST_TO", "FILL", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH",
         "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "REVERSE_V2", "SCATTER_ND", "DYNAMIC_UPDATE_SLICE"}
    ),
    "conversion": frozenset({"QUANTIZE", "DEQUANTIZE", "CAST", "FAKE_QUANT"}),
    "arithmetic": frozenset(
        {"ADD", "SUB", "MUL", "DIV", "POW", "SQRT", "RSQRT", "SQUARE", "EXP", "LOG", "ABS", "NEG", "FLOOR", "CEIL",
         "ROUND", "MINIMUM", "MAXIMUM", "SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SQUARED_DIFFERENCE",
         "ADD_N", "SELECT", "SELECT_V2", "EQUAL", "GREATER", "LESS", "ARG_MAX", "ARG_MIN", "TOPK_V2", "CUMSUM"}
    ),
}  # fmt: skip

"""What PyTorch's operators do."""

from __future__ import annotations

from collections.abc import Mapping

from deploykit.core.layers.kinds import LayerKind

KINDS: Mapping[LayerKind, frozenset[str]] = {
    "dense": frozenset({"linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "bilinear"}),
    "convolution": frozenset(
        {"conv1d", "conv2d", "conv3d", "convolution", "_convolution", "conv_transpose1d", "conv_transpose2d",
         "conv_transpose3d", "deform_conv2d"}
    ),
    "attention": frozenset({"scaled_dot_product_attention", "_native_multi_head_attention"}),
    "recurrent": frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell"}),
    "embedding": frozenset({"embedding", "embedding_bag", "_embedding_bag"}),
    "normalization": frozenset(
        {"batch_norm", "_native_batch_norm_legit_no_training", "layer_norm", "native_layer_norm", "group_norm",
         "native_group_norm", "instance_norm", "rms_norm", "local_response_norm"}
    ),
    "activation": frozenset(
        {"relu", "relu_", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "hardtanh", "clamp", "sigmoid",
         "hardsigmoid", "hardswish", "silu", "silu_", "tanh", "softplus", "softsign", "softmax", "_softmax",
         "log_softmax", "_log_softmax", "gelu", "mish", "erf", "dropout", "dropout_", "alias"}
    ),
    "pooling": frozenset(
        {"max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
         "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "lp_pool2d",
         "max_pool2d_with_indices"}
    ),
    "reshape": frozenset(
        {"view", "_unsafe_view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "squeeze", "unsqueeze",
         "cat", "concat", "stack", "split", "split_with_sizes", "chunk", "slice", "select", "narrow", "expand",
         "contiguous", "clone", "pad", "constant_pad_nd", "gather", "index", "index_select", "index_put", "roll",
         "flip", "sym_size", "getitem", "zeros", "ones", "full", "arange", "pixel_shuffle", "pixel_unshuffle", "unbind",
         "upsample_nearest2d", "upsample_bilinear2d", "interpolate", "expand_as", "repeat",
         "masked_fill"}
    ),
    "conversion": frozenset(
        {"to", "_to_copy", "type_as", "quantize_per_tensor", "dequantize_per_tensor", "quantize_per_channel",
         "dequantize_per_channel", "choose_qparams", "_assert_tensor_metadata"}
    ),
    "arithmetic": frozenset(
        {"add", "add_", "sub", "mul", "mul_", "div", "pow", "sqrt", "rsqrt", "exp", "log", "abs", "neg", "reciprocal",
         "floor", "ceil", "round", "minimum", "maximum", "sum", "mean", "amax", "amin", "max", "min", "prod", "var",
         "std", "norm", "linalg_vector_norm", "where", "eq", "ne", "lt", "le", "gt", "ge", "logical_not", "logical_and",
         "logical_or", "argmax", "argmin", "topk", "cumsum", "sin", "cos", "truediv", "floordiv"}
    ),
}  # fmt: skip

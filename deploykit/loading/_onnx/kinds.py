"""What the operators of ONNX do, those that ONNX Runtime adds included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploykit.core.layers.kinds import LayerKind

KINDS: Mapping[LayerKind, frozenset[str]] = {
    "dense": frozenset(
        {"MatMul", "Gemm", "Einsum", "FusedMatMul", "FusedGemm", "QGemm", "QLinearMatMul", "MatMulInteger",
         "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits"}
    ),
    "convolution": frozenset(
        {"Conv", "ConvTranspose", "DeformConv", "QLinearConv", "ConvInteger", "FusedConv", "NhwcFusedConv",
         "QLinearConvTranspose"}
    ),
    "attention": frozenset({"Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention", "PackedAttention"}),
    "recurrent": frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM", "AttnLSTM"}),
    "embedding": frozenset({"EmbedLayerNormalization", "QEmbedLayerNormalization", "GatherBlockQuantized"}),
    "normalization": frozenset(
        {"BatchNormalization", "LayerNormalization", "GroupNormalization", "InstanceNormalization", "RMSNormalization",
         "LpNormalization", "MeanVarianceNormalization", "LRN", "SimplifiedLayerNormalization",
         "SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}
    ),
    "activation": frozenset(
        {"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Clip", "Sigmoid", "HardSigmoid",
         "HardSwish", "Swish", "Tanh", "Softplus", "Softsign", "Softmax", "LogSoftmax", "Hardmax", "Gelu", "FastGelu",
         "BiasGelu", "Mish", "Erf", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "Dropout", "Identity"}
    ),
    "pooling": frozenset(
        {"MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool", "MaxRoiPool",
         "QLinearAveragePool", "QLinearGlobalAveragePool"}
    ),
    "reshape": frozenset(
        {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Concat", "QLinearConcat", "Split", "Slice", "Pad",
         "Expand", "Tile", "Gather", "GatherND", "GatherElements", "ScatterND", "ScatterElements", "Shape", "Size",
         "Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "ConstantOfShape", "Range", "CenterCropPad"}
    ),
    "conversion": frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "CastLike"}),
    "arithmetic": frozenset(
        {"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Log", "Abs", "Neg", "Reciprocal", "Floor", "Ceil", "Round",
         "Min", "Max", "Sum", "Mean", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1",
         "ReduceL2", "QLinearAdd", "QLinearMul", "Where", "Equal", "Greater", "Less", "Not", "And", "Or", "ArgMax",
         "ArgMin", "TopK", "CumSum"}
    ),
}  # fmt: skip


def seen(node: Any, shapes: Mapping[str, Sequence[int | None] | None]) -> LayerKind:
    """What a node shows beside its type: a convolution with one filter for each channel is depthwise; "" for others.

    Args:
        node: A node of the graph.
        shapes: Dimensions of tensors by name, as far as they are known; of weights (filter, channel, …).
    """
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    if groups < 2 or node.op_type not in KINDS["convolution"]:
        return ""
    large = [found for name in node.input if len(found := shapes.get(name) or ()) > 2]  # no scales, no bias
    return "depthwise" if large and large[-1][1] == 1 else ""

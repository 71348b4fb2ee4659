"""What the operators of TensorFlow do."""

from __future__ import annotations

from collections.abc import Mapping

from deploykit.core.layers.kinds import LayerKind

KINDS: Mapping[LayerKind, frozenset[str]] = {
    "dense": frozenset(
        {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "SparseMatMul", "Einsum", "_FusedMatMul"}
    ),
    "convolution": frozenset(
        {"Conv", "Conv2D", "Conv3D", "Conv2DBackpropInput", "Conv2DBackpropInputV2", "Conv3DBackpropInput",
         "Conv3DBackpropInputV2", "FusedPadConv2D", "FusedResizeAndPadConv2D", "_FusedConv2D"}
    ),
    "depthwise": frozenset(
        {"DepthwiseConv2dNative", "DepthwiseConv2dNativeBackpropInput", "_FusedDepthwiseConv2dNative"}
    ),
    "recurrent": frozenset(
        {"BlockLSTM", "BlockLSTMV2", "LSTMBlockCell", "GRUBlockCell", "CudnnRNN", "CudnnRNNV2", "CudnnRNNV3"}
    ),
    "embedding": frozenset({"ResourceGather", "ResourceGatherNd"}),
    "normalization": frozenset(
        {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "_FusedBatchNormEx",
         "BatchNormWithGlobalNormalization", "LRN"}
    ),
    "activation": frozenset(
        {"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softmax", "LogSoftmax", "Softplus",
         "Softsign", "Erf"}
    ),
    "pooling": frozenset(
        {"AvgPool", "AvgPool3D", "MaxPool", "MaxPool3D", "MaxPoolV2", "MaxPoolWithArgmax", "FractionalAvgPool",
         "FractionalMaxPool"}
    ),
    "reshape": frozenset(
        {"Reshape", "Squeeze", "ExpandDims", "Transpose", "ConcatV2", "Concat", "Split", "SplitV", "Slice",
         "StridedSlice", "Pad", "PadV2", "MirrorPad", "Tile", "Pack", "Unpack", "Gather", "GatherV2", "GatherNd",
         "Shape", "ShapeN", "Size", "BroadcastTo", "Fill", "ResizeBilinear", "ResizeNearestNeighbor", "DepthToSpace",
         "SpaceToDepth", "BatchToSpaceND", "SpaceToBatchND", "ReverseV2", "ScatterNd"}
    ),
    "conversion": frozenset(
        {"Cast", "QuantizeV2", "Dequantize", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars",
         "FakeQuantWithMinMaxVarsPerChannel", "QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3",
         "QuantizeAndDequantizeV4"}
    ),
    "arithmetic": frozenset(
        {"Add", "AddV2", "AddN", "BiasAdd", "BiasAddV1", "Sub", "Mul", "Div", "RealDiv", "DivNoNan", "Pow", "Sqrt",
         "Rsqrt", "Square", "SquaredDifference", "Exp", "Log", "Abs", "Neg", "Reciprocal", "Floor", "Ceil", "Round",
         "Minimum", "Maximum", "Sum", "Mean", "Max", "Min", "Prod", "Select", "SelectV2", "Equal", "Greater", "Less",
         "ArgMax", "ArgMin", "TopK", "TopKV2", "Cumsum", "ClipByValue", "L2Loss"}
    ),
}  # fmt: skip

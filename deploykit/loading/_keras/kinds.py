"""What the layers of Keras do, by the names of their classes; in tf_keras they are the same."""

from __future__ import annotations

from collections.abc import Mapping

from deploykit.core.layers.kinds import LayerKind

KINDS: Mapping[LayerKind, frozenset[str]] = {
    "dense": frozenset({"Dense", "EinsumDense", "Dot"}),
    "convolution": frozenset(
        {"Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "SeparableConv1D",
         "SeparableConv2D", "Convolution1D", "Convolution2D", "Convolution3D", "Convolution1DTranspose",
         "Convolution2DTranspose",
         "Convolution3DTranspose", "SeparableConvolution1D", "SeparableConvolution2D", "LocallyConnected1D",
         "LocallyConnected2D"}
    ),
    "depthwise": frozenset({"DepthwiseConv1D", "DepthwiseConv2D", "DepthwiseConvolution2D"}),
    "attention": frozenset(
        {"MultiHeadAttention", "GroupedQueryAttention", "GroupQueryAttention", "Attention", "AdditiveAttention"}
    ),
    "recurrent": frozenset(
        {"LSTM", "GRU", "RNN", "SimpleRNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "CuDNNLSTM",
         "CuDNNGRU", "LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells"}
    ),
    "embedding": frozenset({"Embedding", "ReversibleEmbedding"}),
    "normalization": frozenset(
        {"BatchNormalization", "SyncBatchNormalization", "LayerNormalization", "GroupNormalization",
         "InstanceNormalization", "RMSNormalization", "UnitNormalization", "SpectralNormalization", "Normalization",
         "Rescaling"}
    ),
    "activation": frozenset(
        {"Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "ThresholdedReLU", "Softmax", "Dropout", "SpatialDropout1D",
         "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout", "GaussianNoise",
         "ActivityRegularization", "Identity"}
    ),
    "pooling": frozenset(
        f"{where}{what}{d}D"
        for where in ("", "Global", "Adaptive")
        for what in ("MaxPooling", "AveragePooling", "MaxPool", "AvgPool")  # the short names are the same classes
        for d in (1, 2, 3)
    ),
    "reshape": frozenset(
        {"Reshape", "Flatten", "Permute", "RepeatVector", "Concatenate", "ZeroPadding1D", "ZeroPadding2D",
         "ZeroPadding3D", "Cropping1D", "Cropping2D", "Cropping3D", "UpSampling1D", "UpSampling2D", "UpSampling3D",
         "Resizing", "CenterCrop", "Masking", "Squeeze", "ExpandDims"}
    ),
    "arithmetic": frozenset({"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}),
    "input": frozenset({"InputLayer"}),
}  # fmt: skip

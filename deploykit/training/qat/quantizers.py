"""TF-MOT's quantizers for weights, in the forms in which TFLite stores kernels."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from deploykit.core.extras import require

_PACKAGE = "tensorflow_model_optimization.python.core.quantization.keras"
#: Range before anything has been seen, as TF-MOT has it.
_RANGE = 6.0


def module(name: str) -> Any:
    """A module of TF-MOT's quantization."""
    require("tensorflow_model_optimization", "tensorflow")
    return require(f"{_PACKAGE}.{name}", "tensorflow")


def one_scale() -> Any:
    """A quantizer with one scale for the whole kernel: values that are shared stay shared."""
    return module("quantizers").LastValueQuantizer(num_bits=8, per_axis=False, symmetric=True, narrow_range=True)


def per_channel() -> Any:
    """A quantizer with a scale for each output of a convolution."""
    return module("default_8bit.default_8bit_quantizers").Default8BitConvWeightsQuantizer()


@cache
def _channels() -> Any:
    keras = require("tf_keras", "tensorflow")
    base: Any = module("quantizers").LastValueQuantizer

    class ChannelQuantizer(base):  # type: ignore[misc]  # TF-MOT has no types
        """A scale for each output of a dense layer or a depthwise convolution, which TF-MOT gives one for all.

        Attributes:
            axes: How many of the last axes are outputs.
            stored: The kernel has been rounded and is written as it is, since TFLite's converter knows such scales of
                convolutions alone. It takes them from the largest weight of each output, which is where they come from.
        """

        stored = False

        def __init__(self, axes: int) -> None:
            super().__init__(num_bits=8, per_axis=True, symmetric=True, narrow_range=True)
            self.axes = axes

        def build(self, tensor_shape: Any, name: str, layer: Any) -> Any:
            shape = (math.prod(tensor_shape[-self.axes :]),)

            def made(end: str, value: float) -> Any:
                initial = keras.initializers.Constant(value)
                return layer.add_weight(f"{name}_{end}", shape=shape, initializer=initial, trainable=False)

            return {"min_var": made("min", -_RANGE), "max_var": made("max", _RANGE)}

        def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
            tf = require("tensorflow", "tensorflow")
            if self.stored:
                return tf.convert_to_tensor(inputs)
            flat = tf.reshape(inputs, (-1, math.prod(inputs.shape[-self.axes :])))
            return tf.reshape(super().__call__(flat, training, weights, **kwargs), inputs.shape)

    return ChannelQuantizer


def each_output(axes: int) -> Any:
    """A quantizer with a scale for each output of a kernel whose last axes are outputs.

    Args:
        axes: How many of them: two of a depthwise convolution, else one.
    """
    return _channels()(axes)

"""Tasks that make quantized TFLite files, in a child process."""

from pathlib import Path


def quantized(arguments, report):
    """The small CNN with weights and activations of a ``kind``, and a dense network with GELU."""
    import keras
    import numpy as np
    import tensorflow as tf

    from deploykit.testing.models import IMAGE_SHAPE, keras_cnn

    rng = np.random.default_rng(0)
    model = keras_cnn()
    if arguments["kind"] == "gelu":
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "gelu"), keras.layers.Dense(3)])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if arguments["kind"] == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if arguments["kind"] == "int16x8":
        wide = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([rng.random((1, *IMAGE_SHAPE), np.float32)] for _ in range(8))
        converter.target_spec.supported_ops = [wide]
    Path(arguments["path"]).write_bytes(converter.convert())
    return {}

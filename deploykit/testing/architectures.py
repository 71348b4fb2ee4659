"""Small Keras 3 models with the layers and shapes of graphs that converters and transforms must cope with.

Builders run in a child process that has Keras; weights are random but seeded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploykit.loading._keras.open import ends, graph_of

Builder = Callable[[], Any]


def build(name: str) -> Any:
    """The architecture called ``name``, with seeded random weights."""
    import keras
    import numpy as np

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = ARCHITECTURES[name]()
    rng = np.random.default_rng(0)
    for weight in model.weights:
        values = rng.normal(0.0, 0.4, weight.shape)
        weight.assign(np.abs(values) + 0.5 if weight.path.endswith("variance") else values)
    return model


def examples(model: Any, count: int) -> dict[str, Any]:
    """Seeded random examples by input name."""
    import numpy as np

    rng = np.random.default_rng(1)
    found = {}
    for name, tensor in ends(graph_of(model))[0]:
        shape = (count, *tensor.shape[1:])
        if tensor.dtype == "string":
            found[name] = rng.choice(["yes", "no", "yes no"], shape)
            continue
        values = rng.integers(0, 9, shape) if "int" in tensor.dtype else rng.normal(0.0, 1.0, shape)
        found[name] = values.astype(tensor.dtype)
    return found


def subclassed() -> Any:
    """A subclassed model without weights of its own making; not built yet."""
    import keras

    @keras.saving.register_keras_serializable("deploykit_testing")
    class Halving(keras.Model):  # type: ignore[misc]  # the base class is untyped
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.dense = keras.layers.Dense(3, kernel_initializer=keras.initializers.Constant(0.5))

        def call(self, x: Any) -> Any:
            return self.dense(x)

    return Halving()


def _mixed_cnn() -> Any:
    from keras import Input, Model, layers

    image = Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = skip = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Add()([layers.DepthwiseConv2D(3, padding="same")(x), skip])
    x = layers.MaxPooling2D()(layers.SeparableConv2D(6, 3, activation="elu")(x))
    x = layers.Dropout(0.3)(layers.PReLU()(layers.LeakyReLU(negative_slope=0.1)(x)))
    x = layers.Conv2DTranspose(4, 2, strides=2)(x)
    return Model(image, layers.Dense(3, activation="softmax", name="class")(layers.Flatten()(x)))


def _sequential() -> Any:
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input((8, 8, 1), name="image"),
            layers.Rescaling(1 / 255.0, offset=-0.5),
            layers.RandomFlip(),
            layers.Conv2D(4, 3, activation="gelu", kernel_regularizer="l2"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(3, activation="softmax", name="class"),
        ]
    )


def _nested() -> Any:
    from keras import Input, Model, Sequential, layers

    inner_image = Input((6, 6, 4), name="inner")
    backbone = Model(inner_image, layers.Conv2D(4, 3, name="conv")(inner_image), name="backbone")
    head = Sequential([Input((4, 4, 4)), layers.Flatten(), layers.Dense(3, name="conv")], name="head")
    image = Input((8, 8, 1), name="image")
    return Model(image, head(backbone(layers.Conv2D(4, 3, name="conv")(image))))


def _underscores() -> Any:
    from keras import Input, Model, layers

    inner_input = Input((5,), name="inner")
    inner = Model(inner_input, layers.Dense(4, name="_inner dense")(inner_input), name="_block")
    features = Input((5,), name="_features")
    x = layers.Dense(5, name="_stem", activation="relu")(features)
    return Model(features, layers.Dense(2, name="_top")(inner(x)))


def _operators() -> Any:
    from keras import Input, Model, layers, ops

    features = Input((8,), name="features")
    a = layers.Dense(8)(features)
    b = layers.Dense(8, activation="hard_sigmoid")(features)
    x = ops.relu(a + b * 2.0 - 1.0) / (1 + ops.abs(b))
    x = ops.concatenate([x, a], axis=-1)[:, :10]
    x = ops.mean(ops.reshape(x, (-1, 2, 5)), axis=1)
    return Model(features, layers.Dense(3, name="class")(x))


def _normalization() -> Any:
    from keras import Input, Model, layers

    sequence = Input((6, 8), name="sequence")
    x = layers.Normalization(mean=[0.1] * 8, variance=[2.0] * 8)(sequence)
    x = layers.Dense(8, activation="silu")(layers.LayerNormalization()(x))
    x = layers.UnitNormalization()(layers.GroupNormalization(4)(x))
    x = layers.Conv1D(4, 3, padding="causal", activation="mish")(x)
    return Model(sequence, layers.Dense(2, name="value")(layers.GlobalMaxPooling1D()(x)))


def _masked_recurrent() -> Any:
    from keras import Input, Model, layers

    tokens = Input((6,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 8, mask_zero=True)(tokens)
    x = layers.GRU(4)(layers.LSTM(5, return_sequences=True)(x))
    return Model(tokens, layers.Dense(1, activation="sigmoid", name="positive")(x))


def _wrapped_recurrent() -> Any:
    from keras import Input, Model, layers

    sequence = Input((6, 3), name="sequence")
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(sequence)
    x = layers.TimeDistributed(layers.Dense(4, activation="relu"))(x)
    return Model(sequence, layers.SimpleRNN(3, name="state")(x))


def _attention() -> Any:
    from keras import Input, Model, layers

    sequence = Input((6, 8), name="sequence")
    x = layers.LayerNormalization()(layers.Add()([layers.MultiHeadAttention(2, 4)(sequence, sequence), sequence]))
    x = layers.EinsumDense("abc,cd->abd", output_shape=(6, 5), bias_axes="d")(layers.Attention()([x, x]))
    return Model(sequence, layers.Dense(3, name="class")(layers.Flatten()(x)))


def _two_inputs() -> Any:
    from keras import Input, Model, layers

    left, right = Input((4,), name="left"), Input((6,), name="right")
    shared = layers.Dense(4, name="shared")
    both = layers.Concatenate()([shared(left), shared(layers.Dense(4)(right)), right])
    outputs = [layers.Dense(1, name="score")(both), layers.Dense(3, activation="softmax", name="label")(both)]
    return Model([right, left], outputs)


def _twice_the_same_output() -> Any:
    from keras import Input, Model, layers

    left, right = Input((4,), name="left"), Input((4,), name="right")
    shared = layers.Dense(3, name="shared")
    return Model([left, right], [shared(left), shared(right)])


def _mixed_precision() -> Any:
    from keras import DTypePolicy, Input, Model, layers

    half = DTypePolicy("mixed_float16")
    image = Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, activation="relu", dtype=half)(image)
    x = layers.GlobalAveragePooling2D(dtype=half)(layers.BatchNormalization(dtype=half)(x))
    return Model(image, layers.Dense(3, name="class", dtype="float32")(x))


def _dictionaries() -> Any:
    from keras import Input, Model, layers

    left, right = Input((4,), name="left"), Input((6,), name="right")
    both = layers.Concatenate()([left, right])
    outputs = {"z": layers.Dense(1, name="score")(both), "a": layers.Dense(3, name="label")(both)}
    return Model({"right": right, "left": left}, outputs)


def _twins() -> Any:
    from keras import Input, Model, layers

    user, item = Input((4,)), Input((4,))  # of one shape: only the keys tell them apart
    outputs = {"value": layers.Dense(1)(user) - layers.Dense(1)(item), "aux": layers.Dense(3)(user)}
    return Model({"user": user, "item": item}, outputs)


def _resized() -> Any:
    from keras import Input, Model, layers

    image = Input((8, 8, 3), name="image")
    x = layers.UpSampling2D(2)(layers.Cropping2D(1)(layers.ZeroPadding2D(1)(image)))
    x = layers.CenterCrop(3, 3)(layers.Resizing(4, 4)(x))
    return Model(image, layers.Dense(2, name="value")(layers.Flatten()(x)))


def _merged() -> Any:
    from keras import Input, Model, activations, layers

    table = Input((4, 6), name="table")
    x = layers.Reshape((4, 6))(layers.Permute((2, 1))(table))
    x = layers.Activation("tanh")(layers.Softmax()(layers.ELU()(x)))
    wide = layers.Dense(4, activation=activations.log_softmax, name="wide")(layers.RepeatVector(2)(layers.Flatten()(x)))
    x = layers.Dot(axes=(2, 2))([x, x])
    x = layers.Maximum()([layers.Minimum()([x, x]), layers.Average()([x, x])])
    x = layers.Conv1DTranspose(3, 2, name="long")(layers.Subtract()([x, layers.Multiply()([x, x])]))
    return Model(table, [x, wide])


def _grouped() -> Any:
    from keras import Input, Model, layers

    image = Input((9, 9, 3), name="image")
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2)(image)
    return Model(image, layers.GlobalMaxPooling2D(keepdims=True, name="peak")(layers.Conv2D(6, 3, groups=2)(x)))


def _volumes() -> Any:
    from keras import Input, Model, layers

    volume = Input((4, 6, 6, 1), name="volume")
    x = layers.MaxPooling3D(2)(layers.Conv3D(3, 2)(volume))
    return Model(volume, layers.Dense(2, name="value")(layers.Flatten()(x)))


def _custom_layer() -> Any:
    import keras

    @keras.saving.register_keras_serializable("deploykit_testing")
    class Doubling(keras.layers.Layer):  # type: ignore[misc]  # the base class is untyped
        def call(self, x: Any) -> Any:
            return x * 2

    features = keras.Input((4,), name="features")
    return keras.Model(features, keras.layers.Dense(2)(Doubling(name="twice")(features)))


def _rms_normalization() -> Any:
    from keras import Input, Model, layers

    features = Input((4,), name="features")
    return Model(features, layers.Dense(2)(layers.RMSNormalization(name="scaled")(features)))


def _text() -> Any:
    from keras import Input, Model, layers

    words = Input((1,), dtype="string", name="text")
    tokens = layers.TextVectorization(vocabulary=["yes", "no"], output_sequence_length=4, name="words")(words)
    return Model(words, layers.Dense(2)(layers.Embedding(4, 3)(tokens)))


def _inverse_error_function() -> Any:
    from keras import Input, Model, layers, ops

    features = Input((4,), name="features")
    return Model(features, layers.Dense(2)(ops.erfinv(ops.tanh(features) * 0.9)))


def _wide_cnn() -> Any:
    from keras import Input, Model, layers

    image = Input((8, 8, 1), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="first")(image)
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(24, 3, name="second")(x))
    x = layers.Flatten(name="flat")(layers.ReLU(name="relu")(x))
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    return Model(image, layers.Dense(3, activation="softmax", name="class")(x))


def _residual_cnn() -> Any:
    from keras import Input, Model, layers

    image = Input((8, 8, 1), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="first")(image)
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(24, 3, padding="same", name="second")(x))
    y = layers.Conv2D(16, 1, name="third")(layers.ReLU(name="relu")(y))
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="sum")([x, y]))
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    return Model(image, layers.Dense(3, activation="softmax", name="class")(x))


#: Name → builder.
ARCHITECTURES: dict[str, Builder] = {
    "mixed_cnn": _mixed_cnn,
    "sequential": _sequential,
    "nested": _nested,
    "underscores": _underscores,
    "operators": _operators,
    "normalization": _normalization,
    "masked_recurrent": _masked_recurrent,
    "wrapped_recurrent": _wrapped_recurrent,
    "attention": _attention,
    "two_inputs": _two_inputs,
    "twice_the_same_output": _twice_the_same_output,
    "mixed_precision": _mixed_precision,
    "dictionaries": _dictionaries,
    "twins": _twins,
    "resized": _resized,
    "merged": _merged,
    "grouped": _grouped,
    "volumes": _volumes,
    "wide_cnn": _wide_cnn,
    "residual_cnn": _residual_cnn,
    "custom_layer": _custom_layer,
    "rms_normalization": _rms_normalization,
    "text": _text,
    "inverse_error_function": _inverse_error_function,
}

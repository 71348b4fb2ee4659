"""Small Keras models whose channels can be removed, with the sizes of their groups counted by hand."""

import numpy as np


def build(name):
    """One of the models with seeded random weights."""
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    rng = np.random.default_rng(len(name))
    for weight in model.weights:
        values = rng.normal(0.0, 0.4, weight.shape)
        weight.assign(np.abs(values) + 0.5 if weight.path.endswith("variance") else values)
    return model


def save(model, path):
    """Write a ``.keras`` file."""
    import warnings

    with warnings.catch_warnings():  # Keras's own way of making arrays
        warnings.simplefilter("ignore", DeprecationWarning)
        model.save(path)


def examples(model, count=5):
    """Seeded random inputs, in the order of the model's."""
    rng = np.random.default_rng(7)
    found = []
    for tensor in model.inputs:
        shape = (count, *(size or 6 for size in tensor.shape[1:]))
        values = rng.integers(0, 9, shape) if "int" in tensor.dtype else rng.normal(0.0, 1.0, shape)
        found.append(values.astype(tensor.dtype))
    return found


def residual():
    from keras import Input, Model, layers

    image = Input((8, 8, 3))
    x = skip = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(image)))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
    x = layers.MaxPooling2D()(layers.ReLU()(layers.Add()([x, skip])))
    return Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def depthwise():
    from keras import Input, Model, layers

    image = Input((9, 9, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.PReLU(shared_axes=[1, 2])(layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x))
    s = layers.Dense(4, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, layers.Dense(16, activation="sigmoid")(s)])
    x = layers.SeparableConv2D(6, 3, activation="elu")(layers.ZeroPadding2D()(x))
    return Model(image, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))


def concatenated():
    from keras import Input, Model, layers

    image = Input((6, 6, 3))
    a = layers.Conv2D(6, 3, activation="relu")(image)
    b = layers.Conv2D(8, 3, activation="tanh")(image)
    x = layers.Flatten()(layers.UpSampling2D()(layers.Conv2D(4, 3, dilation_rate=1)(layers.Concatenate()([a, b]))))
    return Model(image, layers.Dense(3)(layers.Dense(10, activation="relu")(x)))


def attention():
    from keras import Input, Model, layers

    tokens = Input((6, 8))
    x = layers.Add()([layers.MultiHeadAttention(4, 3)(tokens, tokens), tokens])
    x = layers.LayerNormalization()(x)
    x = layers.Add()([layers.Dense(8)(layers.Dense(24, activation="gelu")(x)), x])
    return Model(tokens, layers.Dense(3)(layers.Flatten()(x)))


def nested():
    from keras import Input, Model, Sequential, layers

    inner = Input((6, 6, 8))
    body = Model(inner, layers.ReLU()(layers.Conv2D(8, 3, padding="same", name="conv")(inner)), name="body")
    head = Sequential([Input((6, 6, 8)), layers.Flatten(), layers.Dense(7, name="conv"), layers.ReLU()], name="head")
    image = Input((8, 8, 1))
    x = layers.Conv2D(8, 3, name="conv")(image)
    return Model(image, layers.Dense(3)(head(body(body(x)))))


def two_inputs():
    from keras import Input, Model, layers, ops

    left, right = Input((4,), name="left"), Input((6,), name="right")
    shared = layers.Dense(8, name="shared", activation="relu")
    a, b = shared(left), shared(layers.Dense(4, activation="relu")(right))
    x = ops.relu(a * b + 1.0)
    both = layers.Concatenate()([x, a, right])
    return Model([right, left], [layers.Dense(1, name="score")(both), layers.Dense(3, name="label")(both)])


def grouped():
    from keras import Input, Model, layers

    image = Input((9, 9, 4))
    x = layers.Conv2D(8, 3, activation="relu")(image)
    x = layers.Conv2D(12, 3, groups=4, activation="relu")(x)
    x = layers.Conv2DTranspose(6, 2, strides=2, activation="relu")(x)
    return Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def heads():
    from keras import Input, Model, layers, ops

    tokens = Input((6, 8))
    x = layers.Dense(12)(tokens)
    x = layers.Permute((2, 1, 3))(layers.Reshape((6, 4, 3))(x))
    x = ops.reshape(ops.transpose(ops.relu(x), (0, 2, 1, 3)), (-1, 6, 12))
    return Model(tokens, layers.Dense(3)(x))


def masked():
    from keras import Input, Model, layers

    tokens = Input((6,), dtype="int32")
    x = layers.Dense(8, activation="relu")(layers.Embedding(9, 6, mask_zero=True)(tokens))
    return Model(tokens, layers.Dense(2)(layers.LSTM(4)(layers.Dense(5)(x))))


def nested_blocks():
    from keras import Input, Model, layers

    inner = Input((6, 6, 8))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(inner)
    x = layers.Add(name="sum")([layers.Conv2D(8, 3, padding="same", name="second")(x), inner])
    body = Model(inner, layers.ReLU(name="relu")(x), name="body")
    image = Input((6, 6, 1))
    x = body(layers.Conv2D(8, 3, padding="same", name="stem")(image))
    return Model(image, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


def stacked():
    from keras import Input, Sequential, layers

    return Sequential([
        Input((12,)), layers.Dense(10, activation="relu", name="first"), layers.Dense(10, name="second"),
        layers.BatchNormalization(name="norm"), layers.ReLU(name="relu"),
        layers.Dense(10, activation="relu", name="third"), layers.Dense(3, name="head"),
    ])  # fmt: skip


MODELS = {f.__name__: f for f in (
    residual, depthwise, concatenated, attention, nested, two_inputs, grouped, heads, masked, nested_blocks,
    stacked,
)}  # fmt: skip

"""A small transformer encoder for Fashion-MNIST, trained in a minute."""

from __future__ import annotations

from pathlib import Path


def trained(folder: Path, data: Path) -> Path:
    """A transformer encoder over the rows of an image, trained for some epochs; kept in a folder."""
    path = folder / "encoder.keras"
    if path.exists():
        return path
    import keras
    import numpy as np
    from keras import layers

    keras.utils.set_random_seed(0)
    with np.load(data) as arrays:
        images, labels = arrays["x_train"][..., None].astype(np.float32) / 255, arrays["y_train"]
    entry = keras.Input((28, 28, 1), name="image")
    x = layers.Conv1D(64, 3, padding="same", name="rows")(layers.Reshape((28, 28))(entry))  # the ends say where it is
    for k in range(2):
        seen = layers.LayerNormalization(name=f"norm_a{k}")(x)
        x = layers.Add(name=f"sum_a{k}")([x, layers.MultiHeadAttention(4, 16, name=f"attention{k}")(seen, seen)])
        seen = layers.LayerNormalization(name=f"norm_b{k}")(x)
        wide = layers.Dense(128, activation="gelu", name=f"wide{k}")(seen)
        x = layers.Add(name=f"sum_b{k}")([x, layers.Dense(64, name=f"narrow{k}")(wide)])
    x = layers.GlobalAveragePooling1D(name="mean")(layers.LayerNormalization(name="norm")(x))
    model = keras.Model(entry, layers.Dense(10, activation="softmax", name="class")(x))
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    model.fit(images, labels, 128, 8, verbose=0)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return path

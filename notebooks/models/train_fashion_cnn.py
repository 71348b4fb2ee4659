"""Train the tutorial model: a small Keras 3 CNN on Fashion-MNIST.

Run ``python notebooks/models/train_fashion_cnn.py`` to create ``fashion_cnn.keras`` again (a few minutes on two
cores). The network takes images scaled to [0, 1], shape (batch, 28, 28, 1), and returns ten class probabilities.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np

HERE = Path(__file__).resolve().parent


def build() -> keras.Model:
    """A plain CNN with batch normalization: about 100,000 parameters, 3.4 million multiply-adds per image."""
    layers = keras.layers
    inputs = keras.Input((28, 28, 1), name="image")
    x = inputs
    for block, filters in enumerate((32, 64, 96)):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{block}")(x)
        x = layers.BatchNormalization(name=f"norm_{block}")(x)
        x = layers.ReLU(name=f"relu_{block}")(x)
        x = layers.MaxPooling2D(name=f"pool_{block}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(0.4, name="dropout")(x)
    x = layers.Dense(96, activation="relu", name="dense")(x)
    outputs = layers.Dense(10, activation="softmax", name="class")(x)
    return keras.Model(inputs, outputs, name="fashion_cnn")


def augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror half of the images."""
    return np.where(rng.random((len(images), 1, 1, 1)) < 0.5, images[:, :, ::-1], images)


def main() -> None:
    """Train, report the accuracy on the 5,000 test images and save the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parent / "data" / "fashion-mnist.npz")
    parser.add_argument("--out", type=Path, default=HERE / "fashion_cnn.keras")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    keras.utils.set_random_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    with np.load(arguments.data) as file:
        x_train = (file["x_train"] / np.float32(255))[..., None]
        x_test = (file["x_test"] / np.float32(255))[..., None]
        y_train, y_test = file["y_train"], file["y_test"]
    model = build()
    steps = arguments.epochs * -(-len(x_train) // 64)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    for epoch in range(arguments.epochs):
        history = model.fit(augment(x_train, rng), y_train, batch_size=64, verbose=0)
        print(f"epoch {epoch + 1}/{arguments.epochs}: loss {history.history['loss'][0]:.4f}", flush=True)
    accuracy = model.evaluate(x_test, y_test, batch_size=256, verbose=0, return_dict=True)["accuracy"]
    print(f"test accuracy {accuracy:.4f} on {len(y_test)} images, {model.count_params()} parameters")
    model.save(arguments.out)


if __name__ == "__main__":
    main()

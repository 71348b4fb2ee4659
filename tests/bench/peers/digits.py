"""The model and the data of the quantization benchmark: a CNN with 446,000 parameters for scikit-learn's digits.

``python tests/bench/peers/digits.py FOLDER`` writes ``digits_cnn.onnx`` and ``digits.npz`` (``x_train y_train x_test
y_test``; images of 8 x 8 scaled to [0, 1]); training takes some ten seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Train, convert, write."""
    import keras
    import numpy as np
    from sklearn.datasets import load_digits

    keras.utils.set_random_seed(0)
    digits = load_digits()
    x = (digits.images / 16).astype(np.float32)[..., None]
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], digits.target[order].astype(np.int64)
    train, test = slice(0, 1257), slice(1257, None)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(128, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(172, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[train], y[train], epochs=12, batch_size=32, verbose=0)
    _, accuracy = model.evaluate(x[test], y[test], verbose=0)
    print(f"digit CNN: {model.count_params():,} parameters, accuracy {accuracy:.4f} on {len(x[test])} images")
    model.export(str(folder / "digits_cnn.onnx"), format="onnx", verbose=False)
    # Last: what is there is complete.
    np.savez(folder / "digits.npz", x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

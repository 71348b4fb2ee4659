"""What quantization-aware training wins back: ``python tests/bench/quantize_aware.py``.

A small network of depthwise convolutions is trained on Fashion-MNIST, then its channels are scaled badly: what a layer
gives is multiplied by a factor of its own for each channel, and the next layer divides by it. In float32 the network
answers as before. In int8 all channels of an activation share one scale, and those with small factors round to nothing.

In one run, on the same examples: float32, TFLite's own int8 with the same calibration examples by a plain script,
deploykit's int8 static for TFLite and ONNX, the same behind as much fine-tuning in float32, and quantization-aware
training for both. The share that is won back is printed, and the exit status is 1 when it is below 80 % on one of the
two runtimes. Takes about three minutes on two cores, most of it for the network.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_DATA = Path(__file__).resolve().parents[2] / "notebooks" / "data" / "fashion-mnist.npz"
_CALIBRATION = 500
_SEED = 0
#: Passes over the examples, after which the network gains nothing more.
_EPOCHS = 30
#: Share of what int8 loses that training is to win back.
_TARGET = 0.8


# -- in processes of their own ----------------------------------------------------------------------------------------


def train(path: Path, spread: float) -> None:
    """Train the network, scale its channels, and save it.

    Args:
        path: File to write.
        spread: Factors are between 10 to the power of minus this and 1.
    """
    import keras
    import numpy as np
    from keras import layers

    keras.utils.set_random_seed(_SEED)
    with np.load(_DATA) as file:
        images, labels = file["x_train"][..., None] / np.float32(255), file["y_train"]
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(image)
    for channels, step in ((32, 1), (64, 2), (64, 1)):
        x = layers.DepthwiseConv2D(3, strides=step, padding="same", activation="relu")(x)
        x = layers.Conv2D(channels, 1, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="clothes")(x))
    rate = keras.optimizers.schedules.CosineDecay(
        3e-4, _EPOCHS * len(images) // 64, warmup_target=4e-3, warmup_steps=500
    )
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(images, labels, batch_size=64, epochs=_EPOCHS, verbose=0)
    before = model.predict(images[:64], verbose=0)
    rng = np.random.default_rng(_SEED)
    products = [layer for layer in model.layers if layer.weights]
    for first, second in itertools.pairwise(products[:-1]):
        (kernel, bias), (after, its_bias) = first.get_weights(), second.get_weights()
        factors = (10 ** rng.uniform(-spread, 0, len(bias))).astype(np.float32)
        deep = isinstance(first, layers.DepthwiseConv2D)
        first.set_weights([kernel * (factors[:, None] if deep else factors), bias * factors])
        second.set_weights([after / factors[:, None], its_bias])
    assert np.abs(model.predict(images[:64], verbose=0) - before).max() < 1e-4, "scaling changes the function"
    model.save(path)


def tflite(path: Path, data: Path, target: Path) -> None:
    """Quantize with TensorFlow's converter alone."""
    import keras
    import numpy as np
    import tensorflow as tf

    with np.load(data) as file:
        examples = file["calibration"]
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.models.load_model(path))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([one[None]] for one in examples)
    target.write_bytes(converter.convert())


def accuracy(data: Path, target: Path) -> None:
    """Print the accuracy of a TFLite file."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    with np.load(data) as file:
        images, labels = file["images"], file["labels"]
    interpreter = Interpreter(str(target))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    print(json.dumps(float((found.argmax(1) == labels).mean())))


def _process(*arguments: str) -> str:
    command = (sys.executable, __file__, *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# -- the contest ------------------------------------------------------------------------------------------------------


def main() -> int:
    """Run the contestants and print what each of them gives."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--spread", type=float, default=2.0, help="decades that the factors of channels span")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--store", help="folder to keep the results in")
    options = parser.parse_args()
    if options.task:
        name, *rest = options.task
        if name == "train":
            train(Path(rest[0]), float(rest[1]))
        else:
            {"tflite": tflite, "accuracy": accuracy}[name](*map(Path, rest))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return _contest(options, Path(options.store or folder))


def _contest(options: argparse.Namespace, folder: Path) -> int:
    import numpy as np

    import deploykit as dk

    folder.mkdir(parents=True, exist_ok=True)
    model, examples = folder / f"scaled-{options.spread:g}.keras", folder / "examples.npz"
    if not model.exists():
        _process("--task", "train", str(model), str(options.spread))
    preprocess = dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    data = dk.Dataset.from_npz(_DATA, preprocess=preprocess, calibration_size=_CALIBRATION)
    ready = {"calibration": data.calibration(), "evaluation": data.batch("evaluation")}
    ready = {name: next(iter(inputs.values())) for name, inputs in ready.items()}
    labels = np.asarray(data.splits["evaluation"].labels)
    np.savez(examples, calibration=ready["calibration"], images=ready["evaluation"], labels=labels)

    training = {"epochs": options.epochs, "learning_rate": options.learning_rate}
    static, aware = dk.Step("quantize_static"), dk.Step("quantize_aware", training)
    tuned = dk.Step("finetune", training)
    steps = [(static,), (aware,), (tuned, static)]
    space = dk.Space([dk.Recipe(one) for one in steps], [dk.Target("litert"), dk.Target("onnxruntime")])
    began = time.perf_counter()
    report = dk.sweep(dk.load(model), data, space, store=folder / "store", launches=0, progress=lambda _p: None)
    print(f"{len(report.rows)} rows in {time.perf_counter() - began:.0f} s, load {os.getloadavg()[0]:.2f}")

    found: dict[str, float] = {}
    for row in report.rows:
        if row.measurement is None:
            raise SystemExit(f"{row.label}: {row.failure.cause if row.failure else row.status}")
        found[f"{row.label}, {row.candidate.target.runtime}"] = row.measurement.score.value
        print(
            f"{row.label:60s} {row.candidate.target.runtime:12s} {row.measurement.score.value:.4f}"
            f" {row.measurement.size_bytes:9,} B {row.measurement.compressed_bytes:9,} B after gzip"
        )
    _process("--task", "tflite", str(model), str(examples), str(folder / "plain.tflite"))
    plain = json.loads(_process("--task", "accuracy", str(examples), str(folder / "plain.tflite")))
    print(f"{'int8 by TFLite alone':60s} {'litert':12s} {plain:.4f}")

    whole = next(row.measurement.score.value for row in report.rows if not row.candidate.recipe.steps)
    least = 1.0
    for runtime in ("litert", "onnxruntime"):
        lost, kept = (whole - _score(report, step.technique, runtime) for step in (static, aware))
        won = 1 - kept / lost
        least = min(least, won)
        print(
            f"{runtime}: int8 static loses {100 * lost:.1f} points, with training {100 * kept:.1f}: {won:.0%} won back"
        )
    return 0 if least >= _TARGET else 1


def _score(report: Any, technique: str, runtime: str) -> float:
    """The accuracy of a technique alone on a runtime."""
    return float(
        next(
            row.measurement.score.value for row in report.rows
            if [step.technique for step in row.candidate.recipe.steps] == [technique]
            and row.candidate.target.runtime == runtime
        )
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())

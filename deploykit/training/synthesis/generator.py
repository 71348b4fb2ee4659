"""Inputs from a generator that is trained against the model.

"Data-free learning of student networks" (Chen 2019): the model is to be sure of its answers, and to give all classes
alike often. "Zero-shot knowledge transfer" (Micaelli & Storkey 2019): a student learns from the model on what the
generator makes while the generator looks for what they disagree on. The student is small and thrown away: it keeps the
generator from making the same few examples. What batch normalizations have stored is matched where it is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.sandbox.task import Report
from deploykit.training.synthesis.batchnorm import batch_size
from deploykit.training.synthesis.losses import distance, logits
from deploykit.training.synthesis.ranges import Form
from deploykit.training.synthesis.subject import Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Numbers that an example is made of.
_LATENT = 64
#: Weights: of all classes alike often, and of the student's disagreement.
_BALANCE, _AGAINST = 5.0, 0.5
_LEAST = 1e-7


def made(
    subject: Subject, forms: Mapping[str, Form], *, count: int, steps: int, seed: int, report: Report
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Train a generator and let it make inputs. The same seed gives the same inputs.

    Args:
        subject: The model.
        forms: What is made, by the names of inputs.
        count: Examples.
        steps: Steps of training.
        seed: Of the generator, the student and the noise.
        report: Called with the progress in steps.

    Returns:
        Examples by input, and what the generator has come to.
    """
    import numpy as np

    keras, tf = require("keras", "tensorflow"), require("tensorflow", "tensorflow")
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    size = batch_size(subject, forms, max(count, 64))
    generator = _generator(forms)
    outputs, _ = subject({name: tf.zeros((size, *form.shape)) for name, form in forms.items()})
    scored, meaning = outputs[subject.scored], subject.contract.scored
    classes = logits(scored, meaning) is not None
    student = _student(forms, int(np.prod(scored.shape[1:])))
    makes, learns = keras.optimizers.Adam(1e-3), keras.optimizers.Adam(2e-3)
    makes.build(generator.trainable_variables)
    learns.build(student.trainable_variables)

    def answers(outputs: list[Any]) -> Any:
        found = logits(outputs[subject.scored], meaning)
        if found is None:
            return tf.reshape(tf.cast(outputs[subject.scored], tf.float32), (size, -1))
        return found - tf.reduce_mean(found, axis=-1, keepdims=True)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def step(noise: Any) -> Any:
        with tf.GradientTape() as tape:
            examples = generator(noise, training=True)
            outputs, taken = subject(examples)
            wanted = answers(outputs)
            scale = tf.stop_gradient(tf.math.reduce_std(wanted)) + _LEAST
            apart = tf.reduce_mean(tf.abs(student(examples, training=True) - wanted)) / scale
            loss = -_AGAINST * tf.tanh(apart)
            sure = tf.constant(0.0)
            if classes:
                shares = tf.nn.softmax(wanted)
                sure = tf.reduce_mean(tf.reduce_max(shares, axis=-1))
                mean = tf.reduce_mean(shares, axis=0)
                loss -= tf.reduce_mean(tf.math.log(tf.reduce_max(shares, axis=-1) + _LEAST))
                loss += _BALANCE * tf.reduce_sum(mean * tf.math.log(mean + _LEAST))
            if subject.statistics:
                loss += distance(taken, subject.statistics)
        variables = generator.trainable_variables
        makes.apply(tape.gradient(loss, variables), variables)
        fixed = {name: tf.stop_gradient(tensor) for name, tensor in examples.items()}
        with tf.GradientTape() as tape:
            learned = tf.reduce_mean(tf.abs(student(fixed, training=True) - tf.stop_gradient(wanted))) / scale
        learns.apply(tape.gradient(learned, student.trainable_variables), student.trainable_variables)
        return sure

    def noise() -> Any:
        return tf.constant(random.standard_normal((size, _LATENT)).astype(np.float32))

    sure = 0.0
    for number in range(steps):
        sure = float(step(noise()))
        report(number + 1, steps, "generator")
    parts = [generator(noise(), training=True) for _ in range(-(-count // size))]
    found = {name: np.concatenate([part[name].numpy() for part in parts])[:count] for name in forms}
    notes: dict[str, Any] = {"confidence": sure} if classes else {}
    return found, notes | ({"normalizations": len(subject.statistics)} if subject.statistics else {})


def _generator(forms: Mapping[str, Form]) -> Any:
    """A model from noise to examples by input, each within its range."""
    import numpy as np

    keras = require("keras", "tensorflow")
    k = keras.layers
    noise = keras.Input((_LATENT,))
    made = {}
    for name, form in forms.items():
        if len(form.shape) == 3:
            height, width, channels = np.roll(form.shape, -1) if form.channels_first else form.shape
            small = (-(-int(height) // 4), -(-int(width) // 4))
            x = k.Reshape((*small, 32))(k.Dense(small[0] * small[1] * 32)(noise))
            for filters in (32, 16):
                x = k.BatchNormalization()(x)
                x = k.UpSampling2D()(x)
                x = k.LeakyReLU(0.2)(k.BatchNormalization()(k.Conv2D(filters, 3, padding="same")(x)))
            x = k.Conv2D(int(channels), 3, padding="same")(x)
            x = k.Cropping2D(((0, 4 * small[0] - int(height)), (0, 4 * small[1] - int(width))))(x)
            x = k.Permute((3, 1, 2))(x) if form.channels_first else x
        else:
            x = noise
            for _ in range(2):
                x = k.LeakyReLU(0.2)(k.BatchNormalization()(k.Dense(256)(x)))
            x = k.Reshape(form.shape)(k.Dense(int(np.prod(form.shape)))(x))
        x = k.BatchNormalization(center=form.low is not None, scale=form.low is not None)(x)
        if form.low is not None and form.high is not None:
            x = k.Lambda(_within(form.low, form.high))(x)
        made[name] = x
    return keras.Model(noise, made)


def _within(low: NDArray[Any], high: NDArray[Any]) -> Callable[[Any], Any]:
    """What brings numbers into a range."""
    sigmoid = require("keras", "tensorflow").ops.sigmoid
    return lambda x: low + (high - low) * sigmoid(x)


def _student(forms: Mapping[str, Form], outputs: int) -> Any:
    """A small model from examples to as many numbers as the scored output has."""
    keras = require("keras", "tensorflow")
    k = keras.layers
    inputs = {name: keras.Input(form.shape, name=f"input_{i}") for i, (name, form) in enumerate(forms.items())}
    parts = []
    for name, form in forms.items():
        x = inputs[name]
        if len(form.shape) == 3:
            x = k.Permute((2, 3, 1))(x) if form.channels_first else x
            for filters in (16, 32):
                x = k.ReLU()(k.BatchNormalization()(k.Conv2D(filters, 3, strides=2, padding="same")(x)))
            x = k.AveragePooling2D(2, padding="same")(x)
        parts.append(k.Flatten()(x) if len(x.shape) > 1 else x)
    x = k.Concatenate()(parts) if len(parts) > 1 else parts[0]
    return keras.Model(inputs, k.Dense(outputs)(k.Dense(64, activation="relu")(x)))

"""Inputs whose statistics at batch normalizations are those that the model has stored in training.

Each batch begins as noise and is optimized by Adam: "The knowledge within" (Haroush 2020), ZeroQ (Cai 2020). Where the
scored output holds classes, each example is also pulled to a class, all classes alike often, so that a batch holds what
the model distinguishes ("Dreaming to distill", Yin 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.sandbox.task import Report
from deploykit.training.synthesis.losses import distance, logits
from deploykit.training.synthesis.ranges import Form
from deploykit.training.synthesis.subject import Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Step of Adam as a share of the range of values.
_RATE = 0.05
#: Weight of the classes beside the statistics.
_CLASSES = 0.1
#: Most examples of a batch and most numbers in it.
_MOST, _NUMBERS, _FEWEST = 128, 4 << 20, 16


def made(
    subject: Subject, forms: Mapping[str, Form], *, count: int, steps: int, seed: int, report: Report
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Optimize inputs. The same seed gives the same inputs.

    Args:
        subject: The model.
        forms: What is made, by the names of inputs.
        count: Examples.
        steps: Steps of Adam for each batch.
        seed: Of the noise and the classes.
        report: Called with the progress in steps.

    Returns:
        Examples by input, and how far their statistics are from the stored ones.

    Raises:
        UnsupportedModelError: The model has no statistics.
    """
    import numpy as np

    keras, tf = require("keras", "tensorflow"), require("tensorflow", "tensorflow")
    if not subject.statistics:
        raise UnsupportedModelError(
            "The model has no batch normalization whose statistics could be matched: it has none, or a conversion "
            "has folded it into the layer before, as exports to ONNX do.",
            remedy='use method="generator" (--synthesize generator), or load the Keras file that it was made from.',
        )
    random = np.random.default_rng(seed)
    size = batch_size(subject, forms, count)
    variables = {n: tf.Variable(tf.zeros((size, *f.shape))) for n, f in forms.items()}
    taught = tf.Variable(tf.zeros(size, tf.int32))
    rate = tf.Variable(0.0)
    adam = keras.optimizers.Adam(1.0, beta_1=0.9, beta_2=0.99)
    adam.build(list(variables.values()))
    classes = _classes(subject, variables)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def step() -> Any:
        with tf.GradientTape() as tape:
            outputs, taken = subject(variables)
            apart = distance(taken, subject.statistics)
            loss = apart
            if classes:
                scores = logits(outputs[subject.scored], subject.contract.scored)
                loss += _CLASSES * tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(labels=taught, logits=scores)
                )
        gradients = tape.gradient(loss, list(variables.values()))
        adam.learning_rate.assign(rate)
        adam.apply([g * f.spread for g, f in zip(gradients, forms.values(), strict=True)], list(variables.values()))
        for name, form in forms.items():
            if form.low is not None:
                low, high = tf.constant(form.low, tf.float32), tf.constant(form.high, tf.float32)
                variables[name].assign(tf.clip_by_value(variables[name], low, high))
        return apart

    batches = -(-count // size)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in forms}
    distances, width = [], min(form.spread for form in forms.values())
    for batch in range(batches):
        for variable in adam.variables:
            variable.assign(tf.zeros_like(variable))
        for name, form in forms.items():
            variables[name].assign(form.noise(random, size))
        if classes:
            taught.assign(random.permutation(np.arange(size) % classes).astype(np.int32))
        last = 0.0
        for number in range(steps):
            rate.assign(_RATE * width * (0.5 + 0.5 * np.cos(np.pi * number / steps)) + 1e-3 * width)
            last = float(step())
            done = batch * steps + number + 1
            report(done, batches * steps, f"batch {batch + 1} of {batches}")
        distances.append(last)
        for name, variable in variables.items():
            parts[name].append(variable.numpy())
    found = {name: np.concatenate(arrays)[:count] for name, arrays in parts.items()}
    notes = {"normalizations": len(subject.statistics), "distance": float(np.mean(distances))}
    return found, notes | ({"classes": classes} if classes else {})


def batch_size(subject: Subject, forms: Mapping[str, Form], count: int) -> int:
    """Examples of a batch: what the model takes, else as many as memory easily holds."""
    import numpy as np

    numbers = sum(int(np.prod(form.shape)) for form in forms.values())
    return subject.feeding.batch_size or min(count, max(_FEWEST, min(_MOST, _NUMBERS // max(1, numbers))))


def _classes(subject: Subject, examples: Mapping[str, Any]) -> int:
    """Number of classes of the scored output, 0 when it holds none."""
    outputs, _ = subject({name: tensor.value() for name, tensor in examples.items()})
    found = logits(outputs[subject.scored], subject.contract.scored)
    return 0 if found is None else int(found.shape[1])

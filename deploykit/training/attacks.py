"""Examples that the original model answers wrong, made by its gradients: they are tried on what was made of it.

Source: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks" (ICLR 2018,
https://arxiv.org/abs/1706.06083): projected gradient descent (PGD) from a random start, within L∞.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.converters._contract import Job
from deploykit.core.contract import Contract
from deploykit.core.errors import DeploykitError
from deploykit.core.extras import require
from deploykit.data.dataset import Dataset
from deploykit.measuring.attacks import Aim
from deploykit.sandbox.task import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Steps, and how far they go together, in largest changes.
STEPS, _REACH = 20, 2.5
#: Smallest probability whose logarithm is taken: a saturated softmax still has a slope down to it.
_LEAST = 1e-37
_AT_ONCE = 256


def transfer(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: make examples against the original.

    Args:
        arguments: ``path format imports trusted`` of the original, ``data``, ``contract``: plain `Contract`; ``count
            strength seed`` of `Aim.of`; ``target``: the ``.npy`` file to write.
        report: Progress in steps.

    Returns:
        ``made``: whether there are gradients: the original is a Keras or ONNX model that can be trained; ``why`` not.
    """
    import numpy as np

    data, contract = Dataset.open(Path(arguments["data"])), Contract.from_json(arguments["contract"])
    aim = Aim.of(data, contract, arguments["count"], arguments["strength"], arguments["seed"])
    path = Path(arguments["path"])
    job = Job(path, path, arguments["format"], tuple(arguments["imports"]), bool(arguments["trusted"]))
    try:
        scores = _differentiable(job, data, contract, aim)
        made = pgd(scores, aim, arguments["seed"], report, probabilities=contract.scored.kind == "probabilities")
    except DeploykitError as error:  # no gradients: the other attack remains
        return {"made": False, "why": error.message}
    np.save(arguments["target"], made, allow_pickle=False)
    return {"made": True, "why": ""}


def _differentiable(job: Job, data: Dataset, contract: Contract, aim: Aim) -> Callable[[Any], Any]:
    """Scores of the original for a tensor of its input."""
    tf = require("tensorflow", "tensorflow")
    feeds = {aim.name: aim.examples[:1]}
    if job.source_format == "onnx":
        from deploykit.training.onnx.trainer import OnnxTrainer

        trainer = OnnxTrainer(require("onnx").load(str(job.source)), job.source, data)
        place, given = trainer.place(contract.scored.name), trainer.feeding.arrange(feeds)
        return lambda x: trainer(_filled(tf, given, x))[place]
    from deploykit.converters import _keras
    from deploykit.loading._keras.open import graph_of
    from deploykit.training.keras_ends import feeding

    model = _keras.load(job)
    places, keras = _keras.exportable(model).outputs, require("keras", "tensorflow")
    place = places.get(contract.scored.name, next(iter(places.values())))
    given, structure = feeding(model, contract).arrange(feeds), graph_of(model)._inputs_struct

    def scores(x: Any) -> Any:
        inputs = keras.tree.pack_sequence_as(structure, _filled(tf, given, x))
        return keras.tree.flatten(model(inputs, training=False))[place]

    return scores


def _filled(tf: Any, given: Sequence[NDArray[Any]], x: Any) -> list[Any]:
    """The model's inputs: that which is attacked, which is the only one, in its dtype."""
    return [tf.cast(tf.reshape(x, (-1, *array.shape[1:])), array.dtype) for array in given]


def pgd(scores: Callable[[Any], Any], aim: Aim, seed: int, report: Report, *, probabilities: bool) -> NDArray[Any]:
    """Examples near those of the aim that have another class by these scores, as far as 20 steps find such.

    Args:
        scores: Differentiable scores of a tensor of examples.
        aim: What is attacked.
        seed: Of the random start.
        report: Progress in steps.
        probabilities: Whether the scores are probabilities.
    """
    import numpy as np

    tf = require("tensorflow", "tensorflow")
    low = np.maximum(aim.examples - aim.epsilon, aim.low).astype(np.float32)
    high = np.minimum(aim.examples + aim.epsilon, aim.high).astype(np.float32)
    rng = np.random.default_rng([seed, 1])
    now = np.clip(aim.examples + rng.uniform(-aim.epsilon, aim.epsilon, aim.examples.shape), low, high)
    found = now.astype(np.float32)
    for step in range(STEPS):
        report(step, STEPS, "steps")
        for start in range(0, len(found), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            labels = aim.labels[part]
            x = tf.constant(found[part])
            with tf.GradientTape() as tape:
                tape.watch(x)
                given = tf.cast(scores(x), tf.float32)
                logs = tf.math.log(tf.maximum(given, _LEAST)) if probabilities else given
                own = tf.gather(logs, labels, batch_dims=1)
                others = tf.reduce_max(tf.where(tf.one_hot(labels, logs.shape[-1]) > 0, -np.inf, logs), 1)
                gain = tf.reduce_sum(others - own)
            slope = np.sign(tape.gradient(gain, x).numpy())
            moved = found[part] + _REACH * aim.epsilon / STEPS * slope
            found[part] = np.clip(moved, low[part], high[part])
    return found.astype(aim.examples.dtype)

"""Task functions that train with the rounding of int8, by deploykit and by TF-MOT alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.converters import _keras
from deploykit.data.dataset import Dataset
from deploykit.sandbox.task import Report
from deploykit.testing import architectures
from deploykit.training.objective import Objective
from deploykit.training.qat.kept import Kept
from deploykit.training.qat.model import QuantizedModel
from deploykit.training.schedule import Schedule
from deploykit.training.targets import Labels, Several

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOSS = Objective("SparseCategoricalCrossentropy", from_logits=True)


def beside_tfmot(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: train a model of two convolutions with rounding, and the same with TF-MOT alone.

    ``zeros``: whether a third of the weights are zero, which TF-MOT's scheme for pruned models keeps.

    Returns:
        Largest differences of answers before training, and of kernels after it, by how much they have moved; the
        share of zeros.
    """
    import numpy as np

    del report
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    images = rng.random((120, 8, 8, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[:, label * 3 : label * 3 + 2] += 1.0
    data = Dataset.from_arrays(images, labels)
    schedule = Schedule.of(data, examples=0, batch_size=8, epochs=2, learning_rate=1e-2, seed=0)
    keras_model, theirs = _pair(zeros=arguments["zeros"])
    before = [w.numpy() for w in keras_model.trainable_variables]
    first = data.batch("train", schedule.examples[:16])
    ours = QuantizedModel.of(keras_model, data, first, keeps=(arguments["zeros"], False))
    ours.calibrate([first])
    _take_ranges(ours, theirs)
    tensors = ours.inputs(first)
    answers = float(np.abs(ours(tensors, training=False)[0] - theirs(tensors[0], training=False)).max())
    objective = Several({0: Labels(_LOSS, _labels(data))})
    ours.train(schedule, objective, report=lambda *_: None, patience=2)
    _train(theirs, data, schedule)
    kernels = [kernel.variable.numpy() for kernel in ours.parts.kernels]
    found = [w.numpy() for w in theirs.trainable_variables if len(w.shape) > 1]
    pairs = list(zip(kernels, found, (b for b in before if b.ndim > 1), strict=True))
    return {
        "answers": answers,
        "difference": max(float(np.abs(a - b * (start != 0)).max()) for a, b, start in pairs),
        "moved": min(float(np.abs(a - start).max()) for a, _, start in pairs),
        "zeros": float(np.mean(np.concatenate([a.ravel() for a in kernels]) == 0)),
    }


def project(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: put ``moved`` back onto what the kernel ``rows`` has: its zeros, and with ``values`` its shared values."""
    import numpy as np
    import tensorflow as tf

    del report
    kept = Kept.of(np.array(arguments["rows"], np.float32), values=arguments["values"])
    assert kept is not None
    moved = tf.constant(arguments["moved"], tf.float32)
    found, gradient = kept.project(moved).numpy(), kept.gradient(moved).numpy()
    return {
        "found": found.tolist(),
        "gradient": gradient.tolist(),
        "shared": kept.shared,
        "by_channel": kept.by_channel,
    }


def silence(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: save the architecture ``name`` at ``path`` with nothing but zeros in what the layer ``layer`` gives."""
    import numpy as np

    del report
    model = architectures.build(arguments["name"])
    layer = model.get_layer(arguments["layer"])
    layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    _keras.save(model, Path(arguments["path"]))
    return {}


def _labels(data: Dataset) -> NDArray[Any]:
    labels = data.labels("train")
    assert labels is not None
    return labels


def _pair(*, zeros: bool) -> tuple[Any, Any]:
    """The same model in Keras 3, and in tf_keras as TF-MOT prepares it."""
    import keras
    import numpy as np
    import tensorflow_model_optimization as tfmot
    import tf_keras

    keras.utils.set_random_seed(0)
    tf_keras.backend.clear_session()  # TF-MOT counts its layers
    made = []
    for library in (keras, tf_keras):
        layers, image = library.layers, library.Input((8, 8, 1), name="image")
        x = layers.Conv2D(6, 3, activation="relu", name="conv2d")(image)
        x = layers.Conv2D(3, 3, name="scores")(x)
        made.append(library.Model(image, layers.GlobalAveragePooling2D(name="mean")(x)))
    weights = made[0].get_weights()
    if zeros:
        weights = [w * (np.abs(w) > np.quantile(np.abs(w), 1 / 3)) if w.ndim > 1 else w for w in weights]
    for model in made:
        model.set_weights(weights)
    quantize = tfmot.quantization.keras
    if not zeros:
        return made[0], quantize.quantize_model(made[1])
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    annotated = quantize.quantize_annotate_model(made[1])
    return made[0], quantize.quantize_apply(annotated, scheme)


def _take_ranges(ours: QuantizedModel, theirs: Any) -> None:
    """Give TF-MOT's model the first ranges of deploykit's."""
    known = [v for _, _, variables in ours._ranges() for v in (variables["min_var"], variables["max_var"])]
    known += [v for k in ours.parts.kernels for _, _, vs in k.wrapper._weight_vars for v in vs.values()]
    values = {_place(v.name): v for v in known}
    for variable in theirs.weights:
        if variable.name.endswith(("_min:0", "_max:0")):
            variable.assign(values[_place(variable.name)])


def _place(name: str) -> tuple[str, str]:
    """Which range a variable is of: its layer and its own name, by whichever name of its wrapper."""
    wrapper, _, own = name.partition("/")
    entry = "quantize_layer" in wrapper or wrapper.endswith(">image")
    layer = "image" if entry else wrapper.removeprefix("quant_").rpartition(">")[2]
    return layer, own.rpartition("_")[2] if entry else own


def _train(model: Any, data: Dataset, schedule: Schedule) -> None:
    """Training by tf_keras alone, on the same batches with the same learning rates."""
    import itertools

    import numpy as np
    import tf_keras

    rate = tf_keras.optimizers.schedules.CosineDecay(**schedule.cosine())
    model.compile(tf_keras.optimizers.Adam(rate), _LOSS.of(tf_keras))
    labels = _labels(data)
    for index in itertools.islice(schedule.batches(), schedule.steps):
        (images,) = data.batch("train", index).values()
        model.train_on_batch(np.asarray(images), labels[index])

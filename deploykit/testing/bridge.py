"""Task functions that cross the bridge between Keras 3 and tf_keras with models made for it."""

from __future__ import annotations

from typing import Any

from deploykit.core.errors import CandidateError
from deploykit.sandbox.task import Report
from deploykit.testing import architectures
from deploykit.training.bridge import to_tf_keras


def there_and_back(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: carry the architecture ``name`` to tf_keras and back.

    Returns:
        Differences of the outputs: after bridging, with other weights in the copy, and after copying them back.
    """
    del report
    model = architectures.build(arguments["name"])
    made = to_tf_keras(model)
    feeds = architectures.examples(model, 8)
    before = made.difference(feeds)
    for pair in made.pairs:
        pair.twin.set_weights([w * 1.1 for w in pair.twin.get_weights()])
    moved = made.difference(feeds)
    made.copy_back()
    return {"before": before, "moved": moved, "after": made.difference(feeds)}


def refuse_setting(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: bridge a layer with a setting its counterpart lacks."""
    import keras

    del arguments, report
    features = keras.Input((4,), name="features")
    layer = keras.layers.LayerNormalization(rms_scaling=True, name="scaled")
    to_tf_keras(keras.Model(features, layer(features)))
    return {}


def refuse_subclass(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: bridge a subclassed model."""
    import numpy as np

    del arguments, report
    model = architectures.subclassed()
    model(np.ones((1, 4), np.float32))
    to_tf_keras(model)
    return {}


def notice_difference(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: move all logits of the copy by one, which softmax hides, and check it.

    Returns:
        The message of the check, and the difference of the probabilities.
    """
    import numpy as np

    del arguments, report
    model = architectures.build("wide_cnn")
    feeds = architectures.examples(model, 8)
    made = to_tf_keras(model)
    last = made.pairs[-1].twin
    kernel, bias = last.get_weights()
    last.set_weights([kernel, bias + 1.0])
    ours = np.asarray(model(feeds["image"], training=False))
    theirs = np.asarray(made.model(feeds["image"], training=False))
    try:
        made.check(feeds)
    except CandidateError as error:
        return {"message": error.message, "hidden": float(np.abs(ours - theirs).max())}
    return {"message": "", "hidden": 0.0}


def keep_switches(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: bridge a frozen layer, dropout that always runs, and augmentation.

    Returns:
        Whether the frozen layer can be trained, and which of the random layers run outside training.
    """
    import keras
    import numpy as np

    del arguments, report
    image = keras.Input((8, 8, 1), name="image")
    flipped = keras.layers.RandomFlip(name="flip")(image)
    frozen = keras.layers.Conv2D(2, 3, name="frozen", trainable=False)(image)
    dropped = keras.layers.Dropout(0.5, name="drop")(image, training=True)
    made = to_tf_keras(keras.Model(image, [flipped, frozen, dropped]))
    examples = np.random.default_rng(0).normal(0.0, 1.0, (16, 8, 8, 1)).astype(np.float32)
    augmented, _, thinned = (np.asarray(v) for v in made.model(examples, training=False))
    trainable = {pair.keras.name: pair.twin.trainable for pair in made.pairs}
    return {
        "trainable": trainable["frozen"],
        "dropout_runs": bool((thinned == 0).any()),
        "augmentation_runs": bool(np.abs(augmented - examples).max() > 0),
    }

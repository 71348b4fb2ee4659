"""Runs in a child process: tf.data datasets of every form, read by `Dataset.from_tf`."""

import numpy as np

from deploykit.data.dataset import Dataset


def read(arguments, report):
    import tensorflow as tf

    x = np.arange(60 * 12, dtype=np.float32).reshape(60, 4, 3)
    y = np.arange(60) % 3
    pairs = tf.data.Dataset.from_tensor_slices((x, y))
    hot = tf.data.Dataset.from_tensor_slices((x, np.eye(3, dtype=np.float32)[y]))
    options = {}
    match arguments["form"]:
        case "single":
            data = pairs
        case "batched":
            data = pairs.batch(7)
        case "full_batches":
            data = pairs.batch(20, drop_remainder=True)
        case "one_hot":
            data = hot
        case "one_hot_batched":
            data = hot.batch(7)
        case "dictionary":
            data = tf.data.Dataset.from_tensor_slices(({"a": x, "b": x[:, 0, :2]}, y)).batch(16)
        case "unlabelled":
            data = tf.data.Dataset.from_tensor_slices(x)
        case "unlabelled_batched":
            data = tf.data.Dataset.from_tensor_slices(x).batch(8)
        case "text":
            data = tf.data.Dataset.from_tensor_slices(([f"wörd {i}" for i in range(60)], y))
        case "unlabelled_told":
            data, options = tf.data.Dataset.from_tensor_slices(x).batch(20, drop_remainder=True), {"batched": True}
        case "endless":
            data = pairs.repeat()
        case "empty":
            data = pairs.take(0)
        case "pair_of_inputs":
            data = tf.data.Dataset.from_tensor_slices(((x, x), y))
        case "ragged":
            data = tf.data.Dataset.from_tensor_slices((tf.ragged.constant([[1, 2], [3]] * 30), y))
    found = Dataset.from_tf(data, **options)
    inputs = found.splits["evaluation"].inputs
    labels = [s.labels for s in found.splits.values() if s.labels is not None]
    return {
        "count": len(found),
        "shapes": [list(v.shape[1:]) for v in inputs.values()],
        "labels": sorted({int(v) for part in labels for v in part}),
    }

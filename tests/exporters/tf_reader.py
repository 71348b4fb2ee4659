"""Runs in a child: TensorFlow's own reader checks the framing (length, checksums) and its protos read the tensors."""

from __future__ import annotations

from pathlib import Path


def read(arguments, report):
    """Records of a TFRecord file, hexadecimal."""
    import tensorflow as tf

    return {"records": [r.numpy().hex() for r in tf.data.TFRecordDataset(arguments["path"])]}


def tensor(arguments, report):
    """Values of a TensorProto."""
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    array = tf.make_ndarray(tensor_pb2.TensorProto.FromString(bytes.fromhex(arguments["proto"])))
    values = [v.decode() for v in array.ravel()] if array.dtype == object else array.ravel().tolist()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "values": values}


def writer(arguments, report):
    """A SavedModel (batch, 4) → (batch, 4) that leaves a mark in the file system when it runs."""
    import tensorflow as tf

    module = tf.Module()

    def call(features):
        with tf.control_dependencies([tf.io.write_file(arguments["mark"], "run")]):
            return {"same": tf.identity(features)}

    function = tf.function(call, input_signature=[tf.TensorSpec((None, 4), tf.float32, name="features")])
    tf.saved_model.save(module, arguments["path"], signatures=function)
    return {}


def counter(arguments, report):
    """A SavedModel x (batch, 2) → y = x + all that came before, words (batch, 1) → the same words."""
    import tensorflow as tf

    module = tf.Module()
    module.seen = tf.Variable(tf.zeros(2))

    def call(x, words):
        return {"y": x + module.seen.assign_add(tf.reduce_sum(x, axis=0)), "same": tf.identity(words)}

    signature = [tf.TensorSpec((None, 2), tf.float32, name="x"), tf.TensorSpec((None, 1), tf.string, name="words")]
    tf.saved_model.save(module, arguments["path"], signatures=tf.function(call, input_signature=signature))
    return {}


def frozen(arguments, report):
    """Answers of a frozen graph, run as TensorFlow 1 did: ``path``, ``feeds`` and ``fetches`` by name."""
    import numpy as np
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef.FromString(Path(arguments["path"]).read_bytes())
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        feeds = {f"{name}:0": np.asarray(value, np.float32) for name, value in arguments["feeds"].items()}
        found = session.run([f"{name}:0" for name in arguments["fetches"]], feeds)
    kinds = sorted({node.op for node in graph_def.node})
    return {"answers": [value.tolist() for value in found], "operators": kinds}

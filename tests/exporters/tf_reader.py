"""Runs in a child: TensorFlow's own reader checks the framing (length, checksums) and its protos read the tensors."""

from __future__ import annotations


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

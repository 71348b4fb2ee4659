"""Writes models that no technique was written for: small ones of Keras, and graphs as other exporters write them.

``python architectures.py FOLDER``: for each a model file, and its examples with the model's own answers as labels in
an ``.npz``. Weights are random and seeded; nothing is downloaded.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

_EXAMPLES, _CLASSES = 160, 4


# -- Keras ------------------------------------------------------------------------------------------------------------


def resnet():
    """Residual blocks of ResNet50V2 with few channels: preactivation, bottlenecks, strided shortcuts."""
    from keras.src.applications.resnet import ResNet, stack_residual_blocks_v2

    def stacks(x):
        x = stack_residual_blocks_v2(x, 8, 2, name="conv2")
        return stack_residual_blocks_v2(x, 16, 2, name="conv3")

    return ResNet(
        stacks, preact=True, use_bias=True, weights=None, input_shape=(32, 32, 3), classes=_CLASSES, name="resnet",
        weights_name="",
    )  # fmt: skip


def mobilenet():
    """Depthwise convolutions, squeeze and excitation, hard swish."""
    return keras.applications.MobileNetV3Small(
        input_shape=(32, 32, 3), alpha=0.25, minimalistic=False, weights=None, classes=_CLASSES,
        include_preprocessing=False,
    )  # fmt: skip


def convnext():
    """Depthwise 7 by 7, LayerNormalization, layer scale."""
    from keras.src.applications.convnext import ConvNeXt

    return ConvNeXt(
        depths=[1, 1, 2, 1], projection_dims=[8, 12, 16, 24], weights=None, input_shape=(32, 32, 3), classes=_CLASSES,
        include_preprocessing=False, name="convnext",
    )  # fmt: skip


def transformer():
    """A vision transformer: patches by a convolution, two blocks of self attention."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(24, 4, strides=4, name="patches")(image)
    x = layers.Reshape((16, 24), name="tokens")(x)
    for block in range(2):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{block}_1")(x)
        y = layers.MultiHeadAttention(4, 6, name=f"attention_{block}")(y, y)
        x = layers.Add(name=f"add_{block}_1")([x, y])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{block}_2")(x)
        y = layers.Dense(48, activation="gelu", name=f"expand_{block}")(y)
        y = layers.Dense(24, name=f"project_{block}")(y)
        x = layers.Add(name=f"add_{block}_2")([x, y])
    x = layers.GlobalAveragePooling1D(name="mean")(layers.LayerNormalization(epsilon=1e-6, name="last_norm")(x))
    return keras.Model(image, layers.Dense(_CLASSES, activation="softmax", name="class")(x), name="transformer")


def two_ends():
    """Two inputs, two outputs, a layer that both branches share."""
    left, right = keras.Input((12, 12, 2), name="left"), keras.Input((12, 12, 2), name="right")
    shared = layers.Conv2D(8, 3, padding="same", activation="relu", name="shared")
    both = layers.Concatenate(name="both")([shared(left), shared(right)])
    x = layers.Conv2D(12, 3, activation="relu", name="mixed")(both)
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    label = layers.Dense(_CLASSES, activation="softmax", name="class")(x)
    value = layers.Dense(3, name="value")(layers.Dense(6, activation="tanh", name="hidden")(x))
    return keras.Model([left, right], [label, value], name="two_ends")


def nested():
    """A model in a model, which is called twice."""
    entry = keras.Input((10, 10, 4), name="entry")
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv")(entry)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    inner = keras.Model(entry, layers.Add(name="add")([entry, x]), name="inner")
    image = keras.Input((10, 10, 4), name="image")
    x = layers.Flatten(name="flat")(inner(inner(image)))
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    return keras.Model(image, layers.Dense(_CLASSES, activation="softmax", name="class")(x), name="nested")


# -- ONNX as others write it ------------------------------------------------------------------------------------------


class _Graph:
    """Writes nodes one after another, named as PyTorch's exporter does."""

    def __init__(self):
        self.rng, self.nodes, self.weights = np.random.default_rng(5), [], []

    def weight(self, name, *shape, scale=None):
        from onnx import numpy_helper

        values = self.rng.normal(0, scale or (2 / np.prod(shape[1:] or shape)) ** 0.5, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def whole(self, name, *values):
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def add(self, operator, inputs, name, **attributes):
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [f"{name}_output_0"], name, **attributes))
        return f"{name}_output_0"

    def model(self, shape, output, opset):
        from onnx import TensorProto, checker, helper

        self.nodes[-1].output[0] = output
        graph = helper.make_graph(
            self.nodes,
            "main_graph",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", _CLASSES])],
            self.weights,
        )
        made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])
        checker.check_model(made, full_check=True)
        return made


def grouped(opset=13):
    """Channels first: a ResNeXt block with grouped convolutions, and Gemm with a transposed weight."""
    graph = _Graph()

    def conv(x, name, given, made, size, **more):
        weights = [graph.weight(f"{name}.weight", made, given // more.get("group", 1), size, size)]
        weights.append(graph.weight(f"{name}.bias", made, scale=0.1))
        return graph.add("Conv", [x, *weights], f"/{name}/Conv", kernel_shape=[size] * 2, pads=[size // 2] * 4, **more)

    x = graph.add("Relu", [conv("input", "stem", 3, 16, 3, strides=[2, 2])], "/stem/Relu")
    y = graph.add("Relu", [conv(x, "block.conv1", 16, 16, 1)], "/block/Relu")
    y = graph.add("Relu", [conv(y, "block.conv2", 16, 16, 3, group=4)], "/block/Relu_1")
    x = graph.add("Add", [conv(y, "block.conv3", 16, 16, 1), x], "/block/Add")
    x = graph.add("Relu", [x], "/block/Relu_2")
    x = graph.add("GlobalAveragePool", [x], "/pool/GlobalAveragePool")
    x = graph.add("Flatten", [x], "/Flatten", axis=1)
    weights = [graph.weight("fc.weight", _CLASSES, 16, scale=1.0), graph.weight("fc.bias", _CLASSES, scale=0.1)]
    graph.add("Gemm", [x, *weights], "/fc/Gemm", transB=1)
    return graph.model((3, 16, 16), "logits", opset)


def attention(opset=17):
    """Self attention as PyTorch's exporter decomposes it: one product for query, key and value, Split, LayerNorm."""
    graph, size, heads = _Graph(), 24, 4

    def linear(x, name, given, made):
        x = graph.add("MatMul", [x, graph.weight(f"onnx::MatMul_{name}", given, made)], f"/{name}/MatMul")
        return graph.add("Add", [graph.weight(f"{name}.bias", made, scale=0.1), x], f"/{name}/Add")

    def norm(x, name):
        weights = [graph.weight(f"{name}.weight", size, scale=1.0), graph.weight(f"{name}.bias", size, scale=0.1)]
        return graph.add("LayerNormalization", [x, *weights], f"/{name}/LayerNormalization", axis=-1, epsilon=1e-5)

    shape = graph.whole("heads", 0, 0, heads, size // heads)
    x = linear("input", "embed", 6, size)
    y = linear(norm(x, "norm1"), "qkv", size, 3 * size)
    from onnx import helper

    parts = [f"/Split_output_{i}" for i in range(3)]
    graph.nodes.append(
        helper.make_node("Split", [y, graph.whole("sizes", size, size, size)], parts, "/Split", axis=-1)
    )  # fmt: skip
    q, k, v = (
        graph.add("Transpose", [graph.add("Reshape", [part, shape], f"/Reshape_{i}")], f"/Transpose_{i}", perm=perm)
        for i, (part, perm) in enumerate(zip(parts, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True))
    )
    scores = graph.add("Mul", [graph.add("MatMul", [q, k], "/MatMul"), graph.weight("scale", 1, scale=0.4)], "/Mul")
    y = graph.add("MatMul", [graph.add("Softmax", [scores], "/Softmax", axis=-1), v], "/MatMul_1")
    y = graph.add("Transpose", [y], "/Transpose_3", perm=[0, 2, 1, 3])
    y = graph.add("Reshape", [y, graph.whole("joined", 0, 0, size)], "/Reshape_3")
    x = graph.add("Add", [x, linear(y, "proj", size, size)], "/Add")
    y = graph.add("Relu", [linear(norm(x, "norm2"), "fc1", size, 48)], "/Relu")
    x = graph.add("Add", [x, linear(y, "fc2", 48, size)], "/Add_1")
    x = graph.add("ReduceMean", [x], "/ReduceMean", axes=[1], keepdims=0)
    linear(x, "head", size, _CLASSES)
    return graph.model((9, 6), "logits", opset)


KERAS = (resnet, mobilenet, convnext, transformer, two_ends, nested)
#: Name → builder.
ONNX = {
    "grouped_13": lambda: grouped(13), "grouped_18": lambda: grouped(18), "grouped_21": lambda: grouped(21),
    "attention_17": lambda: attention(17),
}  # fmt: skip


def _randomized(model):
    """Statistics of BatchNorms and shifts as training leaves them, not ones and zeros."""
    rng = np.random.default_rng(2)
    for weight in model.weights:
        if weight.path.rpartition("/")[2] in ("moving_mean", "beta", "bias"):
            weight.assign(rng.normal(0, 0.1, weight.shape))
        elif weight.path.rpartition("/")[2] in ("moving_variance", "gamma"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def _write(folder):
    rng, found = np.random.default_rng(3), {}
    for make in KERAS:
        keras.utils.set_random_seed(0)
        model = _randomized(make())
        feeds = {t.name: rng.normal(0, 1, (_EXAMPLES, *t.shape[1:])).astype(np.float32) for t in model.inputs}
        answers = model.predict(list(feeds.values()), verbose=0)
        scores = answers[0] if isinstance(answers, list) else answers
        model.save(folder / f"{make.__name__}.keras")
        np.savez(folder / f"{make.__name__}.npz", y=scores.argmax(-1), **feeds)
        found[make.__name__] = f"{make.__name__}.keras"
    import onnx
    import onnxruntime

    for name, make in ONNX.items():
        onnx.save(make(), folder / f"{name}.onnx")
        session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"))
        x = rng.normal(0, 1, (_EXAMPLES, *session.get_inputs()[0].shape[1:])).astype(np.float32)
        np.savez(folder / f"{name}.npz", y=session.run(None, {"input": x})[0].argmax(-1), input=x)
        found[name] = f"{name}.onnx"
    return {"models": found, "keras": keras.__version__, "onnx": onnx.__version__}


if __name__ == "__main__":
    print(json.dumps(_write(Path(sys.argv[1]))))

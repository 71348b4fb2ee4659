"""Small ONNX graphs, one for each way to use an operator, and a task that runs them with two frameworks."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.normal(0, 0.5, shape).astype("f4")


def ints(*numbers):
    return np.array(numbers, "i8")


def node(operator, given, gives="y", **attributes):
    return helper.make_node(operator, given.split(), gives.split(), **attributes)


IMAGE = ("n", 4, 9, 10)
CONV = {"w": weights(6, 4, 3, 3), "b": weights(6)}
CHAIN = [
    node("Conv", "x w b", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    node("BatchNormalization", "c scale shift mean var", "n"),
    node("Relu", "n", "r"), node("MaxPool", "r", "m", kernel_shape=[2, 2], strides=[2, 2]),
]  # fmt: skip
NORMS = {"scale": weights(6), "shift": weights(6), "mean": weights(6), "var": weights(6) ** 2 + 0.5}

#: Name → nodes, shape of the input x (its first axis free), constants, operator set.
CASES = {
    "conv": ([node("Conv", "x w b")], IMAGE, CONV, 17),
    "conv with even padding": ([node("Conv", "x w b", pads=[1, 1, 1, 1], strides=[2, 2])], IMAGE, CONV, 17),
    "conv with uneven padding": ([node("Conv", "x w", pads=[0, 1, 2, 0], dilations=[2, 1])], IMAGE, CONV, 17),
    "conv as TensorFlow pads": ([node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 2])], IMAGE, CONV, 17),
    "conv padded in front": ([node("Conv", "x w", auto_pad="SAME_LOWER", strides=[2, 2])], IMAGE, CONV, 17),
    "conv in groups": ([node("Conv", "x w", group=2)], IMAGE, {"w": weights(6, 2, 3, 3)}, 17),
    "depthwise": ([node("Conv", "x w", group=4, pads=[1] * 4)], IMAGE, {"w": weights(4, 1, 3, 3)}, 17),
    "depthwise with two filters": ([node("Conv", "x w b", group=4)], IMAGE, {"w": weights(8, 1, 3, 3), "b": weights(8)},
                                   17),
    "depthwise with uneven steps": ([node("Conv", "x w", group=4, strides=[2, 1])], IMAGE, {"w": weights(4, 1, 3, 3)},
                                    17),
    "conv of sequences": ([node("Conv", "x w", pads=[1, 1])], ("n", 4, 9), {"w": weights(6, 4, 3)}, 17),
    "conv of volumes": ([node("Conv", "x w")], ("n", 4, 5, 6, 7), {"w": weights(6, 4, 2, 2, 2)}, 17),
    "transposed conv": ([node("ConvTranspose", "x w b", strides=[2, 2], pads=[1, 0, 0, 1], output_padding=[1, 1])],
                        IMAGE, {"w": weights(4, 3, 3, 3), "b": weights(3)}, 17),
    "transposed conv in groups": ([node("ConvTranspose", "x w", group=2)], IMAGE, {"w": weights(4, 3, 3, 3)}, 17),
    "pools": ([node("MaxPool", "x", "m", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
               node("AveragePool", "m", "y", kernel_shape=[2, 2])], IMAGE, {}, 17),
    "max pool to the end": ([node("MaxPool", "x", kernel_shape=[2, 3], strides=[2, 3], ceil_mode=1)], IMAGE, {}, 17),
    "average of what is there": ([node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 0, 1, 2])], IMAGE, {}, 17),
    "average of padding": ([node("AveragePool", "x", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)], IMAGE,
                           {}, 17),
    "average to the end": ([node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
                           IMAGE, {}, 19),
    "global pools": ([node("GlobalAveragePool", "x", "a"), node("GlobalMaxPool", "x", "m"), node("Sub", "a m")],
                     IMAGE, {}, 17),
    "PyTorch's classifier": ([*CHAIN, node("Flatten", "m", "f"), node("Gemm", "f g h", transB=1, alpha=0.5, beta=2.0)],
                             IMAGE, {**CONV, **NORMS, "g": weights(3, 120), "h": weights(3)}, 17),
    "PyTorch's view": ([*CHAIN, node("Shape", "m", "s"), node("Gather", "s zero", "batch", axis=0),
                        node("Unsqueeze", "batch first", "u"), node("Concat", "u rest", "t", axis=0),
                        node("Reshape", "m t")],
                       IMAGE, {**CONV, **NORMS, "zero": np.array(0), "first": ints(0), "rest": ints(-1)}, 17),
    "PyTorch's heads": ([node("Shape", "x", "s"), node("Gather", "s last", "width", axis=0),
                         node("Div", "width heads", "size"), node("Gather", "s zero", "batch", axis=0),
                         node("Unsqueeze", "batch first", "u"), node("Unsqueeze", "size first", "v"),
                         node("Concat", "u rest many v", "t", axis=0), node("Reshape", "x t")], ("n", 5, 12),
                        {"last": np.array(-1), "heads": np.array(4), "zero": np.array(0), "first": ints(0),
                         "rest": ints(5), "many": ints(4)}, 17),
    "means over the image": ([*CHAIN, node("ReduceMean", "m", axes=[2, 3], keepdims=0)], IMAGE, {**CONV, **NORMS}, 17),
    "sum over channels": ([*CHAIN, node("ReduceSum", "m a", keepdims=1)], IMAGE, {**CONV, **NORMS, "a": ints(1)}, 17),
    "reduction of an image": ([*CHAIN, node("ReduceMax", "m", axes=[3], keepdims=0)], IMAGE, {**CONV, **NORMS}, 17),
    "squeeze and excite": ([*CHAIN, node("GlobalAveragePool", "m", "p"), node("Conv", "p v", "q"),
                            node("HardSigmoid", "q", "h"), node("Mul", "m h")], IMAGE,
                           {**CONV, **NORMS, "v": weights(6, 6, 1, 1)}, 17),
    "constants beside images": ([*CHAIN, node("Mul", "m k", "p"), node("Add", "p v", "q"), node("Sub", "o q")], IMAGE,
                                {**CONV, **NORMS, "k": weights(6, 1, 1), "v": weights(5), "o": weights(1)}, 17),
    "joined and split": ([*CHAIN, node("Split", "m parts", "one two", axis=1), node("Sigmoid", "one", "three"),
                          node("Concat", "two three m", axis=1)], IMAGE, {**CONV, **NORMS, "parts": ints(2, 4)}, 17),
    "cut and padded": ([*CHAIN, node("Slice", "m from to axes steps", "s"), node("Pad", "s pads two")], IMAGE,
                       {**CONV, **NORMS, "from": ints(-1, 1), "to": ints(-100, 2**62), "axes": ints(1, 3),
                        "steps": ints(-2, 2), "pads": ints(0, 1, 0, 2, 0, 0, 1, 0), "two": np.float32(2)}, 17),
    "softmax over channels": ([*CHAIN, node("Softmax", "m", axis=1)], IMAGE, {**CONV, **NORMS}, 17),
    "softmax of old": ([node("Softmax", "x", axis=1)], IMAGE, {}, 11),
    "clip by inputs": ([node("Clip", "x low high")], IMAGE, {"low": np.float32(-0.5), "high": np.float32(0.3)}, 17),
    "clip by attributes": ([node("Clip", "x", min=0.0, max=6.0)], IMAGE, {}, 6),
    "clip from above": ([node("Clip", "x  high".replace("  ", " none "))], IMAGE, {"high": np.float32(0.3)}, 17),
    "nearest": ([node("Resize", "x none scales", mode="nearest", coordinate_transformation_mode="asymmetric",
                      nearest_mode="floor")], IMAGE, {"scales": np.array([1, 1, 2, 3], "f4")}, 17),
    "nearest to smaller": ([node("Resize", "x none none sizes", mode="nearest")], IMAGE, {"sizes": ints(2, 4, 5, 7)},
                           17),
    "bilinear": ([node("Resize", "x none scales", mode="linear")], IMAGE, {"scales": np.array([1, 1, 2, 2], "f4")}, 17),
    "bilinear by corners": ([node("Resize", "x none none sizes", mode="linear",
                                  coordinate_transformation_mode="align_corners")], IMAGE,
                            {"sizes": ints(2, 4, 5, 7)}, 17),
    "depth to space": ([node("DepthToSpace", "x", blocksize=2, mode="CRD")], ("n", 8, 3, 4), {}, 17),
    "matrix products": ([node("MatMul", "x a", "p"), node("MatMul", "p v")], ("n", 3, 4),
                        {"a": weights(4, 5), "v": weights(5)}, 17),
    "layer normalization": ([node("LayerNormalization", "x s b")], ("n", 3, 4), {"s": weights(4), "b": weights(4)}, 17),
    "instance normalization": ([node("InstanceNormalization", "x s b")], IMAGE, {"s": weights(4), "b": weights(4)}, 17),
    "group normalization": ([node("GroupNormalization", "x s b", num_groups=2)], IMAGE,
                            {"s": weights(4), "b": weights(4)}, 21),
    "local response": ([node("LRN", "x", size=3, alpha=0.1)], IMAGE, {}, 17),
    "GELU in pieces": ([node("Div", "x root", "d"), node("Erf", "d", "e"), node("Add", "e one", "g"),
                        node("Mul", "x g", "h"), node("Mul", "h half")], ("n", 7),
                       {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}, 17),
    "GELU": ([node("Gelu", "x", approximate="tanh")], ("n", 7), {}, 20),
    "activations": ([node("LeakyRelu", "x", "a", alpha=0.2), node("Elu", "a", "b", alpha=0.7), node("Selu", "b", "c"),
                     node("HardSwish", "c", "d"), node("Mish", "d", "e"), node("PRelu", "e s", "f"),
                     node("Celu", "f", alpha=0.4)], IMAGE, {"s": weights(4, 1, 1)}, 18),
    "powers": ([node("Pow", "x two", "p"), node("Add", "p one", "q"), node("Pow", "q k", "r"), node("Sqrt", "r", "s"),
                node("Reciprocal", "s")], ("n", 7), {"two": ints(2), "one": np.float32(1), "k": np.float32(1.5)}, 17),
    "choices": ([node("Greater", "x half", "g"), node("Where", "g x half", "w"), node("Max", "w x k")], ("n", 7),
                {"half": np.float32(0.5), "k": weights(7)}, 17),
    "expanded and tiled": ([node("Expand", "x shape", "e"), node("Tile", "e often")], ("n", 1, 7),
                           {"shape": ints(5, 1), "often": ints(1, 2, 1)}, 17),
    "axes that come and go": ([node("Unsqueeze", "x two", "u"), node("Transpose", "u", "t", perm=[0, 3, 2, 1]),
                               node("Squeeze", "t two", "s"), node("Flatten", "s")], ("n", 5, 7), {"two": ints(2)}, 17),
    "taken": ([node("Gather", "x places", axis=1)], ("n", 5, 7), {"places": ints(0, -1, 2)}, 17),
    "einsum": ([node("Einsum", "x w", equation="nij,jk->nik")], ("n", 5, 7), {"w": weights(7, 2)}, 17),
    "a constant node": ([helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(weights(7))),
                         node("Mul", "x k")], ("n", 7), {}, 17),
    "the input itself": ([node("Identity", "x")], ("n", 7), {}, 17),
    "largest": ([node("ArgMax", "x", "a", axis=1, keepdims=0), node("Cast", "a", to=TensorProto.FLOAT)], ("n", 5, 7),
                {}, 17),
    "as many channels as places": ([node("Conv", "x w b", "c", pads=[1, 1, 1, 1]), node("Flatten", "c")],
                                   ("n", 4, 6, 6), CONV, 17),
}  # fmt: skip


def made(name):
    """A case as a model."""
    nodes, shape, constants, version = CASES[name]
    for one in nodes:
        for place, given in enumerate(one.input):
            one.input[place] = "" if given == "none" else given
    tensors = [numpy_helper.from_array(np.asarray(array), key) for key, array in constants.items()]
    graph = helper.make_graph(
        nodes, "case", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)], tensors,
    )  # fmt: skip
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", version)])


def compare(arguments, report):
    """Task: the largest difference of every case, relative to its largest output; or the error."""
    import onnxruntime
    import tensorflow as tf

    from deploykit.converters._tensorflow_graph.write import Graph

    found = {}
    for name in CASES:
        try:
            found[name] = difference(name, Graph, onnxruntime, tf)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def difference(name, graph, onnxruntime, tf):
    model = made(name)
    shape = [2, *CASES[name][1][1:]]
    x = np.random.default_rng(1).normal(0, 1, shape).astype("f4")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": x})
    written = graph(model)
    spec = tf.TensorSpec([None, *shape[1:]], tf.float32)
    (got,) = tf.function(lambda x: written([x]), input_signature=[spec], autograph=False)(x)
    same = got.shape == wanted.shape
    return float(np.abs(got.numpy() - wanted).max() / np.abs(wanted).max()) if same else f"shape {got.shape}"

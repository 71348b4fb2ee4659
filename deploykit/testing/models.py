"""Tiny models to test with, one builder a kind.

Builders run in a child process of the group that `KINDS` names, so that the test process imports no framework::

    path = models.build("cnn_keras", folder)

Weights are random but seeded, and scaled so that outputs differ between inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from deploykit.core.adapter import Group
from deploykit.core.errors import unknown_name
from deploykit.testing import caffe, pmml
from deploykit.testing.detector import keras_detector, onnx_detector
from deploykit.testing.torch_models import save_program, save_script, torch_channels_last, torch_cnn, torch_two_inputs

Builder = Callable[[Path], None]

#: Examples of the image models: (batch, 8, 8, 1), three classes.
IMAGE_SHAPE = (8, 8, 1)
CLASSES = 3


def build(kind: str, folder: Path, *, imports: tuple[str, ...] = ()) -> Path:
    """Make a tiny model in a child process.

    Args:
        kind: A name in `KINDS`.
        folder: Existing folder to put it into.
        imports: Modules the child imports first.

    Returns:
        The file or folder that was made; its ending is the usual one of its format.
    """
    from deploykit.sandbox.supervisor import shared
    from deploykit.sandbox.task import Task

    if kind not in KINDS:
        raise unknown_name("tiny model", kind, KINDS)
    _, group, suffix = KINDS[kind]
    path = folder / f"{kind}{suffix}"
    arguments = {"kind": kind, "path": str(path)}
    shared().run(Task("deploykit.testing.models:make", arguments, group=group, imports=imports, name=f"making {kind}"))
    return path


def make(arguments: dict[str, Any], report: Any) -> dict[str, Any]:
    """Task: make the model called ``kind`` at ``path``."""
    del report
    KINDS[arguments["kind"]][0](Path(arguments["path"]))
    return {"path": arguments["path"]}


def keras_cnn() -> Any:
    """A functional Keras 3 CNN with the layer types a sweep must handle: (batch, 8, 8, 1) → three probabilities."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    image = keras.Input(IMAGE_SHAPE, name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = skip = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Add(name="add")([x, skip])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = layers.Dense(CLASSES, activation="softmax", name="class")(x)
    return _randomize(keras.Model(image, outputs, name="cnn"))


def keras_dense() -> Any:
    """A Sequential Keras 3 model: (batch, 4) → one number."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,), name="features"),
            keras.layers.Dense(8, activation="relu", name="hidden"),
            keras.layers.Dense(1, name="value"),
        ],
        name="dense",
    )
    return _randomize(model)


def keras_two_inputs() -> Any:
    """Two inputs, (batch, 4) and (batch, 6), and two outputs."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    left, right = keras.Input((4,), name="left"), keras.Input((6,), name="right")
    both = layers.Concatenate(name="both")([layers.Dense(5, name="left_dense")(left), right])
    score = layers.Dense(1, name="score")(both)
    label = layers.Dense(CLASSES, activation="softmax", name="label")(both)
    return _randomize(keras.Model([left, right], [score, label], name="two_inputs"))


def keras_nested() -> Any:
    """A functional model that holds a functional and a Sequential model."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inner_input = keras.Input(IMAGE_SHAPE, name="inner_image")
    inner = keras.Model(inner_input, layers.Conv2D(4, 3, name="inner_conv")(inner_input), name="backbone")
    head = keras.Sequential(
        [
            keras.Input((6, 6, 4), name="input_layer"),
            layers.Flatten(name="flatten"),
            layers.Dense(CLASSES, name="logits"),
        ],
        name="head",
    )
    image = keras.Input(IMAGE_SHAPE, name="image")
    return _randomize(keras.Model(image, head(inner(image)), name="nested"))


def keras_lambda() -> Any:
    """A model whose Lambda layer holds code."""
    import keras

    features = keras.Input((4,), name="features")
    return keras.Model(features, keras.layers.Lambda(lambda x: x * 2, name="double")(features), name="with_lambda")


def _randomize(model: Any) -> Any:
    import numpy as np

    rng = np.random.default_rng(0)
    for weight in model.weights:
        values = rng.normal(0.0, 0.6, weight.shape)
        weight.assign(np.abs(values) + 0.5 if weight.path.endswith("moving_variance") else values)
    return model


def _save(make_model: Callable[[], Any]) -> Builder:
    return lambda path: make_model().save(path)


def _saved_model(path: Path) -> None:
    keras_cnn().export(str(path), format="tf_saved_model", verbose=False)


def _frozen(make_model: Callable[[], Any]) -> Builder:
    def write(path: Path) -> None:
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        model = make_model()
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in model.inputs]
        function = tf.function(lambda *tensors: model(list(tensors)), input_signature=specs).get_concrete_function()
        graph = convert_variables_to_constants_v2(function).graph.as_graph_def(add_shapes=True)
        path.write_bytes(graph.SerializeToString(deterministic=True))

    return write


def _tflite(path: Path) -> None:
    import tensorflow as tf

    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(keras_cnn()).convert())


def _tflite_int8(path: Path) -> None:
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras_cnn())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([rng.random((1, *IMAGE_SHAPE), np.float32)] for _ in range(8))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())


def onnx_cnn() -> Any:
    """An ONNX graph, channels first: image (batch, 1, 8, 8) → Conv, Relu, pool, MatMul, Softmax → (batch, 3)."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.normal(0.0, 0.6, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "conv_w", "conv_b"], ["conv_out"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv_out"], ["relu_out"], "relu"),
        helper.make_node("GlobalAveragePool", ["relu_out"], ["pool_out"], "pool"),
        helper.make_node("Flatten", ["pool_out"], ["flat_out"], "flatten"),
        helper.make_node("MatMul", ["flat_out", "class_w"], ["class_out"], "class"),
        helper.make_node("Softmax", ["class_out"], ["probabilities"], "softmax", axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])],
        [weight("conv_w", 8, 1, 3, 3), weight("conv_b", 8), weight("class_w", 8, CLASSES)],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


def onnx_matmul() -> Any:
    """An ONNX graph: features (batch, 4) → MatMul, Relu, Gemm → value (batch, 1)."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"hidden_w": (4, 8), "value_w": (8, 1), "value_b": (1,)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.6, s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("MatMul", ["features", "hidden_w"], ["hidden_out"], "hidden"),
        helper.make_node("Relu", ["hidden_out"], ["relu_out"], "relu"),
        helper.make_node("Gemm", ["relu_out", "value_w", "value_b"], ["value"], "gemm"),
    ]
    graph = helper.make_graph(
        nodes,
        "matmul",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["batch", 1])],
        weights,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


def onnx_two_inputs() -> Any:
    """Two inputs, left (batch, 4) float32 and right (batch, 6) int64, and two outputs, score and label."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"score_w": (10, 1), "label_w": (10, CLASSES)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.6, s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Cast", ["right"], ["right_out"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Concat", ["left", "right_out"], ["both"], "both", axis=1),
        helper.make_node("MatMul", ["both", "score_w"], ["score"], "score_node"),
        helper.make_node("MatMul", ["both", "label_w"], ["label_out"], "label_node"),
        helper.make_node("Softmax", ["label_out"], ["label"], "softmax", axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "two_inputs",
        [
            helper.make_tensor_value_info("left", TensorProto.FLOAT, ["batch", 4]),
            helper.make_tensor_value_info("right", TensorProto.INT64, ["batch", 6]),
        ],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 1]),
            helper.make_tensor_value_info("label", TensorProto.FLOAT, ["batch", CLASSES]),
        ],
        weights,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


def onnx_log() -> Any:
    """The logarithm of (batch, 4): NaN and infinity for what has none."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Log", ["features"], ["logarithm"], "log")],
        "log",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logarithm", TensorProto.FLOAT, ["batch", 4])],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


def onnx_text() -> Any:
    """Text in, the same text out: (batch, 2)."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["words"], ["same"], "identity")],
        "text",
        [helper.make_tensor_value_info("words", TensorProto.STRING, ["batch", 2])],
        [helper.make_tensor_value_info("same", TensorProto.STRING, ["batch", 2])],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


def _onnx(make_model: Callable[[], Any], *, external: bool = False) -> Builder:
    def write(path: Path) -> None:
        import onnx

        if external:
            onnx.save(make_model(), path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
        else:
            onnx.save(make_model(), path)

    return write


#: Kind → builder, import group of the child, ending.
KINDS: dict[str, tuple[Builder, Group, str]] = {
    "cnn_keras": (_save(keras_cnn), "tensorflow", ".keras"),
    "dense_keras": (_save(keras_dense), "tensorflow", ".keras"),
    "two_inputs_keras": (_save(keras_two_inputs), "tensorflow", ".keras"),
    "nested_keras": (_save(keras_nested), "tensorflow", ".keras"),
    "lambda_keras": (_save(keras_lambda), "tensorflow", ".keras"),
    "cnn_h5": (_save(keras_cnn), "tensorflow", ".h5"),
    "cnn_saved_model": (_saved_model, "tensorflow", ""),
    "cnn_frozen_pb": (_frozen(keras_cnn), "tensorflow", ".pb"),
    "two_inputs_frozen_pb": (_frozen(keras_two_inputs), "tensorflow", ".pb"),
    "cnn_caffe": (caffe.cnn, "light", ".prototxt"),
    "dense_pmml": (pmml.network, "light", ".pmml"),
    "cnn_tflite": (_tflite, "tensorflow", ".tflite"),
    "cnn_int8_tflite": (_tflite_int8, "tensorflow", ".tflite"),
    "cnn_onnx": (_onnx(onnx_cnn), "light", ".onnx"),
    "matmul_onnx": (_onnx(onnx_matmul), "light", ".onnx"),
    "two_inputs_onnx": (_onnx(onnx_two_inputs), "light", ".onnx"),
    "log_onnx": (_onnx(onnx_log), "light", ".onnx"),
    "text_onnx": (_onnx(onnx_text), "light", ".onnx"),
    "detector_keras": (_save(keras_detector), "tensorflow", ".keras"),
    "detector_onnx": (_onnx(onnx_detector), "light", ".onnx"),
    "cnn_pytorch": (lambda path: save_program(torch_cnn(), path), "torch", ".pt2"),
    "channels_last_pytorch": (lambda path: save_program(torch_channels_last(), path), "torch", ".pt2"),
    "two_inputs_pytorch": (lambda path: save_program(torch_two_inputs(), path), "torch", ".pt2"),
    "script_pytorch": (lambda path: save_script(torch_cnn(), path), "torch", ".pt"),
    "cnn_external_onnx": (_onnx(onnx_cnn, external=True), "light", ".onnx"),
}


def cnn(formats: Collection[str]) -> str:
    """The kind of the small CNN in one of these formats, one that needs no TensorFlow if there is one.

    Formats of dense networks have one of those.

    Raises:
        SettingError: There is none: add a builder to `KINDS`, called ``cnn_`` and the format's name.
    """
    found = [kind for kind in KINDS if kind in {f"cnn_{name}" for name in formats}]
    found = found or [kind for kind in KINDS if kind in {f"dense_{name}" for name in formats}]
    if not found:
        raise unknown_name("tiny model", f"cnn_{min(formats, default='')}", KINDS)
    return min(found, key=lambda kind: KINDS[kind][1] != "light")

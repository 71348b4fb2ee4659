"""ONNX to SavedModel, and so to TFLite."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from deploykit.converters import _keras
from deploykit.converters._contract import Converter, Job
from deploykit.converters._tensorflow_graph.write import Graph
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.loading.onnx import signature

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OnnxToSavedModel(Converter):
    """Writes the graph as a TensorFlow function with the same signature."""

    name = "onnx_to_saved_model"
    label = "ONNX to SavedModel"
    help = "Writes a float ONNX graph as a TensorFlow function with the same inputs and outputs, operator by operator."
    extra = "tensorflow"
    requires = ("tensorflow", "onnx")
    group = "tensorflow"
    accepts = "onnx"
    produces = "saved_model"
    refuses = frozenset({"quantized"})

    def _convert(self, job: Job) -> None:
        onnx, tf = require("onnx", ""), require("tensorflow", "tensorflow")
        model = onnx.load(str(job.source))
        inputs, outputs = signature(model, job.source)
        weights = _Weights()
        graph = Graph(model, weights.kept)
        arguments = dict(zip(graph.inputs, _keras.argument_names(graph.inputs), strict=True))
        specs = []
        for spec in inputs:
            if spec.dtype == "string":
                raise UnsupportedModelError(
                    f"The input {spec.name!r} is text, which cannot be converted to TensorFlow.",
                    remedy="use ONNX Runtime for this model.",
                )
            specs.append(tf.TensorSpec(spec.shape, tf.dtypes.as_dtype(spec.dtype), name=arguments[spec.name]))

        def serve(*given: Any) -> dict[str, Any]:
            return dict(zip(graph.outputs, graph(given), strict=True))

        module = tf.Module()
        module.serve = tf.function(serve, input_signature=specs, autograph=False)
        made = module.serve.get_concrete_function()
        module.weights = list(weights.variables.values())
        tf.saved_model.save(module, str(job.target), signatures=made)
        job.named(arguments, {spec.name: spec.name for spec in outputs})


class _Weights:
    """Constants of the graph: matrices and kernels become variables, which a SavedModel lists as its weights."""

    def __init__(self) -> None:
        self.variables: dict[tuple[Any, ...], Any] = {}

    def kept(self, name: str, array: NDArray[Any]) -> Any:
        tf = require("tensorflow", "tensorflow")
        if array.ndim < 2 or array.dtype.kind != "f":
            return tf.constant(array)
        # Layers that read one kernel may want it arranged in different ways.
        key = (name, array.shape, hashlib.sha256(array.tobytes()).digest())
        if key not in self.variables:  # a function is traced twice, and must make its variables the first time
            with tf.init_scope():
                plain = _keras.argument_names([name])[0]
                self.variables[key] = tf.Variable(array, trainable=False, name=plain)
        return self.variables[key].read_value()


ADAPTER = OnnxToSavedModel()

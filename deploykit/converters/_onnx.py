"""SavedModel to ONNX through tf2onnx."""

from __future__ import annotations

import contextlib
import gc
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from deploykit.converters._keras import Names, signature_function, signature_names
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.loading._keras.ends import distinct
from deploykit.runtimes._writes import written_variables

#: High enough for per-channel quantization and LayerNormalization, low enough for every runtime in use.
OPSET = 17
_LIMIT_BYTES = 2_000_000_000
#: From here on copies of a graph take more memory than TensorFlow itself.
_LARGE_BYTES = 20_000_000


def write(saved_model: Path, target: Path, names: Names | None = None) -> Names:
    """Convert the serving signature of a SavedModel, keeping the names of inputs and outputs.

    Args:
        saved_model: The folder.
        target: The file to write.
        names: Inputs and outputs in the order wanted, by the names wanted; None: as the SavedModel calls them.

    Returns:
        Names wanted → names in the file: an output that has the name of an input gets another one, since tensors of a
        graph have names of their own.

    Raises:
        UnsupportedModelError: An operator has no counterpart in ONNX; names it.
    """
    loaded, signature = signature_function(saved_model)
    known = signature.structured_input_signature[1]
    names = names or signature_names(signature)
    if variables := written_variables(signature):
        raise UnsupportedModelError(
            f"The graph writes variables ({', '.join(v.name.partition(':')[0] for v in variables[:6])}), and an ONNX "
            "graph keeps nothing between calls.",
            remedy="use LiteRT or TensorFlow for this model, or turn its state into inputs and outputs.",
        )
    given = list(names.outputs.values())

    def call(fed: Mapping[str, Any]) -> list[Any]:
        found = signature(**fed)
        return [found[name] for name in given]

    written = write_function(call, known, target, names)
    del loaded  # it owns the variables
    return written


def write_function(
    call: Callable[[Mapping[str, Any]], list[Any]], known: Mapping[str, Any], target: Path, names: Names
) -> Names:
    """Convert a function of TensorFlow.

    Args:
        call: Takes tensors by the names of the inputs in TensorFlow; gives the outputs in order.
        known: Shapes and types of the inputs, by these names.
        target: The file to write.
        names: Inputs and outputs in order: names wanted → names in TensorFlow.

    Returns:
        As `write`.

    Raises:
        UnsupportedModelError: An operator has no counterpart in ONNX; names it.
    """
    convert = require("tf2onnx.convert", "tensorflow")
    graph, inputs, outputs, written = _frozen(call, known, names)
    try:
        with _copies_freed(graph.ByteSize()):
            model, _ = convert.from_graph_def(
                graph,
                name="deploykit",
                input_names=list(inputs),
                output_names=list(outputs),
                opset=OPSET,
                tensors_to_rename=inputs | outputs,
                custom_op_handlers={"Erfc": (_erfc, []), "Bucketize": (_bucketize, [])},
            )
    except MemoryError:
        raise
    except Exception as error:  # tf2onnx raises what its handlers raise
        raise _conversion_error(error) from error
    _finish(model, target)
    return written


def _finish(model: Any, target: Path) -> None:
    """Write what tf2onnx has made.

    Raises:
        UnsupportedModelError: An operator has no counterpart, or the model is too large for one file.
    """
    onnx = require("onnx", "tensorflow")
    _check_operators(model)
    _keep_zeros_before_pooling(model)
    _name_batch(model)
    if model.ByteSize() > _LIMIT_BYTES:
        raise UnsupportedModelError(
            f"The model makes {model.ByteSize() / 1e9:.1f} GB of ONNX; one file can hold at most 2 GB.",
            remedy="use the TensorFlow runtime for this model.",
        )
    onnx.save(model, str(target))


def write_tflite(tflite: Path, target: Path, names: Mapping[str, str]) -> None:
    """Convert a TFLite file; integers become pairs of QuantizeLinear and DequantizeLinear with the same numbers.

    Args:
        tflite: The file.
        target: The file to write.
        names: Tensors of the file that inputs and outputs are → names that they get.

    Raises:
        UnsupportedModelError: An operator has no counterpart in ONNX; names it.
    """
    convert = require("tf2onnx.convert", "tensorflow")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it reads constants with an interpreter that is on its way out
            model, _ = convert.from_tflite(str(tflite), opset=OPSET, custom_op_handlers={"TFL_GELU": (_gelu, [])})
    except MemoryError:
        raise
    except Exception as error:  # tf2onnx raises what its handlers raise
        raise _conversion_error(error) from error
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    for node in model.graph.node:
        for places in (node.input, node.output):
            places[:] = [names.get(name, name) for name in places]
    _finish(model, target)


@contextlib.contextmanager
def _copies_freed(size_bytes: int) -> Iterator[None]:
    """Free the copies of a large graph that tf2onnx makes.

    It copies the graph, weights and all, before each of its passes. A copy refers to itself, so that only a collection
    frees it, and Python hardly ever collects: the few objects of a graph do not count much, however large they are.
    """
    if size_bytes < _LARGE_BYTES:
        yield
        return
    passes: Any = require("tf2onnx.optimizer", "tensorflow")
    known = passes._get_optimizers

    def collected(make: Any) -> Any:
        gc.collect()
        return make()

    passes._get_optimizers = lambda: {name: partial(collected, make) for name, make in known().items()}
    try:
        yield
    finally:
        passes._get_optimizers = known


def _keep_zeros_before_pooling(model: Any) -> None:
    """Pad with the smallest number instead of zero before a MaxPool.

    ONNX Runtime (seen with 1.31) takes zeros around the input of a MaxPool for padding of its own, which never wins:
    negative numbers at the edges then come out where zeros should. Numbers that are not exactly zero it leaves alone.
    """
    onnx, np = require("onnx", "tensorflow"), require("numpy", "")
    made = {name: node for node in model.graph.node for name in node.output}
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in [n for n in model.graph.node if n.op_type == "MaxPool"]:
        pad = made.get(node.input[0])
        if pad is None or pad.op_type != "Pad":
            continue
        value = pad.input[2] if len(pad.input) > 2 else ""
        number = onnx.numpy_helper.to_array(stored[value]) if value in stored else np.zeros((), np.float32)
        if (value and value not in stored) or number.dtype.kind != "f" or number.any():
            continue
        name = f"{pad.output[0]}_smallest"
        smallest = np.full((), np.finfo(number.dtype).tiny, number.dtype)
        model.graph.initializer.append(onnx.numpy_helper.from_array(smallest, name))
        del pad.input[2:]
        pad.input.append(name)


def _conversion_error(error: Exception) -> UnsupportedModelError:
    text = " ".join(str(error).split())
    found = re.search(r"[Oo]p(?:erator)? (?:type )?\[?'?(?:name: )?(?P<op>\w+)", text)
    what = f" ({found['op']})" if found else ""
    return UnsupportedModelError(
        f"Tf2onnx cannot convert the model{what}: {type(error).__name__}: {text[:400]}",
        remedy="use LiteRT or TensorFlow for this model, or replace the layer.",
    )


def _check_operators(model: Any) -> None:
    """tf2onnx leaves what it cannot convert in the graph under its TensorFlow name."""
    onnx = require("onnx", "tensorflow")
    unknown = sorted({n.op_type for n in _nodes(model.graph) if n.domain == "" and not onnx.defs.has(n.op_type)})
    if unknown:
        raise UnsupportedModelError(
            f"ONNX has no operator for {', '.join(unknown)}, which the model needs.",
            remedy="use LiteRT or TensorFlow for this model, or replace the layers that need it.",
        )


def _nodes(graph: Any) -> Any:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _frozen(
    call: Callable[[Mapping[str, Any]], list[Any]], known: Mapping[str, Any], names: Names
) -> tuple[Any, dict[str, str], dict[str, str], Names]:
    """A function as a graph of constants; its input and output tensors with the names they get."""
    tf = require("tensorflow", "tensorflow")
    constants = require("tensorflow.python.framework.convert_to_constants", "tensorflow")
    taken = list(names.inputs.values())
    specs = [tf.TensorSpec(known[name].shape, known[name].dtype, name=f"in_{i}") for i, name in enumerate(taken)]

    def traced(*tensors: Any) -> list[Any]:
        found = call(dict(zip(taken, tensors, strict=True)))
        return [tf.identity(tensor, name=f"out_{i}") for i, tensor in enumerate(found)]

    function = tf.function(traced, input_signature=specs).get_concrete_function()
    frozen = constants.convert_variables_to_constants_v2(function, lower_control_flow=False, aggressive_inlining=True)
    if len(frozen.inputs) != len(taken):  # what is not a variable stays an input: a table
        raise UnsupportedModelError(
            "The graph reads lookup tables, and ONNX has none.",
            remedy="use TensorFlow for this model, or look up words and categories before calling the model.",
        )
    graph = frozen.graph.as_graph_def(add_shapes=True)
    _allow_inlining(graph)
    fresh = distinct([*names.inputs, *names.outputs])
    written = Names(
        dict(zip(names.inputs, fresh[: len(taken)], strict=True)),
        dict(zip(names.outputs, fresh[len(taken) :], strict=True)),
    )
    inputs = {tensor.name: name for tensor, name in zip(frozen.inputs, written.inputs.values(), strict=True)}
    outputs = {tensor.name: name for tensor, name in zip(frozen.outputs, written.outputs.values(), strict=True)}
    return graph, inputs, outputs, written


def _allow_inlining(graph: Any) -> None:
    """Keras compiles grouped convolutions apart, with XLA; tf2onnx sees into a function only when it can be inlined."""
    for part in (*graph.library.function, *graph.node, *(n for f in graph.library.function for n in f.node_def)):
        for attribute in ("_XlaMustCompile", "_noinline"):
            if attribute in part.attr:
                del part.attr[attribute]


def _erfc(context: Any, node: Any, name: str, arguments: Any) -> None:
    """The complement of the error function, which the exact GELU uses: ONNX has the error function alone."""
    del arguments
    np = require("numpy", "")
    utils = require("tf2onnx.utils", "tensorflow")
    known = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    given, result = node.input[0], node.output[0]
    context.remove_node(node.name)
    one = context.make_const(f"{name}_one", np.array(1, utils.map_onnx_to_numpy_type(known["dtypes"][0])))
    error = context.make_node("Erf", [given], **known)
    context.make_node("Sub", [one.output[0], error.output[0]], name=name, outputs=[result], **known)


def _gelu(context: Any, node: Any, name: str, arguments: Any) -> None:
    """GELU as TFLite has it, by the error function or by its approximation: ONNX has none before set 20."""
    del arguments
    np, utils = require("numpy", ""), require("tf2onnx.utils", "tensorflow")
    known = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    kind = utils.map_onnx_to_numpy_type(known["dtypes"][0])
    x, result, approximate = node.input[0], node.output[0], bool(node.get_attr_value("approximate"))
    context.remove_node(node.name)

    def make(operator: str, *inputs: str | float) -> str:
        places = [
            value if isinstance(value, str) else
            context.make_const(utils.make_name(f"{name}_constant"), np.array(value, kind)).output[0]
            for value in inputs
        ]  # fmt: skip
        return str(context.make_node(operator, places, **known).output[0])

    if approximate:  # Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415
        cubic = make("Add", x, make("Mul", make("Mul", make("Mul", x, x), x), 0.044715))
        share = make("Tanh", make("Mul", cubic, math.sqrt(2 / math.pi)))
    else:
        share = make("Erf", make("Mul", x, math.sqrt(0.5)))
    half = make("Mul", make("Add", share, 1.0), 0.5)
    context.make_node("Mul", [x, half], name=name, outputs=[result], **known)


def _bucketize(context: Any, node: Any, name: str, arguments: Any) -> None:
    """The number of boundaries a value has reached, which Discretization gives: ONNX compares with each of them."""
    del arguments
    np, proto = require("numpy", ""), require("onnx", "tensorflow").TensorProto
    known = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    given, result, kind = node.input[0], node.output[0], context.get_dtype(node.input[0])
    bounds = np.array(node.get_attr_value("boundaries"), np.float32)
    context.remove_node(node.name)
    if kind != proto.FLOAT:
        given = context.make_node("Cast", [given], attr={"to": proto.FLOAT}).output[0]
    last = context.make_const(f"{name}_last", np.array([-1], np.int64)).output[0]
    wide = context.make_node("Unsqueeze", [given, last]).output[0]
    limits = context.make_const(f"{name}_boundaries", bounds).output[0]
    reached = context.make_node("GreaterOrEqual", [wide, limits]).output[0]
    counted = context.make_node("Cast", [reached], attr={"to": proto.INT32}).output[0]
    context.make_node("ReduceSum", [counted, last], attr={"keepdims": 0}, name=name, outputs=[result], **known)


def _name_batch(model: Any) -> None:
    """Call the free first dimension ``batch`` everywhere, so that shape inference can follow it."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_param = "batch"

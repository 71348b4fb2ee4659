"""The tests of single operators that come with the ONNX standard, run in a child."""

import contextlib
import io
import warnings

import numpy as np
import onnx


def compare(arguments, report):
    """Task: what becomes of each test: ``"right"``, ``"refused"``, ``"without rule"``, or what is wrong."""
    import tensorflow as tf
    from onnx.backend.test.case.node import collect_testcases

    from deploykit.converters._tensorflow_graph.write import Graph
    from deploykit.core.errors import UnsupportedModelError

    tf.get_logger().setLevel("ERROR")  # of many functions that are traced once
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tests that overflow on purpose
        cases = collect_testcases(None)
    for case in cases:
        given, wanted = case.data_sets[0]
        if case.model is None or not given or not all(isinstance(a, np.ndarray) for a in (*given, *wanted)):
            continue
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                graph = Graph(settled(case.model, given))
        except UnsupportedModelError:
            found[case.name] = "without rule"
            continue
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                found[case.name] = outcome(graph, given[: len(graph.inputs)], wanted, case.rtol, tf)
        except UnsupportedModelError:
            found[case.name] = "refused"
        except Exception as error:
            found[case.name] = f"{type(error).__name__}: {str(error)[-200:]}"
    return found


def settled(model, given):
    """The model with all inputs but the first as constants, and the first axis of that one free."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for value, array in list(zip(model.graph.input, given, strict=True))[1:]:
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    if axes := made.graph.input[0].type.tensor_type.shape.dim:
        axes[0].dim_param = "n"
        for value in made.graph.output:
            for axis in value.type.tensor_type.shape.dim:
                axis.Clear()
    return made


def outcome(graph, given, wanted, share, tf):
    specs = [tf.TensorSpec([None, *array.shape[1:]] if array.ndim else [], array.dtype) for array in given]
    function = tf.function(lambda *tensors: graph(tensors), input_signature=specs, autograph=False)
    for tensor, array in zip(function(*given), wanted, strict=True):
        value = tensor.numpy()
        if (value.shape, value.dtype) != (array.shape, array.dtype):
            return f"{value.dtype} {value.shape} instead of {array.dtype} {array.shape}"
        half = 2e-2 if array.dtype == np.float16 else 0
        if array.dtype.kind == "f" and not np.allclose(value, array, max(share, half), max(1e-6, half), equal_nan=True):
            return f"off by {np.nanmax(np.abs(value - array))}"
        if array.dtype.kind != "f" and (value != array).any():
            return "other values"
    return "right"

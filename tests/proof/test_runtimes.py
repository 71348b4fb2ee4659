"""Runtimes and devices whose packages are too large for the usual environment: a real sweep on each."""

import importlib.metadata

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploykit.testing import models, torch_models


@pytest.mark.proof("The runtime `executorch`, and `.pte` of the layout `edge`, give the answers of PyTorch",
                   against="ExecuTorch, XNNPACK")  # fmt: skip
def test_executorch(packages, versions, tmp_path):
    run = packages("executorch==1.5.1", "torchao==0.18.0", dependencies=False)
    torch_models.save_program(torch_models.torch_cnn(), tmp_path / "cnn.pt2")
    found = run("runtimes.py", "executorch", "cpu", "torch", tmp_path / "cnn.pt2", tmp_path / "s")
    assert found["same_function"]
    assert found["compiled"]
    assert "deploykit did not build this one" in found["refused"]
    assert found["exported"] < 1e-5
    versions(executorch=run.version("executorch"), torch=importlib.metadata.version("torch"))


@pytest.mark.proof("OpenVINO as a device of ONNX Runtime gives the CPU's answers, with a front of its own",
                   against="onnxruntime-ep-openvino")  # fmt: skip
def test_onnxruntime_on_openvino(packages, versions, tmp_path):
    run = packages("onnxruntime-ep-openvino==1.8.1", dependencies=False)
    path = models.build("cnn_onnx", tmp_path)
    found = run("runtimes.py", "onnxruntime", "openvino", "onnxruntime", path, tmp_path / "s")
    assert found["same_function"]
    assert found["placed"] == ""
    assert found["devices"] == ["cpu", "openvino"]
    versions(**{"onnxruntime-ep-openvino": run.version("onnxruntime-ep-openvino")}, **found["versions"])


@pytest.mark.proof("Nodes that OpenVINO leaves to the CPU in ONNX Runtime are counted and named",
                   against="onnxruntime-ep-openvino")  # fmt: skip
def test_nodes_left_to_the_cpu(packages, versions, tmp_path):
    run = packages("onnxruntime-ep-openvino==1.8.1", dependencies=False)
    weights = np.random.default_rng(0).random((16, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Relu", ["x"], ["relu"]),
        helper.make_node("Det", ["relu"], ["det"]),  # OpenVINO has no determinant
        helper.make_node("Flatten", ["relu"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["product"]),
        helper.make_node("Unsqueeze", ["det", "one"], ["column"]),
        helper.make_node("Add", ["product", "column"], ["y"]),
    ]
    held = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([1]), "one")]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 4]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3]),
    ]
    graph = helper.make_graph(nodes, "determinant", ends[:1], ends[1:], held)
    onnx.save(
        helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), tmp_path / "det.onnx"
    )
    found = run("runtimes.py", "onnxruntime", "openvino", "onnxruntime", tmp_path / "det.onnx", tmp_path / "s")
    assert "were left to the CPU" in found["placed"]
    assert "Det" in found["placed"]
    versions(**{"onnxruntime-ep-openvino": run.version("onnxruntime-ep-openvino")}, **found["versions"])

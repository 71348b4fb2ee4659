"""Engines: built where no GPU is, and opened only when deploykit built them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import deploykit as dk
from deploykit.core.candidate import Target
from deploykit.core.errors import DeviceError, UnsafeModelError, UnsupportedModelError
from deploykit.runtimes import _engines
from deploykit.runtimes._compile import CompileJob
from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing import models


def built(path, target, batch_size=1):
    job = CompileJob(path, target, "onnx", "cuda", batch_size)
    RUNTIMES.get("tensorrt").compile(job)
    return job


def test_an_engine_is_built_without_a_gpu_and_sealed(tmp_path, monkeypatch):
    job = built(models.build("cnn_onnx", tmp_path), tmp_path / "engine", batch_size=4)
    engine = _engines.opened(tmp_path / "engine", "TensorRT")
    assert [spec.shape for spec in (*engine.inputs, *engine.outputs)] == [(4, 1, 8, 8), (4, 3)]
    assert {spec.dtype for spec in (*engine.inputs, *engine.outputs)} == {"float32"}
    assert job.notes["engine_bytes"] == engine.file.stat().st_size > 1000

    content = engine.file.read_bytes()
    engine.file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UnsafeModelError, match="its seal is not that of its content"):
        _engines.opened(tmp_path / "engine", "TensorRT")
    engine.file.write_bytes(content)
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(tmp_path / "other"))  # another user, or another machine
    with pytest.raises(UnsafeModelError, match="deploykit did not build this one on this machine"):
        _engines.opened(tmp_path / "engine", "TensorRT")


def test_without_a_gpu_a_sweep_on_tensorrt_is_refused_before_any_work(tmp_path):
    if RUNTIMES.get("tensorrt").devices()[0].available:
        pytest.skip("there is an NVIDIA GPU here")
    model = dk.load(models.build("cnn_onnx", tmp_path))
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((60, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 60))
    space = dk.Space([], [Target("onnxruntime"), Target("tensorrt", "cuda")])
    with pytest.raises(DeviceError, match=r"TensorRT: device 'cuda' is not ready \(no such hardware\).*Remedy: "):
        dk.plan(model, data, space)


def test_free_sizes_are_named(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "free",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "steps", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "steps", 4])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opsets), tmp_path / "free.onnx")
    with pytest.raises(UnsupportedModelError, match="input 'x' leaves dimension 1 free"):
        built(tmp_path / "free.onnx", tmp_path / "engine")

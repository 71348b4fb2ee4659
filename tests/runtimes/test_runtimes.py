"""What the runtimes do beyond the common suite: quantized inputs, fixed batches, operators they lack."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deploykit.core.candidate import Target
from deploykit.core.errors import CandidateCrash, DatasetError, DeviceError, UnsupportedModelError
from deploykit.loading._load import load
from deploykit.measuring.environment import cpu_features
from deploykit.testing import models, work
from deploykit.testing.runtimes import call


def graph(tmp_path, node, shape=("batch", 4), domain=""):
    made = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    imports = [helper.make_opsetid("", 21), *([helper.make_opsetid(domain, 1)] if domain else [])]
    path = tmp_path / "one.onnx"
    onnx.save(helper.make_model(made, ir_version=10, opset_imports=imports), path)
    return path


def arguments(path, format_name, shape, count=3):
    return {"path": str(path), "format": format_name, "shape": list(shape), "dtype": "float32", "count": count}


def test_an_operator_onnx_runtime_lacks_is_named(tmp_path):
    path = graph(tmp_path, helper.make_node("Sundial", ["x"], ["y"], domain="nowhere"), domain="nowhere")
    with pytest.raises(UnsupportedModelError, match=r"ONNX Runtime .* cannot run one\.onnx: .*(Sundial|nowhere)"):
        call("onnxruntime", "run", **arguments(path, "onnx", (4,)))


@pytest.mark.long
@pytest.mark.parametrize(("kind", "name"), [("saved_model", "total"), ("tflite", "total"), ("tflite_tensors", "lstm")])
def test_state_does_not_pass_from_call_to_call(kind, name, tmp_path):
    path = tmp_path / "m"
    work.run("make_counter", "tf_keras" if kind == "tflite_tensors" else "tensorflow", path=str(path), format=kind)
    model = load(path)
    assert len(model.stateful) == 1
    assert name in model.stateful[0]
    assert "keeps state between calls; each example is run with fresh state" in model.warnings[0]
    rows = np.random.default_rng(0).random((2, *model.inputs[0].shape[1:])).astype("f4")
    given = rows[[0, 1, 0]]  # the batch is fixed at one: three calls
    found = next(iter(work.predicted(path, model.format, {model.inputs[0].name: given}).values()))
    np.testing.assert_array_equal(found[0], found[2])
    assert np.abs(found[0] - found[1]).max() > 0.01
    if kind != "tflite_tensors":
        np.testing.assert_allclose(found, given)


def test_a_fixed_batch_is_filled_and_cut(tmp_path):
    path = graph(tmp_path, helper.make_node("Relu", ["x"], ["y"]), shape=(4, 4))
    found = call("onnxruntime", "run", **arguments(path, "onnx", (4,), count=6))
    assert len(found["values"][0]) == 6


def test_a_device_that_is_absent_says_what_it_needs(tmp_path):
    path = graph(tmp_path, helper.make_node("Relu", ["x"], ["y"]))
    with pytest.raises(
        DeviceError,
        match=r"'cuda' is not ready.*NVIDIA GPU.*CUDAExecutionProvider.*It can use cpu.*Remedy: .*onnxruntime-gpu",
    ):
        call("onnxruntime", "run", device="cuda", **arguments(path, "onnx", (4,)))


def test_a_silent_fallback_is_an_error(tmp_path, monkeypatch):
    from deploykit.runtimes._contract import RUNTIMES, Device

    runtime = RUNTIMES.get("onnxruntime")
    path = graph(tmp_path, helper.make_node("Relu", ["x"], ["y"]))
    # No GPU here: claim that there is one, so that ONNX Runtime falls back to the CPU as it does on a broken driver.
    monkeypatch.setattr(type(runtime), "devices", lambda _self: (Device("cuda", available=True),))
    with (
        pytest.raises(DeviceError, match="asked for 'cuda', but ran on 'cpu'"),
        pytest.warns(UserWarning, match="CUDA"),
    ):
        runtime.open(path, Target("onnxruntime", "cuda"), "onnx")


def test_wrong_examples_are_refused_by_name_and_shape(tmp_path):
    path = graph(tmp_path, helper.make_node("Relu", ["x"], ["y"]))
    with pytest.raises(DatasetError, match=r"Input 'x'.*\(4,\).*\(5,\)"):
        call("onnxruntime", "run", **arguments(path, "onnx", (5,)))


def test_int8_inputs_take_real_numbers(tmp_path):
    """Inputs are quantized and outputs brought back to real numbers outside the timed call."""
    path = models.build("cnn_int8_tflite", tmp_path)
    found = call("litert", "run", **arguments(path, "tflite", models.IMAGE_SHAPE))
    assert found["inputs"][0]["dtype"] == "int8"
    assert found["inputs"][0]["scale"] > 0
    values = np.array(found["values"][0])
    assert values.dtype == np.float64
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=0.05)


def test_a_corrupt_tflite_never_takes_this_process_along(tmp_path):
    path = models.build("cnn_tflite", tmp_path)
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    ends = []
    for i in range(8):
        broken = bytearray(content)
        for place in rng.integers(8, len(content), 40):
            broken[place] ^= 0xFF
        target = tmp_path / f"broken{i}.tflite"
        target.write_bytes(broken)
        try:
            call("litert", "run", **arguments(target, "tflite", models.IMAGE_SHAPE))
            ends.append("ran")
        except (UnsupportedModelError, CandidateCrash, DatasetError) as error:
            ends.append(type(error).__name__)
    assert len(ends) == 8
    assert set(ends) - {"ran"}


def test_signature_names_survive_in_litert(tmp_path):
    found = call("litert", "run", **arguments(models.build("cnn_tflite", tmp_path), "tflite", models.IMAGE_SHAPE))
    assert [spec["name"] for spec in found["inputs"]] == ["image"]


def test_bytes_are_real_numbers_to_an_int8_model(tmp_path):
    """Raw bytes and the same values as real numbers give the same answer: nothing wraps around."""
    path = models.build("cnn_int8_tflite", tmp_path)
    given = {**arguments(path, "tflite", models.IMAGE_SHAPE), "scale": 255}
    real = call("litert", "run", **given)
    whole = call("litert", "run", **{**given, "dtype": "uint8"})
    np.testing.assert_allclose(np.array(real["values"][0]).argmax(1), np.array(whole["values"][0]).argmax(1))


def test_numbers_that_do_not_fit_are_refused(tmp_path):
    made = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.INT8, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT8, ["batch", 4])],
    )
    path = tmp_path / "small.onnx"
    onnx.save(helper.make_model(made, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), path)
    given = {**arguments(path, "onnx", (4,)), "dtype": "int32"}
    assert call("onnxruntime", "run", scale=100, **given)["values"]
    with pytest.raises(DatasetError, match="Input 'x': the model takes int8, got int32"):
        call("onnxruntime", "run", scale=1000, **given)


def test_openvino_talks_to_no_server():
    """Importing OpenVINO usually imports and starts what reports to a server; a session works without."""
    code = (
        "import sys, threading\n"
        "from deploykit.runtimes._contract import RUNTIMES\n"
        "assert RUNTIMES.get('openvino').devices()[0].available\n"
        "assert 'openvino' in sys.modules\n"
        "assert not [m for m in sys.modules if 'telemetry' in m], sys.modules\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_openvino_computes_in_float32_and_integers(tmp_path):
    """Not in bfloat16, its default where the CPU has it: float32 is what int8 is compared with."""
    path = models.build("cnn_onnx", tmp_path)
    found = call("openvino", "profile", **arguments(path, "onnx", (1, 8, 8)))["nodes"]
    assert {n["precision"] for n in found if n["kind"] in {"conv", "matmul"}} == {"float32"}


def test_openvino_computes_in_bfloat16_where_the_file_asks_for_it(tmp_path):
    path = models.build("cnn_onnx", tmp_path)
    model = onnx.load(path)
    helper.set_model_props(model, {"deploykit_compute": "bfloat16"})
    onnx.save(model, path)
    found = call("openvino", "profile", **arguments(path, "onnx", (1, 8, 8)))["nodes"]
    wanted = "bfloat16" if {"avx512_bf16", "amx_bf16"} & set(cpu_features()) else "float32"
    assert {n["precision"] for n in found if n["kind"] in {"conv", "matmul"}} == {wanted}


def test_openvino_names_an_operator_it_lacks(tmp_path):
    path = graph(tmp_path, helper.make_node("Sundial", ["x"], ["y"], domain="nowhere"), domain="nowhere")
    with pytest.raises(UnsupportedModelError, match=r"OpenVINO .* cannot run one\.onnx: .*Sundial"):
        call("openvino", "run", **arguments(path, "onnx", (4,)))

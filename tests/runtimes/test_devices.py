"""Devices: what is ready and what is not is said, nothing falls back in silence, and no front mixes two of them."""

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Target
from deploykit.core.errors import DeviceError
from deploykit.runtimes import _hardware, _onnx_providers
from deploykit.runtimes._contract import RUNTIMES, Device, refuse_absent
from deploykit.testing import models


@pytest.fixture
def model(tmp_path):
    return dk.load(models.build("cnn_onnx", tmp_path))


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return dk.Dataset.from_arrays(rng.random((60, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 60))


def test_an_absent_device_is_refused_before_any_work(model, data, tmp_path):
    space = dk.Space([], [Target("onnxruntime"), Target("onnxruntime", "directml")])
    wanted = r"ONNX Runtime: device 'directml' is not ready.*It can use cpu.* Remedy: "
    with pytest.raises(DeviceError, match=wanted):
        dk.plan(model, data, space)
    with pytest.raises(DeviceError, match=wanted):
        dk.sweep(model, data, space, store=tmp_path / "s", progress=lambda _p: None)
    assert not list((tmp_path / "s").glob("steps/*"))


def test_hardware_without_its_packages_is_called_so(monkeypatch):
    class Ort:
        @staticmethod
        def get_available_providers():
            return [_onnx_providers.CPU]

    monkeypatch.setattr(_hardware, "nvidia", lambda: _hardware.Hardware(("a card",)))
    cuda = {d.name: d for d in _onnx_providers.devices(Ort)}["cuda"]
    assert (cuda.available, cuda.state) == (False, "not installed")
    with pytest.raises(DeviceError, match=r"not ready \(not installed\).*Remedy: pip .*onnxruntime-gpu.*'cpu'"):
        refuse_absent("ONNX Runtime", "cuda", [Device("cpu", available=True), cuda])


def test_a_card_without_a_driver_is_seen(tmp_path, monkeypatch):
    place = tmp_path / "0000:01:00.0"
    place.mkdir()
    for name, value in {"vendor": "0x10de\n", "class": "0x030200\n", "device": "0x2335\n"}.items():
        (place / name).write_text(value)
    assert _hardware._on_bus("0x10de", "0x03", tmp_path) == "a device 0x10de:0x2335"
    assert _hardware._on_bus("0x1ae0", "", tmp_path) == ""


def test_a_provider_that_takes_no_node_is_a_fallback(tmp_path, monkeypatch):
    """ONNX Runtime lists Azure's provider first among a session's, and runs every node on the CPU."""
    monkeypatch.setitem(_onnx_providers.PROVIDERS, "azure", _onnx_providers.Provider("AzureExecutionProvider"))
    path = models.build("cnn_onnx", tmp_path)
    with pytest.raises(DeviceError, match="asked for 'azure', but ran on 'cpu'"):
        RUNTIMES.get("onnxruntime").open(path, Target("onnxruntime", "azure"), "onnx")


def test_nodes_left_to_the_cpu_are_counted():
    assert _onnx_providers._left([], 9) == ""
    assert _onnx_providers._left(["Exp", "Relu", "Exp"], 9) == "3 of 9 nodes were left to the CPU: Exp ×2, Relu"


def test_devices_have_fronts_of_their_own(model, data, tmp_path):
    """OpenVINO's choice (auto) is a device beside its CPU: a sweep on both gives two fronts and two best ones."""
    space = dk.Space([Recipe()], [Target("openvino"), Target("openvino", "auto")])
    report = dk.sweep(model, data, space, store=tmp_path / "s", launches=0, progress=lambda _p: None)
    assert report.devices == ("cpu", "auto")
    for device in report.devices:
        assert [r.candidate.target.device for r in report.pareto("size", device)] == [device]
        assert report.row(report.best(device=device).key).candidate.target.device == device
    assert report.best().key == report.best(device="cpu").key == report.baseline
    own = report.row_of(Recipe(), Target("openvino", "auto")).measurement
    assert own.placed == "OpenVINO took CPU"
    assert own.score.change.value == 0
    assert any(note.startswith("1 candidate on auto: compared") for note in report.notes)
    with pytest.raises(dk.errors.SettingError, match="cuda"):
        report.best(device="cuda")

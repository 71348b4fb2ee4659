"""The script that measures a GPU runs to its end on a CPU, with PyTorch, NumPy and SciPy alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "gpu.py"
#: Installed for the tests, and absent on a bare machine with CUDA and PyTorch.
ABSENT = (
    "IPython", "ai_edge_litert", "google", "grpc", "h5py", "keras", "ml_dtypes", "msgspec", "onnx", "onnxscript",
    "orjson", "pandas", "PIL", "psutil", "simdjson", "tensorflow", "yaml",
)  # fmt: skip
BARE = f"""
import runpy, sys
for name in {ABSENT!r}:
    sys.modules[name] = None
sys.path.insert(0, {str(SCRIPT.parent)!r})
sys.argv = [{str(SCRIPT)!r}, *sys.argv[1:]]
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""


@pytest.mark.long
def test_it_measures_on_a_cpu_and_checks_every_answer(tmp_path):
    out = tmp_path / "result.json"
    flags = ["--device", "cpu", "--models", "cnn", "--batches", "1", "--launches", "2", "--rounds", "2"]
    flags += ["--variants", "torch float32", "torch bfloat16", "onnxruntime cpu", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", BARE, *flags], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text("utf-8"))
    assert found["card"]
    assert found["card"] in done.stdout
    (part,) = found["parts"]
    assert part["launches"] == 2
    rows = {row["variant"]: row for row in part["rows"]}
    assert set(rows) == {"torch float32", "torch bfloat16", "onnxruntime cpu"}
    assert rows["torch float32"]["compute"]["claim"] == "baseline"
    assert rows["torch float32"]["error"] == 0
    assert rows["onnxruntime cpu"]["error"] < 1e-5  # the network in PyTorch is the one in the ONNX file
    assert 0 < rows["torch bfloat16"]["error"] < 0.1
    for row in rows.values():
        assert row["compute"]["runs"] >= 2 * 2 * 3
        assert row["send_ms"] > 0


def test_reasons_of_throttling_are_named():
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        from gpu_clocks import Clocks, slowed
    finally:
        sys.path.pop(0)
    assert slowed([{"reasons": 0x1}, {}]) == ""
    assert slowed([{"reasons": 0x4}, {"reasons": 0x60}]) == "power cap, temperature (software), temperature (hardware)"
    assert Clocks.summary([{"sm_mhz": 1980}, {"sm_mhz": 1200}, {"sm_mhz": 1500}]) == {"sm_mhz": [1200, 1500, 1980]}

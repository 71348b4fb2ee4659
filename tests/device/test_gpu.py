"""The script that measures a GPU runs to its end on a CPU, with PyTorch, NumPy and SciPy alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from docs.tools import gpus

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
    out = tmp_path / "cpu.json"
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
    assert gpus.page(tmp_path) == f"{gpus.NONE}\n"  # a CPU's file is read, and not shown
    card = found | {"card": "A <b>card</b>", "device": "cuda", "driver": "550.1"}
    card["parts"][0] |= {"slowed": ["power cap"], "clocks": {"milliwatts": [90_000, 1, 310_400]}}
    card["parts"][0]["rows"][1]["problem"] = "its answers differ by 0.5"
    compute, whole = (card["parts"][0]["rows"][2][kind] for kind in ("compute", "whole"))
    compute |= {"p50_ms": {"value": 0.25, "low": 0.24, "high": 0.26}, "flags": [], "claim": "faster"}
    compute["speedup"] = {"value": 3.0, "low": 2.5, "high": 3.5}
    whole["p50_ms"] = {"value": 0.5, "low": 0.48, "high": 0.52}
    card["parts"][0]["rows"][2]["error"] = 1e-6
    (tmp_path / "card.json").write_text(json.dumps(card), "utf-8")
    page = gpus.page(tmp_path)
    assert r"### A \<b\>card" in page
    assert "driver 550.1" in page
    times = r"0.25 ± 0.01 | 0.50 ± 0.02 | 3.00× \[2.50, 3.50\]"
    assert f"| cnn | 1 | ONNX Runtime (cpu) | float32 | {times} | within 1e-06 of their spread |" in page
    assert "| PyTorch | bfloat16 | — | — | — | not timed: its answers differ by 0.5 |" in page
    assert "2 launches, noise floor" in page
    assert "power 90 to 310 W; **throttled**: power cap." in page


def test_a_file_that_is_not_a_result_is_named(tmp_path):
    assert gpus.page(tmp_path) == f"{gpus.NONE}\n"
    (tmp_path / "notes.json").write_text('{"card": "A100"}', "utf-8")
    with pytest.raises(ValueError, match=r"notes\.json is not a results file of tests/device/gpu\.py"):
        gpus.page(tmp_path)


def test_reasons_of_throttling_are_named():
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        from gpu_clocks import Clocks, slowed
    finally:
        sys.path.pop(0)
    assert slowed([{"reasons": 0x1}, {}]) == ""
    assert slowed([{"reasons": 0x4}, {"reasons": 0x60}]) == "power cap, temperature (software), temperature (hardware)"
    assert Clocks.summary([{"sm_mhz": 1980}, {"sm_mhz": 1200}, {"sm_mhz": 1500}]) == {"sm_mhz": [1200, 1500, 1980]}

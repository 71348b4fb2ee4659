"""Measuring on Android devices, as far as it goes without one: what is refused, and what the benchmark tool prints.

Statistics of timed runs, timings and memory are published output of two versions of the tool, the first of a device.
The lines around them, the warm-up's statistics among them, follow its sources; CPU time is as Android prints it.
"""

import threading

import pytest

from deploykit.core.errors import EngineError
from deploykit.core.tools import Tool
from deploykit.engines import _android
from deploykit.engines._benchmark_model import command, read
from deploykit.engines.adb import ADAPTER, _AdbRunning

_CURRENT = """\
STARTING!
The input model file size (MB): 4.27635
Initialized session in 92.318ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=3 first=187533 curr=201245 min=187533 max=246229 avg=211669 std=25000 p5=187533 median=201245 p95=246229

Running benchmark for at least 25 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=25 first=187533 curr=140990 min=140071 max=195121 avg=145528 std=13583 p5=140545 median=141253 p95=187533

Inference timings in us: Init: 92318, First inference: 187533, Warmup (avg): 211669, Inference (avg): 145528
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory \
footprint of the model at runtime. Take the information at your discretion.
Memory footprint delta from the start of the tool (MB): init=54.2852 overall=73.4102
    0m04.50s real     1m04.32s user     0m00.18s system
"""
_OLD = """\
count=1 curr=3512391

count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
Memory footprint delta from the start of the tool (MB): init=4.21094 overall=46.0859
    0m04.50s real     0m04.32s user     0m00.18s system
"""


def test_what_the_tool_prints():
    found = read(_CURRENT)
    assert (found.count, found.warm_count, found.median_us) == (25, 3, 141253)
    assert (found.load_us, found.first_us) == (92318, 187533)
    assert found.memory_bytes == pytest.approx(73.4102 * 2**20, abs=1)
    assert found.cpu_s == pytest.approx(64.5)
    assert found.cpu_us == pytest.approx(64.5e6 / 28)


def test_equal_runs_are_printed_once():
    """The statistics of values that are all the same name only the last one."""
    lines = _CURRENT.splitlines()
    lines[7] = "count=25 curr=140990(all same)"
    assert read("\n".join(lines)).median_us == 140990


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_OLD, "too old: it prints no median"),
        (_CURRENT.replace("user", "usr"), "does not say how much CPU time"),
        ("ERROR: Failed to load model x.tflite\n\n", "it said: ERROR: Failed to load model x.tflite"),
        ("", "it said: nothing"),
    ],
)
def test_what_is_not_a_measurement(text, said):
    with pytest.raises(EngineError, match=said):
        read(text)


def test_the_line_for_the_device():
    words = command("/data/local/tmp/benchmark_model", "/data/local/tmp/a b.tflite", 2).split(" ", 2)
    assert words[:2] == ["time", "/data/local/tmp/benchmark_model"]
    assert "'--graph=/data/local/tmp/a b.tflite'" in words[2]
    assert "--num_threads=2" in words[2]


@pytest.mark.parametrize(
    ("serial", "states", "said"),
    [
        ("", {}, "No Android device is connected"),
        ("", {"a": "device", "b": "offline"}, r"Several Android devices are connected: a \(device\), b \(offline\)"),
        ("c", {"a": "device"}, r"No Android device 'c' is connected; adb lists a \(device\)"),
        ("a", {"a": "unauthorized"}, "a has not allowed this machine to debug it"),
        ("", {"a": "offline"}, "a does not answer adb"),
        ("a", {"a": "no permissions (user is not in the plugdev group); see [x]"}, "a cannot be opened by this user"),
        ("a", {"a": "sideload"}, "a is sideload"),
    ],
)
def test_devices_that_cannot_measure(serial, states, said):
    with pytest.raises(EngineError, match=said) as caught:
        _android._choose(serial, states)
    assert caught.value.remedy


def test_what_a_device_does_not_measure_is_refused():
    running = _AdbRunning.__new__(_AdbRunning)  # what is asked of it needs no device
    running.require({"cpu"}, [Tool("deploykit.runtimes", "litert"), Tool("deploykit.transforms", "quantize_dynamic")])
    with pytest.raises(EngineError, match="the sweep uses onnxruntime, gpu"):
        running.require({"cpu", "gpu"}, [Tool("deploykit.runtimes", "onnxruntime")])


@pytest.mark.adb
@pytest.mark.alone
def test_adb_itself_finds_no_device():
    """Debian's adb starts its server for the question, and stops it again."""
    if _android.connected():
        pytest.skip("an Android device is connected: the contract of engines is tested on it")
    try:
        with pytest.raises(EngineError, match="No Android device is connected: adb lists none"):
            ADAPTER.start("", threading.Event())
        assert _android.adb("-s", "nowhere", "get-state") == (1, "error: device 'nowhere' not found\n")
    finally:
        _android.adb("kill-server")

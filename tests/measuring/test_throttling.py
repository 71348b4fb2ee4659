"""What a machine says of its own slowing down, read from files as Linux shows them on three kinds of machine."""

from dataclasses import replace

import pytest

from deploykit.measuring.latency import Launch, Series
from deploykit.measuring.ratios import latencies
from deploykit.measuring.throttling import marks, slowed


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def test_thermal_events_of_all_cores_are_counted(tmp_path):
    for core, count in enumerate((3, 0, 5)):
        write(tmp_path / f"system/cpu/cpu{core}/thermal_throttle/core_throttle_count", count)
    write(tmp_path / "system/cpu/cpufreq/thermal_throttle/core_throttle_count", 100)  # not a core
    before = marks(tmp_path, tmp_path)
    write(tmp_path / "system/cpu/cpu1/thermal_throttle/core_throttle_count", 2)
    assert before == {"core_throttle_count": 8}
    assert slowed(before, before) == ""
    assert slowed(before, marks(tmp_path, tmp_path)) == "the processor was too hot (2 thermal events)"


# The bits as the documentation of ``vcgencmd get_throttled`` gives them.
@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("0", "0", []),
        ("50000", "50000", []),  # it has happened since boot, not now
        ("0", "50000", ["voltage is too low", "it is throttled"]),  # it has happened meanwhile
        ("0", "50005", ["voltage is too low", "it is throttled"]),
        ("80008", "80000", ["soft limit of temperature"]),  # it held at the beginning
        ("0", "20002", ["frequency is capped"]),
    ],
)
def test_the_firmware_of_a_raspberry_pi(before, after, said, tmp_path):
    readings = []
    for text in (before, after):
        write(tmp_path / "platform/soc/soc:firmware/get_throttled", text)
        readings.append(marks(tmp_path, tmp_path))
    found = slowed(*readings)
    assert found.count("firmware") == len(said)
    assert all(words in found for words in said)


def test_cooling_devices_that_limit_a_processor(tmp_path):
    for number, (kind, state) in enumerate([("thermal-cpufreq-0", 0), ("Processor", 0), ("pwm-fan", 3)]):
        write(tmp_path / f"cooling_device{number}/type", kind)
        write(tmp_path / f"cooling_device{number}/cur_state", state)
    before = marks(tmp_path, tmp_path)
    assert slowed(before, before) == ""
    write(tmp_path / "cooling_device0/cur_state", 2)
    assert "limited the processor's frequency" in slowed(before, marks(tmp_path, tmp_path))


def test_a_machine_that_shows_nothing(tmp_path):
    assert marks(tmp_path, tmp_path / "absent") == {}
    assert slowed({}, {}) == ""


def test_a_launch_on_a_throttled_machine_flags_all_that_it_timed():
    series = {key: Series((1000,) * 5, (1000,) * 100) for key in ("baseline", "clone", "model")}
    launches = [Launch(index, series) for index in range(4)]
    assert "throttled" not in latencies(launches, {"model": None})["model"].flags
    launches[2] = replace(launches[2], slowed="the processor was too hot (1 thermal event)")
    assert "throttled" in latencies(launches, {"model": None})["model"].flags

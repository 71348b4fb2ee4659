"""What models take of their host: simulated launches with a known truth, and the real counters and caches."""

import math
from dataclasses import replace

import numpy as np
import pytest

from deploykit.core.result import Footprint, Interval
from deploykit.measuring.latency import Launch, Series
from deploykit.measuring.sessions import page_cache
from deploykit.measuring.sessions.energy import Meter, meter
from deploykit.measuring.sessions.footprints import footprints

#: Milliseconds of loading warm and cold, and of an inference of 8 examples; microjoules of an inference.
LOAD, COLD, RUN, ENERGY = 20.0, 90.0, 0.5, 4000.0


def launches(count=10, cold=True, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        noise = rng.lognormal(0, 0.05, 4)
        is_cold = cold and index % 2 == 1
        times = tuple(int(t) for t in RUN * 1e6 * noise[1] * rng.lognormal(0, 0.02, 50))
        series = Series(
            times[::10], times, peak_memory_bytes=int(3e6 * noise[2]),
            load_ns=int((COLD if is_cold else LOAD) * 1e6 * noise[0]), cached="cold" if is_cold else "warm",
            first_ns=int(5 * RUN * 1e6 * noise[1]), batch=8,
            energy_uj=int(50 * ENERGY * noise[3]), energy_runs=50, energy_from="RAPL: package-0",
        )  # fmt: skip
        found.append(Launch(index, {"one": series}))
    return found


def test_columns_have_intervals_that_hold_the_truth():
    """Of 60 simulations, each interval misses the truth in about three."""
    truth = {"load_ms": LOAD, "cold_load_ms": COLD, "throughput": 8 / RUN * 1e3, "energy_mj": ENERGY / 8 / 1e3}
    held = dict.fromkeys(truth, 0)
    for seed in range(60):
        found = footprints(launches(seed=seed), ["one"])["one"]
        for name, value in truth.items():
            interval = getattr(found, name)
            held[name] += interval.low <= value * (1.0002 if name == "throughput" else 1) <= interval.high
    assert all(count >= 52 for count in held.values()), held
    assert found.first_ms.value == pytest.approx(5 * RUN, rel=0.1)
    assert found.energy_from == "RAPL: package-0"
    assert found.missing == {}


def test_what_was_not_measured_says_why():
    warm = footprints(launches(cold=False), ["one"])["one"]
    assert warm.cold_load_ms is None
    assert "stays in the system's cache" in warm.missing["cold_load_ms"]
    alone = footprints(launches(count=1), ["one"])["one"]
    assert "one launch" in alone.missing["cold_load_ms"]
    assert alone.load_ms.value == pytest.approx(LOAD, rel=0.2)
    assert math.isfinite(alone.load_ms.high)
    old = footprints([Launch(0, {"one": Series((1,), (1, 2), peak_memory_bytes=7)})], ["one", "other"])
    assert list(old) == ["one"]
    assert old["one"].load_ms is None
    assert old["one"].throughput is None


def test_a_million_predictions_cost_their_share_of_the_hours():
    found = Footprint(throughput=Interval(1000.0, 800.0, 1250.0))
    cost = found.cost_per_million(3.6)
    assert (cost.value, cost.low, cost.high) == pytest.approx((1.0, 0.8, 1.25))
    assert Footprint().cost_per_million(3.6) is None


def test_a_file_leaves_the_cache(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "empty").touch()
    for name in ("weights", "graph"):
        with (folder / name).open("wb") as file:
            file.write(b"x" * 300_000)
    assert page_cache.state(page_cache.share_cached([folder])) == "warm"
    with (folder / "weights").open("rb") as file:
        import os

        os.fsync(file.fileno())
    page_cache.drop([folder / "weights"])
    left = page_cache.share_cached([folder / "weights"])
    if left == 1:
        pytest.skip("the file system of temporary files is in memory, so nothing can leave its cache")
    assert page_cache.state(left) == "cold"
    assert page_cache.state(page_cache.share_cached([folder])) == ""
    (folder / "weights").read_bytes()
    assert page_cache.state(page_cache.share_cached([folder])) == "warm"


def zone(folder, place, name, energy, span=10_000):
    path = folder / place
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy}\n")
    (path / "max_energy_range_uj").write_text(f"{span}\n")
    return path / "energy_uj"


def test_processors_and_their_memory_are_counted_over_a_wrap(tmp_path):
    one = zone(tmp_path, "intel-rapl:0", "package-0", 9_000)
    other = zone(tmp_path, "intel-rapl:1", "package-1", 100)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 5)
    dram = zone(tmp_path, "intel-rapl:0:1", "dram", 40)
    found = meter("cpu", tmp_path)
    assert isinstance(found, Meter)
    before = found.read()
    for counter, value in ((one, 500), (other, 150), (core, 9_999), (dram, 47)):
        counter.write_text(f"{value}\n")
    assert found.between(before, found.read()) == 1_500 + 50 + 7
    assert found.name == "RAPL: package-0, dram, package-1"


def test_a_machine_without_counters_says_so(tmp_path):
    assert "no energy counters" in meter("cpu", tmp_path)
    assert "no energy counters" in meter("cpu", tmp_path / "absent")
    assert "npu" in meter("npu")


def test_the_answer_of_a_decoder_is_read_and_written():
    """Reading takes 10 ms, each of the other 31 tokens 2 ms."""
    series = Series((10**7,), (10**7,) * 5, batch=1, tokens=32, tokens_ns=64 * 10**6, write=32, energy_uj=9,
                    energy_runs=5, energy_from="RAPL: package-0")  # fmt: skip
    found = footprints([Launch(0, {"one": series})], ["one"])["one"]
    assert found.tokens_per_second.value == pytest.approx(500)
    assert found.throughput.value == pytest.approx(1 / (0.010 + 31 * 0.002))
    assert found.cost_per_million(3.6).value == pytest.approx(1e6 * (0.010 + 31 * 0.002) / 1000)
    assert (found.energy_mj, found.missing["energy_mj"]) == (None, "it is not counted while a decoder writes")
    reading = footprints([Launch(0, {"one": replace(series, write=0)})], ["one"])["one"]
    assert reading.throughput.value == pytest.approx(100)
    several = footprints([Launch(0, {"one": replace(series, batch=4)})], ["one"])["one"]
    assert several.throughput is None

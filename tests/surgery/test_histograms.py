import numpy as np
import pytest
from onnxruntime.quantization.calibrate import HistogramCollector

from deploykit.surgery.quantization.histograms import SIZES, VALUES, Histogram, ends


def tensors():
    """Values as layers give them: around zero, one-sided, with outliers, few, constant, in half precision."""
    rng = np.random.default_rng(0)
    normal = rng.normal(0.3, 1, 40_000)
    return {
        "around zero": normal.astype(np.float32),
        "after a ReLU": np.maximum(normal, 0).astype(np.float32),
        "below zero": -np.exp(normal).astype(np.float32),
        "outliers": np.append(normal, [90.0, -70.0]).astype(np.float32),
        "few": np.array([1.0, 2.0, 2.0, 7.0], np.float32),
        "zeros": np.zeros(10, np.float32),
        "half": normal.astype(np.float16),
    }


def streamed(values, *, absolute):
    made = Histogram(values.min(), values.max(), absolute=absolute)
    for part in np.array_split(values, [7, 8, 5000]):  # batches of any size
        made.add(part)
    return made


@pytest.mark.parametrize(("method", "absolute"), [("entropy", False), ("percentile", True)])
def test_ranges_are_those_of_the_runtime_for_all_values_at_once(method, absolute):
    given = tensors()
    if absolute:  # its bins begin with the smallest size, and ours with 0
        given = {name: np.append(values, values.dtype.type(0)) for name, values in given.items()}
    collector = HistogramCollector(method, absolute, SIZES if absolute else VALUES, 128, 99.999, "same")
    for name, values in given.items():
        collector.collect({name: values.astype(np.float32)})  # it cannot make so many bins in half precision
    wanted = collector.compute_collection_result()
    found = ends({name: streamed(values, absolute=absolute) for name, values in given.items()}, method)
    for name, values in given.items():
        assert found[name][:2] == tuple(end.astype(values.dtype) for end in wanted[name][:2]), name
        assert {end.dtype for end in found[name][:2]} == {values.dtype}
        assert values.min() <= found[name][0] <= found[name][1] <= values.max()
    assert found["outliers"][1] < 90 or absolute, "outliers are clipped"


def test_infinite_and_tiny_values_have_no_histogram():
    ends_of = {"a mask": (-np.inf, 0.0), "tiny": (0.0, 1e-40), "zeros": (0.0, 0.0), "usual": (-1.0, 3.0)}
    usable = {
        name: Histogram(*(np.array(end, np.float32) for end in pair), absolute=False).usable
        for name, pair in ends_of.items()
    }
    assert usable == {"a mask": False, "tiny": False, "zeros": True, "usual": True}

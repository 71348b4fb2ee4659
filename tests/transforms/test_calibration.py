from pathlib import Path

import numpy as np
import pytest

from deploykit.core.dataset import Dataset
from deploykit.core.errors import DatasetError
from deploykit.transforms._calibration import counted, equal_batches, examples
from deploykit.transforms._contract import TransformJob


def job(data, report=lambda *_: None):
    return TransformJob(Path("a"), Path("b"), "onnx", data=data, report=report)


def test_a_last_batch_that_is_not_full_is_dropped():
    batches = equal_batches({"x": np.arange(10), "y": np.arange(10)}, 4)
    assert [b["x"].tolist() for b in batches] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [b["y"].tolist() for b in batches] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_too_few_examples_for_one_batch_are_an_error():
    with pytest.raises(DatasetError, match="batches of 8, there are 3"):
        equal_batches({"x": np.arange(3)}, 8)


def test_inputs_are_matched_by_name_and_cast():
    rng = np.random.default_rng(0)
    data = Dataset.from_arrays({"left": rng.random((60, 2)), "right": rng.random((60, 3))}, calibration_size=7)
    made = job(data)
    found = examples(made, "it", {"serving_default_right:0": np.float32, "serving_default_left:0": np.float32})
    assert {k: (v.shape, v.dtype.name) for k, v in found.items()} == {
        "serving_default_right:0": ((7, 3), "float32"),
        "serving_default_left:0": ((7, 2), "float32"),
    }
    assert made.notes["calibration_examples"] == 7


def test_another_number_of_inputs_is_an_error():
    data = Dataset.from_arrays(np.zeros((60, 2)))
    with pytest.raises(DatasetError, match=r"takes 2 input\(s\) \(a, b\), the data have 1"):
        examples(job(data), "it", {"a": np.float32, "b": np.float32})


def test_progress_is_reported_as_batches_are_taken():
    seen = []
    taken = list(counted(job(None, lambda *report: seen.append(report)), [{"x": np.arange(2)}] * 3))
    assert len(taken) == 3
    assert seen[-1] == (3, 3, "calibrating")

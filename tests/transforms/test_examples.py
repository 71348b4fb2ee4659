"""Calibration examples for work on graphs: at most so many, evenly taken, and not copied."""

from pathlib import Path

import numpy as np

from deploykit.core.model import TensorSpec
from deploykit.data.dataset import Dataset
from deploykit.surgery.reconstruction.walk import MOST
from deploykit.transforms._contract import TransformJob
from deploykit.transforms._examples.inputs import gathered


def job(count):
    values = np.arange(10 * count, dtype=np.float32).reshape(-1, 2)
    return TransformJob(
        Path("in"), Path("out"), "onnx", data=Dataset.from_arrays({"x": values}, calibration_size=count)
    )


def test_few_examples_are_all_taken():
    work = job(50)
    found = gathered(work, [TensorSpec("x", (None, 2), "float32")], dict)
    np.testing.assert_array_equal(found.feeds["x"], work.data.calibration()["x"])
    assert found.index.tolist() == list(range(50))
    assert work.notes["calibration_examples"] == 50


def test_of_many_examples_every_third_one_is_taken():
    work = job(2 * MOST + 10)
    found = gathered(work, [TensorSpec("x", (None, 2), "float32")], dict)
    np.testing.assert_array_equal(found.feeds["x"], work.data.calibration()["x"][::3])
    assert len(found.index) == len(found.feeds["x"]) <= MOST


def test_batches_of_a_model_that_fixes_them_stay_whole():
    work = job(2 * MOST + 10)
    found = gathered(work, [TensorSpec("x", (4, 2), "float32")], dict)
    whole = work.data.calibration()["x"][: (2 * MOST + 10) // 4 * 4].reshape(-1, 4, 2)
    np.testing.assert_array_equal(found.feeds["x"], whole[::3].reshape(-1, 2))
    assert found.batch == 4

from dataclasses import replace

import numpy as np
import pytest

from deploykit.core.contract import Contract, InputMeaning, OutputMeaning
from deploykit.core.errors import DatasetError
from deploykit.core.model import TensorSpec
from deploykit.data.dataset import Dataset
from deploykit.surgery.quantization.calibration import Batches, counted


def never(_batch):
    raise AssertionError("without sequences, the model is not run")


def spec(name, *shape, dtype="float32"):
    return TensorSpec(name, shape, dtype)


def test_a_last_batch_that_is_not_full_is_smaller():
    x = np.arange(100.0).reshape(100, 1)
    data = Dataset.from_arrays({"x": x, "y": x + 1000}, calibration_size=10)
    found = Batches(data, [spec("x", None, 1), spec("y", None, 1)], never, 4)
    wanted = data.calibration()["x"]
    for _again in range(2):  # they are read again as often as they are taken
        assert [b["x"].shape for b in found] == [(4, 1), (4, 1), (2, 1)]
    assert len(found) == 3
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in found]), wanted)
    np.testing.assert_array_equal(np.concatenate([b["y"] for b in found]), wanted + 1000)


def test_a_last_batch_that_is_not_full_is_dropped_where_the_model_fixes_its_size():
    data = Dataset.from_arrays({"x": np.arange(100.0).reshape(100, 1)}, calibration_size=10)
    found = Batches(data, [spec("x", 4, 1)], never)
    assert [b["x"].shape for b in found] == [(4, 1), (4, 1)]
    assert len(found) == 2
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in found]), data.calibration()["x"][:8])


def test_too_few_examples_for_one_batch_are_an_error():
    data = Dataset.from_arrays(np.zeros((60, 2)), calibration_size=3)
    with pytest.raises(DatasetError, match="batches of 8, but there are 3"):
        Batches(data, [spec("x", 8, 2)], never)


def test_inputs_are_matched_by_name_and_cast():
    rng = np.random.default_rng(0)
    data = Dataset.from_arrays({"left": rng.random((60, 2)), "right": rng.random((60, 3))}, calibration_size=7)
    notes = {}
    taken = [spec("serving_default_right:0", None, 3), spec("serving_default_left:0", None, 2)]
    (found,) = Batches(data, taken, never, 7, notes)
    assert {k: (v.shape, v.dtype.name) for k, v in found.items()} == {
        "serving_default_right:0": ((7, 3), "float32"),
        "serving_default_left:0": ((7, 2), "float32"),
    }
    assert notes["calibration_examples"] == 7


def test_another_number_of_inputs_is_an_error():
    data = Dataset.from_arrays(np.zeros((60, 2)))
    with pytest.raises(DatasetError, match=r"takes 2 input\(s\): a: .*; b: .*; got 1"):
        Batches(data, [spec("a", None, 2), spec("b", None, 2)], never)


STATEFUL = Contract(
    (
        InputMeaning("x", "x", "name", "float32", shape=(None, 2)),
        InputMeaning("state", "", "state", "float32", shape=(1, None, 3), batch_axis=1),
        InputMeaning("rate", "", "constant", "int64", shape=()),
    ),
    (OutputMeaning("y", "values", "scored", "float32"), OutputMeaning("state_out", "values", "state", "float32")),
    state={"state_out": "state"},
    constants={"rate": 16000},
)
TAKEN = [spec("x", None, 2), spec("state", 1, None, 3), spec("rate", dtype="int64")]


def test_constants_and_fresh_state_are_added():
    data = replace(Dataset.from_arrays(np.ones((60, 2), np.float32), calibration_size=4), contract=STATEFUL)
    data = replace(data, splits={k: replace(v, inputs={"x": v.inputs["x"]}) for k, v in renamed(data).items()})
    (found,) = Batches(data, TAKEN, never, 4)
    assert (found["x"].shape, found["state"].shape, found["rate"].shape) == ((4, 2), (1, 4, 3), ())
    assert found["rate"] == 16000
    assert not found["state"].any()


def renamed(data):
    """The splits with the only input called ``x``."""
    return {k: replace(v, inputs=dict(zip("x", v.inputs.values(), strict=True))) for k, v in data.splits.items()}


def test_sequences_are_calibrated_with_the_state_they_meet():
    x = np.arange(60 * 3 * 2, dtype=np.float32).reshape(60, 3, 2)
    data = replace(Dataset.from_arrays(x, calibration_size=2), contract=replace(STATEFUL, sequences=True))
    data = replace(data, splits=renamed(data))

    def run(batch):
        return {"y": batch["x"], "state_out": batch["state"] + batch["x"][None, :, :1]}

    found = Batches(data, TAKEN, run, 2)
    wanted = data.calibration()["x"]
    assert len(found) == 3  # steps
    for step, batch in enumerate(found):
        np.testing.assert_array_equal(batch["x"], wanted[:, step])
        np.testing.assert_array_equal(batch["state"][0, :, 0], wanted[:, :step, 0].sum(axis=1))


def test_progress_is_reported_as_batches_are_taken():
    seen = []
    data = Dataset.from_arrays(np.zeros((60, 2)), calibration_size=3)
    taken = list(counted(Batches(data, [spec("x", None, 2)], never), lambda *report: seen.append(report)))
    assert len(taken) == 3
    assert seen[-1] == (3, 3, "calibrating")

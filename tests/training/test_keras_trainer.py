"""The native trainer: answers come back, with labels or without, and held-out examples say when to stop."""

import numpy as np
import pytest

from deploykit.core.errors import CandidateError
from deploykit.data.dataset import Dataset
from deploykit.testing import work
from deploykit.training.early_stop import EarlyStop
from deploykit.training.progress import Trained
from deploykit.training.schedule import Schedule


def recover(goal="teacher", **more):
    settings = {"epochs": 6, "held_out": 0.0, "learning_rate": 3e-3, "seed": 0, **more}
    return work.run("training:recover", "tensorflow", goal=goal, **settings)


@pytest.mark.parametrize("goal", ["teacher", "labels"])
def test_answers_come_back(goal):
    found = recover(goal)
    losses = found["notes"]["loss_by_epoch"]
    assert len(losses) == 6
    assert losses[-1] < 0.5 * losses[0]
    assert found["after"] > found["before"] + 0.1
    assert "held_out_by_epoch" not in found["notes"]


def test_progress_counts_steps_and_nothing_of_the_model_but_its_weights_changes():
    found = recover(epochs=2)
    assert [done for done, _, _ in found["reports"]] == list(range(1, found["steps"] + 1))
    assert found["reports"][-1][2].endswith("epoch 2 of 2")
    assert found["momentums"] == [0.99]


def test_the_same_seed_gives_the_same_weights():
    first, second, other = (recover(epochs=1, seed=seed)["weights"] for seed in (1, 1, 2))
    assert first == second != other


def test_training_stops_when_held_out_examples_gain_nothing():
    found = recover("labels", epochs=60, held_out=0.3, learning_rate=2e-2)
    held_out = found["notes"]["held_out_by_epoch"]
    assert len(held_out) < 60
    assert min(held_out[-2:]) > min(held_out), "the last two epochs have brought nothing"


def test_divergence_is_said():
    with pytest.raises(CandidateError, match=r"diverged: the loss is nan\..*lower learning_rate"):
        Trained.checked("MeanSquaredError", [0.5, float("nan")])


def test_examples_that_are_held_out_are_not_trained_on():
    data = Dataset.from_arrays(np.zeros((100, 2), np.float32), np.arange(100) % 4)
    schedule = Schedule.of(data, examples=40, batch_size=8, epochs=3, learning_rate=1.0, seed=0, held_out=0.25)
    batches = schedule.batches()
    trained = {int(i) for _ in range(schedule.steps) for i in next(batches)}
    assert len(schedule.held_out) == 10
    assert trained.isdisjoint(schedule.held_out.tolist())
    assert len(trained | set(schedule.held_out.tolist())) <= 40


def test_the_best_weights_are_kept():
    stop = EarlyStop(2)
    assert [stop.stops(loss, name) for loss, name in zip((3.0, 1.0, 2.0, 1.5), "abcd", strict=True)] == [
        False, False, False, True
    ]  # fmt: skip
    assert (stop.best, stop.weights) == (1.0, "b")

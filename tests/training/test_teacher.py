"""What the original model is asked, and when."""

import numpy as np
import pytest

from deploykit.data.batch import Batch
from deploykit.data.dataset import Dataset
from deploykit.testing import work
from deploykit.training.augment import Batches
from deploykit.training.schedule import Schedule
from deploykit.training.teacher import Answers

EXAMPLES = np.random.default_rng(0).random((500, 3)).astype(np.float32)


class Doubling:
    """Doubles its input, and remembers how many examples it was given at once."""

    def __init__(self):
        self.asked = []

    def predict(self, feeds):
        (values,) = feeds.values()
        self.asked.append(len(values))
        return {"doubled": 2 * values}

    def close(self):
        pass


@pytest.mark.parametrize("size", [8, 48, 200])
def test_it_is_never_asked_for_more_at_once_than_a_step_of_training(size):
    data, original = Dataset.from_arrays(EXAMPLES), Doubling()
    count = len(data.splits["train"])
    schedule = Schedule(np.arange(20, count), size, 1, 1e-3, 0, held_out=np.arange(20))
    answers = Answers(original, data, schedule)
    assert max(original.asked) <= min(size, 64)
    once = len(original.asked)
    index = np.array([count - 1, 5, 30])
    batch = Batch(index, data.batch("train", index))
    assert np.array_equal(answers.ask("doubled")(batch), 2 * batch.inputs["input"])
    assert len(original.asked) == once  # it is remembered
    assert answers.samples["doubled"].shape == (64, 3)


@pytest.mark.parametrize("name", ["residual_cnn", "two_inputs"])
def test_one_that_is_asked_often_answers_the_same(name, tmp_path):
    """In batches of two sizes."""
    path = work.made(name, tmp_path, 40)
    for count, found in zip((9, 4), work.run("training:ask", "tensorflow", path=str(path))["calls"], strict=True):
        wanted = work.outputs_of(path)
        assert found.keys() == wanted.keys()
        for key, values in wanted.items():
            np.testing.assert_allclose(found[key], values[:count], atol=1e-5)


def test_changed_examples_are_answered_as_they_are_fed():
    """Once for all outputs; what is held out is never changed, and its answers are remembered."""

    class Both(Doubling):
        def predict(self, feeds):
            return super().predict(feeds) | {"negative": -next(iter(feeds.values()))}

    images = np.random.default_rng(1).random((60, 4, 4, 1)).astype(np.float32)
    data, original = Dataset.from_arrays(images, x_test=images), Both()
    schedule = Schedule(np.arange(20, 60), 8, 1, 1e-3, 0, held_out=np.arange(20), augment="flip+mixup")
    answers, batches = Answers(original, data, schedule), Batches(data, schedule)
    once = len(original.asked)
    apart = batches.plain(np.array([2, 19]))
    assert np.array_equal(answers.ask("doubled")(apart), 2 * images[[2, 19]])
    assert len(original.asked) == once
    for _ in range(2):
        batch = batches.changed(np.arange(20, 28))
        fed = batch.inputs["input"]
        assert (fed != images[20:28]).any()
        assert np.array_equal(answers.ask("doubled")(batch), 2 * fed)
        assert np.array_equal(answers.ask("negative")(batch), -fed)
    assert len(original.asked) == once + 2

import importlib
import math

import numpy as np
import pytest

from deploykit.training.schedule import Schedule


@pytest.mark.parametrize(("examples", "steps"), [(100, 6), (32, 2), (31, 2), (5, 2)])
def test_only_full_batches_are_trained_on(examples, steps):
    assert Schedule(np.arange(examples), min(32, examples), 2, 1e-3, 0).steps == steps


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_the_learning_rate_rises_first_and_then_decays_along_a_cosine(package):
    decay = importlib.import_module(package).optimizers.schedules.CosineDecay
    rate = decay(**Schedule(np.arange(200), 10, 10, 0.01, 0).cosine())  # 200 steps, the first 10 rise
    start = 0.01 / 11
    wanted = {
        0: start, 5: (start + 0.01) / 2, 10: 0.01, 200: 0.0002,
        60: 0.01 * (0.02 + 0.98 * (1 + math.cos(math.pi * 50 / 190)) / 2),
    }  # fmt: skip
    assert {step: float(rate(step)) for step in wanted} == pytest.approx(wanted, rel=1e-4)


def test_a_few_steps_begin_with_the_full_rate():
    keras = pytest.importorskip("keras")
    schedule = Schedule(np.arange(4), 4, 3, 0.01, 0)
    assert float(keras.optimizers.schedules.CosineDecay(**schedule.cosine())(0)) == pytest.approx(0.01)

import numpy as np
import pytest

from deploykit.training.schedule import Schedule


@pytest.mark.parametrize(("examples", "steps"), [(100, 6), (32, 2), (31, 2), (5, 2)])
def test_only_full_batches_are_trained_on(examples, steps):
    assert Schedule(np.arange(examples), min(32, examples), 2, 1e-3, 0).steps == steps

import numpy as np
import pytest

from deploykit.testing import work
from deploykit.training.qat.kept import Kept


@pytest.mark.long
@pytest.mark.parametrize("zeros", [False, True], ids=["dense", "pruned"])
def test_training_is_that_of_tfmot(zeros):
    """Its quantizers, its wrappers: the same weights where it rounds the same; its PQAT for pruned models."""
    found = work.run("qat:beside_tfmot", "tf_keras", zeros=zeros)
    assert found["answers"] == 0.0
    assert found["moved"] > 0.02
    assert found["difference"] < 1e-4 * found["moved"]
    assert found["zeros"] == pytest.approx(1 / 3 if zeros else 0.0, abs=0.01)


def test_weights_that_were_equal_move_together():
    rows = np.array([[0.5, 0.0], [0.5, 0.25], [0.25, 0.0]], np.float32)
    moved = rows + np.array([[0.1, 9.0], [0.3, -0.1], [0.1, 9.0]], np.float32)
    given = {"rows": rows.tolist(), "moved": moved.tolist()}
    both = work.run("qat:project", "tf_keras", values=True, **given)
    expected = [[0.7, 0.0], [0.7, 0.25], [0.25, 0.0]]  # by the mean of each group; zeros stay
    np.testing.assert_allclose(both["found"], expected, rtol=1e-6)
    sums = [[1.4, 0.0], [1.4, 0.5], [0.5, 0.0]]
    np.testing.assert_allclose(both["gradient"], sums, rtol=1e-6)
    assert (both["shared"], both["by_channel"]) == (3, False)
    zeros = work.run("qat:project", "tf_keras", values=False, **given)
    np.testing.assert_array_equal(np.float32(zeros["found"]), moved * (rows != 0))


def test_what_is_not_there_is_not_kept():
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(400, 8)).astype(np.float32)
    assert Kept.of(dense, values=True) is None
    by_output = np.round(dense * 2) / 2 * np.arange(1, 301)[: dense.shape[1]] + np.arange(8) * 1e-3
    found = Kept.of(np.tile(by_output.astype(np.float32), (1, 30)), values=True)
    assert not found.by_channel
    many = np.concatenate([by_output * rng.uniform(0.5, 1) for _ in range(40)], axis=1).astype(np.float32)
    assert Kept.of(many, values=True).by_channel

"""Weights rounded to a few bits, held against the formulas."""

import numpy as np
import pytest

from deploykit.surgery.weights.grids import affine, power_of_two

ROWS = np.random.default_rng(0).normal(0.02, 0.1, (3, 400))
PRUNED = np.where(np.abs(ROWS) < 0.08, 0.0, ROWS)


@pytest.mark.parametrize("bits", [2, 3, 8, 16])
def test_affine_is_the_formula_over_minimum_and_maximum(bits):
    for row, found in zip(ROWS, affine(ROWS, bits), strict=True):
        q = np.round((row - row.min()) / (row.max() - row.min()) * (2**bits - 1))
        expected = q / (2**bits - 1) * (row.max() - row.min()) + row.min()
        np.testing.assert_allclose(found, expected, atol=1e-12)
        assert (q.min(), q.max()) == (0, 2**bits - 1)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_affine_keeps_zeros_with_whole_numbers_of_that_many_bits(bits):
    found = affine(PRUNED, bits)
    np.testing.assert_array_equal(found[PRUNED == 0], 0.0)
    for row, values in zip(PRUNED, found, strict=True):
        step = np.ptp(row) / (2**bits - 1)
        whole = values / step
        np.testing.assert_allclose(whole, np.round(whole), atol=1e-6)
        assert np.ptp(np.round(whole)) <= 2**bits - 1
        assert np.abs(values - row).max() <= step * (1 + 1e-9), "half a step, and another half where the grid ends"


@pytest.mark.parametrize("bits", [2, 3, 8, 16])
def test_powers_of_two_are_the_largest_that_fit(bits):
    most = 2 ** (bits - 1) - 1
    for row, found in zip(ROWS, power_of_two(ROWS, bits), strict=True):
        fitting = [p for p in range(-20, 40) if np.abs(row).max() * 2.0**p <= most]
        np.testing.assert_array_equal(found, np.round(row * 2.0 ** fitting[-1]) / 2.0 ** fitting[-1])


def test_known_numbers():
    row = np.array([[-1.0, -0.3, 0.2, 2.0]])
    np.testing.assert_allclose(affine(row, 2), [[-1.0, 0.0, 0.0, 2.0]])
    np.testing.assert_array_equal(power_of_two(row, 4), [[-1.0, -0.5, 0.0, 2.0]])  # p = 1: steps of a half


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0, 1e-30])
def test_equal_weights_stay_finite(value):
    row = np.full((1, 5), value)
    np.testing.assert_array_equal(affine(row, 4), row)
    np.testing.assert_allclose(power_of_two(row, 16), row, rtol=1e-4)

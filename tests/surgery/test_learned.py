"""Rounding that is learned, held against trying all choices and against the nearest values."""

import itertools

import numpy as np
import pytest

from deploykit.surgery.quantization import learned


def problem(seed, inputs, outputs, groups=1, samples=60):
    """Weights on a grid from -7 to 7, their steps, and the moments of inputs that hang together."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(0, 1, (groups, samples, inputs)) @ rng.normal(0, 1, (inputs, inputs)) + 0.5
    weights = rng.normal(0, 1, (groups, inputs, outputs))
    steps = np.abs(weights).max((0, 1)) / 7
    read = np.maximum(mixed, 0)
    return weights, np.broadcast_to(steps, weights.shape), read, read.transpose(0, 2, 1) @ read


def output_error(whole, weights, steps, read):
    """The sum of the squares of what the outputs are off, for each output."""
    return np.square(read @ (whole * steps) - read @ weights).sum(1)


@pytest.mark.parametrize("seed", range(4))
def test_choices_are_nearly_the_best_of_all(seed):
    weights, steps, read, moments = problem(seed, 9, 6)
    found = output_error(learned.learned(weights / steps, steps, moments, -7, 7), weights, steps, read)[0]
    usual = output_error(np.clip(np.round(weights / steps), -7, 7), weights, steps, read)[0]
    floor = np.floor(weights / steps)[0]
    best = np.full(6, np.inf)
    for up in itertools.product((0, 1), repeat=9):
        whole = np.clip(floor + np.array(up)[:, None], -7, 7)
        best = np.minimum(best, output_error(whole[None], weights, steps, read)[0])
    assert (found >= best * (1 - 1e-9)).all()
    assert (found <= usual * (1 + 1e-9)).all()
    assert found.sum() < 1.1 * best.sum() < usual.sum()


@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(70, 8, 1), (9, 1, 30), (20, 3, 4)])
def test_each_weight_goes_down_or_up_and_the_error_falls_by_a_third(inputs, outputs, groups):
    weights, steps, read, moments = problem(5, inputs, outputs, groups, 400)
    whole = learned.learned(weights / steps, steps, moments, -7, 7)
    assert (np.abs(whole - weights / steps) < 1).all()
    assert np.abs(whole).max() <= 7
    usual = output_error(np.clip(np.round(weights / steps), -7, 7), weights, steps, read)
    found = output_error(whole, weights, steps, read)
    assert (found <= usual * (1 + 1e-9)).all()
    assert found.sum() < 0.67 * usual.sum()
    np.testing.assert_array_equal(whole, learned.learned(weights / steps, steps, moments, -7, 7))


def test_inputs_that_do_not_hang_together_leave_the_nearest_values():
    weights, steps, _, _ = problem(6, 12, 5)
    moments = np.diag(np.arange(1.0, 13.0))[None]
    whole = learned.learned(weights / steps, steps, moments, -7, 7)
    np.testing.assert_array_equal(whole, np.round(weights / steps))


def test_inputs_that_are_never_read_do_no_harm():
    weights, steps, read, _ = problem(7, 12, 5)
    read = read * (np.arange(12) < 6)
    moments = read.transpose(0, 2, 1) @ read
    whole = learned.learned(weights / steps, steps, moments, -7, 7)
    usual = np.round(weights / steps)
    assert output_error(whole, weights, steps, read).sum() < output_error(usual, weights, steps, read).sum()
    np.testing.assert_array_equal(learned.learned(weights / steps, steps, 0 * moments, -7, 7), usual)
